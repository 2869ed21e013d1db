"""Knows how abilities read: trials by kind, what training and exporting changed, conversations word for word."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from evals.metrics import difference, paired, rate

Report = Mapping[str, Any]  # a subject's evaluate report
Row = Sequence[str]
SAMPLES = 20
LANGUAGES = ("ko", "en")
CHANGE = ("of the same items", "before", "after", "difference")
KINDS = {  # kind of trial → what is asked there, in the order of reading; other kinds follow under their own name
    "question": "says a learnt fact, asked in a chat",
    "greeting": "answers what people say first",
    "preset": "the same under the preset's system prompt",
    "tool-calculator": "calls the calculator",
    "tool-date": "calls the calendar",
    "tool-unit": "calls the unit converter",
    "tool-lookup": "calls the look-up",
    "tool-none": "answers by itself though tools are listed",
    "tool-answer": "says what a tool has found",
    "passage": "answers from a passage",
    "note": "answers from a passage, of relations that were never trained",
    "contradiction": "answers from a passage against what it has learnt",
}


def kinds(models: Mapping[str, Report]) -> list[str]:
    """The kinds of trials that somebody was put to."""
    found = {kind for report in models.values() for kind in report.get("trials", {})}
    return [*(kind for kind in KINDS if kind in found), *sorted(found - set(KINDS))]


def can_do(report: Report) -> Sequence[Row]:
    """One subject's rows (what, language, right, well formed); last the form of all replies of a language."""
    asked = [(kind, lang) for kind in kinds({"": report}) for lang in LANGUAGES if lang in report["trials"][kind]]
    cells = ((kind, lang, report["trials"][kind][lang]) for kind, lang in asked)
    rows: list[Row] = [
        (KINDS.get(kind, kind), lang, share(cell["right"]), share(cell["well_formed"])) for kind, lang, cell in cells
    ]
    return [*rows, *(("all of these", lang, "", share(well_formed(report, lang))) for lang in LANGUAGES)]


def artifacts_can(models: Mapping[str, Report]) -> list[Row]:
    """Rows (subject, language, right by kind …, well formed in all), in the order of `kinds`."""
    rows: list[Row] = []
    for name, lang in ((name, lang) for name in models for lang in LANGUAGES):
        cells = [models[name].get("trials", {}).get(kind, {}).get(lang) for kind in kinds(models)]
        right = [share(cell["right"]) if cell else "–" for cell in cells]
        rows.append((name, lang, *right, share(well_formed(models[name], lang))))
    return rows


def well_formed(report: Report, lang: str) -> dict[str, Any]:
    """The rate of replies in the asked language and form that end by themselves, over all trials of a language."""
    marks = "".join(kind[lang]["well_formed"]["marks"] for kind in report.get("trials", {}).values() if lang in kind)
    return rate([mark == "1" for mark in marks])


def trained(before: Report, after: Report) -> list[Row]:
    """CHANGE rows of two subjects of one line: questions, trials, held-out text (forgetting), held-back replies."""
    rows: list[Row] = []
    for lang in LANGUAGES:
        chat = after.get("trials", {}).get("question", {}).get(lang)
        if chat and (shots := before.get("few_shot", {}).get(lang, {})).get("n"):
            rows.append((f"questions {lang}: few shots before, a chat after", *_marks(shots, chat["right"])))
    for kind, lang in ((kind, lang) for kind in kinds({"": after}) for lang in LANGUAGES):
        cells = [report.get("trials", {}).get(kind, {}).get(lang) for report in (before, after)]
        if all(cells):
            rows.append((f"{KINDS.get(kind, kind)}, {lang}", *_marks(*(cell["right"] for cell in cells))))
    for lang in LANGUAGES:
        texts = ({key: report[f"{key}_{lang}"] for key in ("nats", "bytes")} for report in (before, after))
        rows.append((f"held-out text {lang}, bits per byte", *_texts(*texts)))
    for source, talks in after.get("held_back", {}).items():
        if talks["nats"] and (old := before.get("held_back", {}).get(source)):
            rows.append((f"held-back replies of {source}, bits per byte", *_texts(old, talks)))
    return rows


def share(found: Mapping[str, Any]) -> str:
    """A rate {value, low, high, n} with its interval; where the heading says n, it has none."""
    count = f" n={found['n']}" if "n" in found else ""
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]{count}"


def qa_share(report: Report, lang: str) -> str:
    """The share of four-choice questions that a subject answers, with its interval."""
    ends = {"value": "", "low": "_low", "high": "_high"}
    return share({key: report[f"qa_{lang}{end}"] for key, end in ends.items()})


def gap(one: Report, other: Report, lang: str) -> tuple[str, str]:
    """What one subject has more than another: share of right answers, and bits per byte in %, with intervals."""
    answers = paired(one[f"marks_{lang}"], other[f"marks_{lang}"])
    text = difference(one[f"nats_{lang}"], other[f"nats_{lang}"], other[f"nats_{lang}"])
    return _signed(answers, "+.3f"), _signed(text, "+.2%")


def conversations(rows: Iterable[Mapping[str, Any]]) -> str:
    """A page of SAMPLES trials, the first of each kind and language, then the second …, and all held-back ones."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    held_back: list[Mapping[str, Any]] = []
    for row in rows:
        (held_back if row["kind"] == "held back" else groups.setdefault((row["kind"], row["lang"]), [])).append(row)
    in_turn = [row for turn in zip_longest(*groups.values()) for row in turn if row]
    shown = [*in_turn[:SAMPLES], *held_back]
    opening = f"# {len(shown)} conversations with Mini, uncut\n\nThe first of each kind and language, as they came."
    return "\n\n".join([opening, *(f"## {n}. {_talk(row)}" for n, row in enumerate(shown, 1))]) + "\n"


def _talk(row: Mapping[str, Any]) -> str:
    """A conversation as an indented block, which no reply can close, under what was expected of it."""
    lines = [f"[tool] {json.dumps(tool.get('function', tool), ensure_ascii=False)}" for tool in row["tools"]]
    for message in row["messages"]:
        lines += [f"[passage {number}] {text}" for number, text in enumerate(message.get("passages") or (), 1)]
        calls = [json.dumps(call, ensure_ascii=False) for call in message.get("tool_calls") or ()]
        lines += [f"[{message['role']}] {' '.join([message['content'], *calls]).strip()}"]
    lines += [f"[reply] {row['reply']}", f"[ends by] {row['finish_reason']}"]
    block = "\n".join(lines).replace("\n", "\n    ")
    marks = [f"Expected: `{json.dumps(row['expected'], ensure_ascii=False)}`."] if row["expected"] else []
    marks += [f"Right: {'yes' if row['right'] else 'no'}."] if row["kind"] in KINDS else []
    marks += [f"Well formed: {'yes' if row['well_formed'] else 'no'}."]
    return f"{KINDS.get(row['kind'], row['kind'])}, {row['lang']}\n\n{' '.join(marks)}\n\n    {block}"


def _marks(before: Mapping[str, Any], after: Mapping[str, Any]) -> Row:
    """Of the items that both were asked: each begins with the same, and one may have been asked more."""
    n = min(before["n"], after["n"])
    both = [cell["marks"][:n] for cell in (before, after)]
    shares = [share(rate([mark == "1" for mark in marks])) for marks in both]
    return *shares, _signed(paired(both[1], both[0]), "+.3f")


def _texts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Row:
    n = min(len(before["nats"]), len(after["nats"]))
    old, new, sizes = before["nats"][:n], after["nats"][:n], after["bytes"][:n]
    bits = [f"{math.fsum(nats) / math.log(2) / sum(sizes):.3f}" for nats in (old, new)]
    return *bits, _signed(difference(new, old, old), "+.2%")


def _signed(found: Mapping[str, float], form: str) -> str:
    value, low, high = (f"{found[key]:{form}}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
