"""Knows what a choice is worth: runs of a line with and without it, seed by seed, and the difference's interval."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t

LINE = "line"  # the arm that is params.yaml as it is
BPB, QA = "bits per byte, %", "right answers, points"
LANGUAGES = ("ko", "en")
READING = """\
Every line differs from the demo's in one thing, at the budget that ablations.yaml gives. Compared are runs of the same
seed, on the same held-out documents (those that neither run learnt from) and questions: bits per byte in %, fewer are
better; four-choice answers in percentage points, more are better. Means over the seeds with Student's 95 % interval, of
answers no narrower than so few questions allow; one that holds zero says that no difference was found, and of {m}
intervals about {chance:.0f} miss zero by chance."""


def effects(row: str, runs: Sequence[Mapping[str, Any]], *, questions: int) -> list[dict[str, Any]]:
    """{name, metric, value, low, high, n} of every arm but the line, for bits per byte and answers in ko and en.

    A run: {arm, seed, nats: {lang: {id: nats}}, qa: {lang: share}}. A seed counts once both the arm and the line have
    it; an arm with a single one is left out. `questions`: of a share, per language.
    """
    by = {(run["arm"], run["seed"]): run for run in runs}
    rows = []
    for arm in dict.fromkeys(run["arm"] for run in runs if run["arm"] != LINE):
        pairs = [(run, by[LINE, seed]) for (name, seed), run in by.items() if name == arm and (LINE, seed) in by]
        for metric, measure in ((BPB, excess), (QA, gain)):
            for lang in LANGUAGES if len(pairs) > 1 else ():
                least = chance_of(pairs, lang, questions) if metric == QA else 0.0
                found = interval([measure(ours, theirs, lang) for ours, theirs in pairs], least=least)
                rows.append({"name": f"{row}: {arm}", "metric": f"{lang} {metric}"} | found)
    return rows


def excess(ours: Mapping[str, Any], theirs: Mapping[str, Any], lang: str) -> float:
    """By how many % ours needs more bits than theirs for the documents that both held out."""
    both = sorted(set(ours["nats"][lang]) & set(theirs["nats"][lang]))
    one, other = (math.fsum(run["nats"][lang][name] for name in both) for run in (ours, theirs))
    return 100 * (one / other - 1)


def gain(ours: Mapping[str, Any], theirs: Mapping[str, Any], lang: str) -> float:
    """How many percentage points more of the questions ours answers."""
    return 100 * (ours["qa"][lang] - theirs["qa"][lang])


def chance_of(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], lang: str, questions: int) -> float:
    """Half the 95 % interval, in points, of the difference of two shares of independent questions (Wald)."""
    spread = sum(fmean(run["qa"][lang] * (1 - run["qa"][lang]) for run in runs) for runs in zip(*pairs, strict=True))
    return 100 * 1.96 * math.sqrt(spread / (questions * len(pairs)))


def interval(values: Sequence[float], *, least: float = 0.0) -> dict[str, float]:
    """{value, low, high, n}: mean and Student's 95 % interval of two values or more, `least` on each side at least."""
    n, middle = len(values), fmean(values)
    half = max(least, float(t.ppf(0.975, n - 1)) * stdev(values) / math.sqrt(n))
    return {"value": round(middle, 4), "low": round(middle - half, 4), "high": round(middle + half, 4), "n": n}


def is_one(name: str) -> bool:
    """Whether a report of that name is of a row of ablations."""
    return name.startswith("ablation-")


def sections(evidence: Mapping[str, Mapping[str, Any]], table: Callable[..., str]) -> list[str]:
    """The page's part: how to read it, and per row its question, table and verdicts; nothing without evidence."""
    rows = {name: report for name, report in sorted(evidence.items()) if is_one(name)}
    every = [effect for report in rows.values() for effect in report["effects"]]
    if not every:
        return []
    parts = ["## What each choice is worth", READING.format(m=len(every), chance=len(every) / 20)]
    heads = (
        "instead of the line",
        "FLOPs",
        *(f"{lang} {metric}" for metric in (BPB, QA) for lang in LANGUAGES),
        "seeds",
    )
    for name, report in rows.items():
        parts += [f"### {name.removeprefix('ablation-')}", report["asks"], table(heads, _table(report))]
        parts += ["\n".join(verdicts(report["effects"]))]
    return parts


def verdicts(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence per arm: where it is better, where worse, or that nothing was found, with the sizes."""
    for name in dict.fromkeys(row["name"] for row in rows):
        said = []
        for row in (row for row in rows if row["name"] == name and not row["low"] <= 0 <= row["high"]):
            better = (row["value"] < 0) == row["metric"].endswith(BPB)
            said.append(f"{'better' if better else 'worse'} in {row['metric']}: {_shown(row)}")
        yield f"- {name}: {'; '.join(said) or 'no difference found'}"


def _table(report: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for name in dict.fromkeys(row["name"] for row in report["effects"]):
        own = [row for row in report["effects"] if row["name"] == name]
        cost = report["flops"][name.split(": ", 1)[1]] / report["flops"][LINE]
        yield name.split(": ", 1)[1], f"{cost:.2f}", *map(_shown, own), str(own[0]["n"])


def _shown(row: Mapping[str, float]) -> str:
    return f"{row['value']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
