"""Knows lists that a reply says again, as they stand or as JSON: what teaches a small model to copy."""

import json
from collections.abc import Iterator
from functools import partial

from corpus.lots import Lot
from corpus.names import made_up_name
from corpus.synthesis import Taught
from corpus.tools import ARGUMENTS
from corpus.world import Fact

ASKED = {
    "ko": ("따라 하세요: {}", "JSON 목록으로 써 주세요: {}"),
    "en": ("Repeat: {}", "Write as a JSON list: {}"),
}  # as they stand, as JSON


def repeats(wide: Taught, lang: str, *, count: int) -> Iterator[tuple[str, str]]:
    """`count` questions with a list of two to nine names, numbers, sums, dates and quantities, and their replies.

    Half of every such row is copied, where a call copies two or three tokens of a hundred (docs/log.md).
    """
    facts = wide.facts
    for number in range(count):
        lot = partial(wide.draw, "repeat", lang, number)
        items = [_item(facts, partial(lot, place), lang) for place in range(2 + lot("length") % 8)]
        said = ", ".join(items)
        as_json = number % 2
        yield ASKED[lang][as_json].format(said), json.dumps(items, ensure_ascii=False) if as_json else said


def _item(facts: list[Fact], lot: Lot, lang: str) -> str:
    kind = lot("kind") % 20
    if kind < 14:
        fact = facts[lot("fact") % len(facts)]
        return (fact.subject, fact.object)[lot("side") % 2][lang]
    if kind < 16:
        return made_up_name(lot, "name")[lang]
    if kind < 17:
        return str(2 + lot("number") % 98)
    if kind < 18:
        return str(ARGUMENTS["calculator"](lot, lang)[0]["expression"])
    if kind < 19:
        return str(ARGUMENTS["date_after"](lot, lang)[0]["date"])
    amount = ARGUMENTS["convert"](lot, lang)[0]
    return f"{amount['value']}{'' if lang == 'ko' else ' '}{amount['from']}"
