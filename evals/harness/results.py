"""Knows what the records of judged subjects come to: a page with intervals, chance and differences to the first."""

from collections.abc import Sequence
from typing import Any

from evals.metrics import paired

Record = dict[str, Any]
HEADER = ("subject", "score", "± stderr", "95 %", "above chance", "minus {first}", "worse", "cut")


def page(records: Sequence[Record], overlap: dict[str, dict[str, Any]] | None = None) -> str:
    """Markdown with a section per evaluation, subjects in the order of the records; the first is what others are held
    against, question by question. overlap: what reports/mix.json says of each set in the training text.
    """
    names = list(dict.fromkeys(record["evaluation"] for record in records))
    sections = [_section([row for row in records if row["evaluation"] == name], overlap or {}) for name in names]
    return "\n\n".join([_preface(), *sections]) + "\n"


def against(ours: Record, theirs: Record) -> dict[str, float] | None:
    """The difference of two scores on the same questions with its 95 % interval; None if they answered others."""
    same = all(ours[key] == theirs[key] for key in ("evaluation", "questions", "template", "shots"))
    return paired(ours["marks"], theirs["marks"]) if same else None


def above_chance(record: Record) -> str:
    """yes, no (the interval covers chance), below, or – where there is nothing to guess from."""
    if record["chance"] is None:
        return "–"
    return "yes" if record["low"] > record["chance"] else "below" if record["high"] < record["chance"] else "no"


def _preface() -> str:
    return (
        "# Public benchmarks\n\nShares of questions answered right, Wilson intervals; differences question by question "
        "(Agresti & Min 2005). Where “above chance” says no, the score claims nothing. Unlike scores are not averaged."
    )


def _section(rows: Sequence[Record], overlap: dict[str, dict[str, Any]]) -> str:
    first = rows[0]
    head = [cell.format(first=first["subject"]) for cell in HEADER]
    lines = [f"## {first['evaluation']}", "", facts(first, overlap), "", _line(head), _line(["---"] * len(head))]
    return "\n".join(lines + [_line(_cells(row, first)) for row in rows])


def facts(record: Record, overlap: dict[str, dict[str, Any]]) -> str:
    """One line: what was asked, of how many, in which form, and how much of it stood in the training text."""
    versions = sorted(set(record["tasks"].values()))
    tasks = next(iter(record["tasks"])) if len(record["tasks"]) == 1 else f"{len(record['tasks'])} tasks"
    found = overlap.get(record["account"], {})
    seen = found.get("absent") or (f"{found['found']} of {found['items']}" if found else "not known")
    chance = "nothing to guess from" if record["chance"] is None else f"chance {record['chance']:.3f}"
    parts = [
        f"{record['lang']}; {record['metric']} of {tasks} (version {', '.join(versions)}, lm-eval {record['lm_eval']})",
        f"{record['n']} of {record['of']} questions ({record['source']}, seed {record['seed']})",
        f"{record['shots']} examples, {record['form']}, template {record['template']}", chance,
        f"in the training text: {seen}",
    ]  # fmt: skip
    parts += [f"{count} rows left out: {why}" for why, count in sorted(record["left_out"].items())]
    return "; ".join(parts) + "."


def _cells(row: Record, first: Record) -> list[str]:
    gap = against(row, first) if row is not first else None
    difference = f"{gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]" if gap else "–"
    worse = ("yes" if gap["high"] < 0 else "no") if gap else "–"
    interval = f"{row['low']:.3f}–{row['high']:.3f}"
    score = [f"{row['value']:.3f}", f"{row['stderr']:.3f}", interval, above_chance(row)]
    return [row["subject"], *score, difference, worse, str(row["cut"])]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
