"""Knows how comparisons look: the line of models, safety by category, effects of ablations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure

from evals.pictures import PNG, STYLE
from evals.report import FIRST


def line_of_models(models: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Seed → Base → Mini: question accuracy with its interval, bits per byte, size; a colour per language."""
    names = [name for name in FIRST if name in models]
    figure = Figure(figsize=(10, 3.5), **STYLE)
    shares, bits, sizes = figure.subplots(1, 3)
    for lang in ("ko", "en"):
        rows = [(models[n][f"qa_{lang}"], models[n][f"qa_{lang}_low"], models[n][f"qa_{lang}_high"]) for n in names]
        spread = [[value - low for value, low, _ in rows], [high - value for value, _, high in rows]]
        shares.errorbar(names, [value for value, _, _ in rows], yerr=spread, marker="o", capsize=3, label=lang)
        bits.plot(names, [models[name][f"bpb_{lang}"] for name in names], "o-", label=lang)
    shares.axhline(models[names[0]]["chance"], color="grey", linestyle=":")
    shares.set(title="four-choice accuracy (dotted: chance)", ylim=(0, 1.05))
    bits.set(title="bits per byte, lower is better")
    sizes.bar(names, [models[name]["size_bytes"] / 1e6 for name in names], color="#4477aa")
    sizes.set(title="MB as saved")
    shares.legend(fontsize=8)
    figure.savefig(file, **PNG)


def safety_by_category(examined: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Share of risky prompts refused, by domain and language, with 95 % intervals; a colour per subject."""
    kinds, first = ("refused_by_domain", "refused_by_lang"), next(iter(examined.values()))
    groups = [(kind, key) for kind in kinds for key in sorted(first[kind])]
    figure = Figure(figsize=(10, 1.5 + 0.11 * len(groups) * (len(examined) + 2)), **STYLE)
    axes, height = figure.subplots(), 1 / (len(examined) + 2)
    axes.set_prop_cycle(color=colormaps["tab20"](range(20)))
    for at, (name, report) in enumerate(examined.items()):
        rates = [report[kind][key] for kind, key in groups]
        places = [place + at * height for place in range(len(groups))]
        _intervals(axes, rates, places, label=name)
    axes.set_yticks([place + 0.4 for place in range(len(groups))], [key for _, key in groups])
    axes.set(xlabel="share of risky prompts refused, 95 % interval", xlim=(-0.02, 1.02))
    axes.margins(y=0.01)
    axes.invert_yaxis()
    figure.legend(fontsize=7, loc="outside right upper")
    figure.savefig(file, **PNG)


def forest(effects: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A row per effect {name, metric, value, low, high}: the difference to the line as it is, and its 95 % interval."""
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(effects)), **STYLE)
    axes = figure.subplots()
    _intervals(axes, effects, range(len(effects)), label="")
    axes.axvline(0, color="grey", linestyle=":")
    axes.set_yticks(range(len(effects)), [f"{row['name']}: {row['metric']}" for row in effects], fontsize=8)
    axes.set(xlabel="difference to the line as it is, 95 % interval; dotted: no effect")
    axes.invert_yaxis()
    figure.savefig(file, **PNG)


def _intervals(axes: Any, rows: Sequence[Mapping[str, float]], places: Sequence[float], label: str) -> None:
    spread = [[row["value"] - row["low"] for row in rows], [row["high"] - row["value"] for row in rows]]
    axes.errorbar([row["value"] for row in rows], places, xerr=spread, fmt="o", capsize=2, markersize=3, label=label)
