"""Knows lists that a reply says again, as they stand or as JSON, or finds things in: what teaches copying."""

import json
from collections.abc import Iterator
from functools import partial

from corpus.lots import Lot
from corpus.names import made_up_name
from corpus.synthesis import Taught
from corpus.tools import ARGUMENTS
from corpus.world import Fact

ASKED = {
    "ko": ("따라 하세요: {}", "JSON 목록으로 써 주세요: {}", "{}. {} 옆에 있는 것은 무엇인가요?"),
    "en": ("Repeat: {}", "Write as a JSON list: {}", "{}. What stands beside {}?"),
}  # as they stand, as JSON, in pairs


def repeats(wide: Taught, lang: str, *, count: int) -> Iterator[tuple[str, str]]:
    """`count` questions with a list of two to nine names, numbers, sums, dates and quantities, and their replies.

    Half of every such row is copied, where a call copies two or three tokens of a hundred (docs/log.md). Two thirds are
    pairs of which one is named, and said again with what stands beside it: found as what a passage says of someone
    (associative recall, Arora et al. 2023, arXiv 2312.04927).
    """
    facts, (plain, as_json, _) = wide.facts, ASKED[lang]
    for number in range(count):
        lot = partial(wide.draw, "repeat", lang, number)
        items = [_item(facts, partial(lot, place), lang) for place in range(2 + lot("length") % 8)]
        different = list(dict.fromkeys(items))
        if number % 3 and len(different) > 1:
            yield _pairs(different, lot, lang)
        elif number % 2:
            yield as_json.format(", ".join(items)), json.dumps(items, ensure_ascii=False)
        else:
            yield plain.format(", ".join(items)), ", ".join(items)


def _pairs(items: list[str], lot: Lot, lang: str) -> tuple[str, str]:
    """Different items in pairs; in another order one side of each is named, the left two times in three."""
    pairs = list(zip(items[::2], items[1::2], strict=False))
    sought = sorted(pairs, key=partial(lot, "order"))
    turned = [pair if lot("side", *pair) % 3 else pair[::-1] for pair in sought]
    table, found = (", ".join(f"{one}: {other}" for one, other in rows) for rows in (pairs, turned))
    return ASKED[lang][2].format(table, ", ".join(named for named, _ in turned)), found


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
