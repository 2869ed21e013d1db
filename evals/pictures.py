"""Knows how evidence looks: pictures whose bytes depend on the numbers alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure  # not pyplot: no global state, no display

STYLE: dict[str, Any] = {"dpi": 110, "layout": "constrained"}
PNG: dict[str, Any] = {"format": "png", "metadata": {"Software": None}}  # no version, no date: same numbers, same bytes


def loss_over_tokens(curves: Mapping[str, Sequence[tuple[float, float]]], file: Path) -> None:
    """Loss of each training stage's own objective (nats) over the tokens of the whole line."""
    figure = Figure(figsize=(8, 4.5), **STYLE)
    axes, done = figure.subplots(), 0.0
    for name, points in curves.items():
        axes.plot([(done + tokens) / 1e6 for tokens, _ in points], [loss for _, loss in points], label=name)
        done += points[-1][0]
    axes.set(xlabel="tokens, stage after stage (millions)", ylabel="loss of the stage's objective", yscale="log")
    axes.legend(fontsize=8)
    figure.savefig(file, **PNG)


def filter_waterfall(steps: Sequence[tuple[str, int]], file: Path) -> None:
    """Documents there (positive steps) and lost for each reason (negative steps), top to bottom."""
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(steps)), **STYLE)
    axes, left = figure.subplots(), 0
    for row, (_, count) in enumerate(steps):
        left = count if count >= 0 else left + count
        axes.barh(row, abs(count), left=max(0, left - max(0, count)), color="#4477aa" if count >= 0 else "#cc6677")
        axes.text(left - min(0, count), row, f" {count:,}", va="center", fontsize=8)
    axes.set_yticks(range(len(steps)), [name for name, _ in steps], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel="documents")
    figure.savefig(file, **PNG)


def filter_shares(falls: Mapping[str, Mapping[str, Mapping[str, Sequence[int]]]], file: Path) -> None:
    """Where a source's and a language's documents and characters went: kept, cut, or dropped by which filter stage.

    falls: "by_source" and "by_language" → value → stage → (documents, characters), as reports/filter.json has them.
    """
    rows = [(name, row) for key in ("by_language", "by_source") for name, row in sorted(falls[key].items())]
    stages = sorted({stage for _, row in rows for stage in row}, key=lambda name: (name != "kept", name != "cut", name))
    figure = Figure(figsize=(10, 1.6 + 0.25 * len(rows)), **STYLE)
    for unit, axes in enumerate(figure.subplots(1, 2, sharey=True)):
        wholes = [sum(counts[unit] for counts in row.values()) for _, row in rows]
        left = [0.0] * len(rows)
        for stage in stages:
            shares = [
                row.get(stage, (0, 0))[unit] / max(1, whole) for (_, row), whole in zip(rows, wholes, strict=True)
            ]
            axes.barh(range(len(rows)), shares, left=left, label=stage)
            left = [at + share for at, share in zip(left, shares, strict=True)]
        name = ("documents", "characters")[unit]
        axes.set(title=f"{sum(wholes[: len(falls['by_language'])]):,} {name}", xlabel=f"share of {name}")
        axes.margins(y=0.01)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(stages), fontsize=8)
    figure.savefig(file, **PNG)


def size_and_quality(models: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Question accuracy with intervals, and bits per byte, over the size of what is shipped; a column per language."""
    figure = Figure(figsize=(10, 7), **STYLE)
    grid = figure.subplots(2, 2, sharex=True)
    for (above, below), lang in zip(grid.T, ("ko", "en"), strict=True):
        for name, r in models.items():
            size, share = r["size_bytes"] / 1e6, r[f"qa_{lang}"]
            spread = [[share - r[f"qa_{lang}_low"]], [r[f"qa_{lang}_high"] - share]]
            above.errorbar(size, share, yerr=spread, fmt="o", capsize=3, label=name)
            below.plot(size, r[f"bpb_{lang}"], "o")
            above.axhline(r["chance"], color="grey", linestyle=":")
        above.set(title=f"{lang} (dotted: chance)", ylabel="four-choice accuracy", ylim=(0, 1.05))
        below.set(xlabel="size (MB, log)", ylabel="bits per byte", xscale="log")
        below.xaxis.set_major_formatter("{x:g}")
        below.xaxis.set_minor_formatter("{x:g}")
    grid[0, 1].legend(fontsize=7)
    figure.savefig(file, **PNG)


def vocabulary_curve(rows: Mapping[str, Mapping[str, float]], file: Path) -> None:
    """Bytes per token of each language over the size of the vocabulary; rows: "name (size)" → bytes/token ko, en."""
    figure = Figure(figsize=(10, 4.5), **STYLE)
    for axes, lang in zip(figure.subplots(1, 2), ("ko", "en"), strict=True):
        curves: dict[str, list[tuple[int, float]]] = {}
        for name, row in rows.items():
            who, _, size = name.rstrip(")").partition(" (")
            curves.setdefault(who, []).append((int(size), row[f"bytes/token {lang}"]))
        for who, points in curves.items():
            axes.plot(*zip(*sorted(points), strict=True), marker="o", label=who)
        axes.set(title=lang, xlabel="ids (log)", ylabel="bytes per token, more is better", xscale="log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter("")
    axes.legend(fontsize=7)
    figure.savefig(file, **PNG)
