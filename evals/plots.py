"""Knows how comparisons look: the line of models, safety by category, effects of ablations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from evals.pictures import PNG, STYLE
from evals.report import FIRST

KINDS = ("refused_by_domain", "refused_by_category", "refused_by_lang")


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
    """Share of risky prompts refused, by domain, category and language: Mini with its 95 % interval, all others beside.

    Without Mini the first subject stands for it.
    """
    chief = "mini" if "mini" in examined else next(iter(examined))
    groups = [(kind, key) for kind in KINDS for key in sorted(examined[chief].get(kind, {}))]
    figure = Figure(figsize=(9, 1.4 + 0.3 * len(groups)), **STYLE)
    axes, places = figure.subplots(), range(len(groups))
    for name, report in examined.items():
        rates = [report.get(kind, {}).get(key, {}).get("value") for kind, key in groups]
        known = [(rate, place) for rate, place in zip(rates, places, strict=True) if rate is not None]
        if known and name != chief:
            axes.plot(*zip(*known, strict=True), "|", color="#cc6677", markersize=9, label="others")
    _intervals(axes, [examined[chief][kind][key] for kind, key in groups], places, label=chief)
    axes.set_yticks(places, [f"{kind.rsplit('_', 1)[1]}: {key}" for kind, key in groups], fontsize=8)
    axes.set(xlabel="share of risky prompts refused, 95 % interval", xlim=(-0.02, 1.02))
    axes.invert_yaxis()
    shown = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(shown.values(), shown.keys(), fontsize=8)
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
    axes.errorbar([row["value"] for row in rows], places, xerr=spread, fmt="o", capsize=3, markersize=4, label=label)
