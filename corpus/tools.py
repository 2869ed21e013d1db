"""Knows a few small tools: the schemas that list them, the questions that need them, and what they return."""

import json
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any

from corpus.lots import Lot
from corpus.names import is_name, made_up_name
from corpus.synthesis import REPLY, Taught
from corpus.world import Asked, Fact, fill, render

OPERATIONS: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
UNITS = (  # large ko, large en, small ko, small en, how many small ones make a large one
    ("킬로미터", "kilometres", "미터", "metres", 1000), ("미터", "metres", "센티미터", "centimetres", 100),
    ("센티미터", "centimetres", "밀리미터", "millimetres", 10), ("킬로그램", "kilograms", "그램", "grams", 1000),
    ("톤", "tonnes", "킬로그램", "kilograms", 1000), ("리터", "litres", "밀리리터", "millilitres", 1000),
    ("시간", "hours", "분", "minutes", 60), ("분", "minutes", "초", "seconds", 60),
    ("년", "years", "개월", "months", 12), ("미터", "metres", "밀리미터", "millimetres", 1000),
    ("그램", "grams", "밀리그램", "milligrams", 1000), ("킬로리터", "kilolitres", "리터", "litres", 1000),
    ("일", "days", "시간", "hours", 24), ("주", "weeks", "일", "days", 7), ("세기", "centuries", "년", "years", 100),
    ("기가바이트", "gigabytes", "메가바이트", "megabytes", 1000), ("달러", "dollars", "센트", "cents", 100),
    ("메가바이트", "megabytes", "킬로바이트", "kilobytes", 1000), ("다스", "dozens", "개", "pieces", 12),
)  # fmt: skip
FIRST_DAY = date(2020, 1, 1)
DAYS = 3_652


@dataclass(frozen=True)
class Use:
    """A question that needs a tool: the call that answers it, what the tool returns, and how the reply says it."""

    tool: str
    question: str
    arguments: dict[str, str | int]
    result: str
    answer: str


def schema(tool: str, asked: dict[str, Asked]) -> dict:
    """The tool as it is listed in a chat: its name and the names of its arguments, short enough for a tiny context."""
    names = asked[tool].arguments if tool in asked else ("relation", "subject")
    return {"name": tool, "parameters": {"properties": {name: {} for name in names}}}


def uses(taught: Taught, asked: dict[str, Asked], tool: str, lang: str, *, count: int, held_out: bool) -> Iterator[Use]:
    """At most `count` different questions for a tool, "lookup" included.

    Held-out ones differ from the others in phrasing and in arguments: a fixed eighth of all arguments is reserved.
    """
    seen: set[str] = set()
    for number in range(count * 50):
        if len(seen) == count:
            return
        lot = partial(taught.draw, "tool", tool, lang, held_out, number)
        use, key = _lookup(taught, lot, lang, held_out) if tool == "lookup" else _use(asked, tool, lot, lang, held_out)
        if use.question not in seen and reserved(taught, tool, key) == held_out:
            seen.add(use.question)
            yield use


def reserved(taught: Taught, *labels: object) -> bool:
    """Whether what the labels name is kept for trials."""
    return taught.draw("reserved", *labels) % 8 == 0


def _use(asked: dict[str, Asked], tool: str, lot: Lot, lang: str, held_out: bool) -> tuple[Use, str]:
    arguments, result = ARGUMENTS[tool](lot, lang)
    words = {name: str(value) for name, value in arguments.items()}
    questions = (asked[tool].held_out_questions if held_out else asked[tool].questions)[lang]
    question = fill(_one(questions, lot("phrasing")), words, lang)
    answer = fill(_one(asked[tool].answers[lang], lot("answer")), words | {"result": result}, lang)
    return Use(tool, question, arguments, result, answer), json.dumps(arguments, ensure_ascii=False)


def _lookup(taught: Taught, lot: Lot, lang: str, held_out: bool) -> tuple[Use, str]:
    fact: Fact = _one(taught.facts, lot("fact"))
    if not held_out and is_name(fact.subject["en"]) and lot("made-up") % 2:  # which can but be copied
        fact = replace(fact, subject=made_up_name(lot, "subject"))
    phrasings = taught.relations[fact.relation].phrasings["held_out_questions" if held_out else "questions"][lang]
    arguments: dict[str, str | int] = {"relation": fact.relation, "subject": fact.subject[lang]}
    question, result = render(_one(phrasings, lot("phrasing")), fact, lang), fact.object[lang]
    return Use("lookup", question, arguments, result, render(REPLY[lang], fact, lang)), fact.key


def _calculator(lot: Lot, _: str) -> tuple[dict[str, str | int], str]:
    sign = _one(list(OPERATIONS), lot("sign"))
    large, small = sorted((10 + lot(side) % 90 for side in "ab"), reverse=True)
    return {"expression": f"{large} {sign} {small}"}, str(OPERATIONS[sign](large, small))


def _date_after(lot: Lot, _: str) -> tuple[dict[str, str | int], str]:
    first, days = FIRST_DAY + timedelta(lot("first") % DAYS), 2 + lot("days") % 98
    return {"date": first.isoformat(), "days": days}, (first + timedelta(days)).isoformat()


def _days_between(lot: Lot, _: str) -> tuple[dict[str, str | int], str]:
    first, days = FIRST_DAY + timedelta(lot("first") % DAYS), 10 + lot("days") % 90
    return {"start": first.isoformat(), "end": (first + timedelta(days)).isoformat()}, str(days)


def _convert(lot: Lot, lang: str) -> tuple[dict[str, str | int], str]:
    large_ko, large_en, small_ko, small_en, factor = _one(UNITS, lot("unit"))
    large, small = (large_ko, small_ko) if lang == "ko" else (large_en, small_en)
    count = 2 + lot("count") % 98
    if lot("direction") % 3:
        return {"value": count, "from": large, "to": small}, str(count * factor)
    return {"value": count * factor, "from": small, "to": large}, str(count)


ARGUMENTS: dict[str, Callable[[Lot, str], tuple[dict[str, str | int], str]]] = {
    "calculator": _calculator, "date_after": _date_after, "days_between": _days_between, "convert": _convert
}  # fmt: skip


def _one(items: Sequence, number: int) -> Any:
    return items[number % len(items)]
