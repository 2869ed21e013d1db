"""The data card says what was measured, in the same bytes, and calls the rest not measured."""

import json

from corpus.sources import LocalSource
from evals import data_card

CELL = {"documents": 3, "characters": 1_000}
RARE = {"documents": 1, "characters": 5}
DOMAINS = {
    "phase1": {"organic": {"ko": {"law": CELL, "poem": RARE}, "en": {"law": CELL}}, "synthetic": {"ko": {"qa": CELL}}},
    "validation": {"organic": {"ko": {"law": RARE}}},
}
EVIDENCE = {
    "ingest": {"by_source": {"books": {"kept": 9}}},
    "filter": {
        "documents_in": 9, "documents_kept": 7, "characters_in": 4_000, "characters_kept": 3_005,
        "dropped": {"short": 2}, "masked": {"이메일": 4},
        "waterfall": {"by_language": {"ko": {"lines": [0, 95], "normalise": [2, 900], "kept": [7, 3_005]}}},
    },
    "synthesize": {"documents": {"synthetic-qa": 3}},
    "mix": {
        "domains": DOMAINS,
        "registers": {"phase1": {"organic": {"": RARE, "formal": CELL}, "synthetic": {"odd": RARE}}},
        "sources": {"books": {"": CELL | {"url": ""}}, "web": {"MIT": RARE | {"url": "https://w/"}}},
        "weights": {"phase1": {"ko/*": {"target": 4_000, "reached": 1_005, "available": 1_005}}},
        "dropped": {"contaminated": 2, "left_out": 1},
        "contamination": {
            "world": {"items": 10, "too_short": 1, "found": 2, "share": 0.2222}, "kmmlu": {"absent": "no"},
        },
    },
    "tokenize": {"domains": {"phase1": {"organic": {"ko": {"law": CELL | {"tokens": 321}}}}}},
}  # fmt: skip
BOOKS = {"books": LocalSource(name="books", kind="local", path="x", lang="ko", license="CC0", url="https://b/")}


def test_the_card_is_a_function_of_the_reports_and_not_of_their_order():
    def backwards(tree):
        return {key: backwards(tree[key]) for key in reversed(tree)} if isinstance(tree, dict) else tree

    card = data_card.page(EVIDENCE, BOOKS)
    assert card == data_card.page(backwards(EVIDENCE), BOOKS) == data_card.page(json.loads(json.dumps(EVIDENCE)), BOOKS)


def test_sums_of_sizes_are_the_sums_of_the_reports():
    cells = data_card.sizes(EVIDENCE["mix"], EVIDENCE["tokenize"])
    assert sum(cell["characters"] for cell in cells.values()) == 3_010
    assert cells["phase1", "organic", "ko", "law"]["tokens"] == 321


def test_figures_stand_where_they_were_measured():
    card = data_card.page(EVIDENCE, BOOKS)
    for row in (
        "| books | CC0 | https://b/ | 3 | 1,000 |",
        "| web | MIT | https://w/ | 1 | 5 |",
        "| phase1 | organic | ko | law | 3 | 1,000 | 321 |",
        "| phase1 | synthetic | ko | qa | 3 | 1,000 | not measured |",
        "| normalise | 2 | 900 |",
        "| short | 2 |",
        "| world | 10 | 1 | 2 | 22.2200% |",
        "2 organic documents were dropped for it.",
        "| 이메일 | 4 |",
        "| synthetic-qa | 3 |",
        "| phase1 | ko | 1,000 | 49.9% |",
    ):
        assert row in card, row


def test_gaps_follow_from_the_figures():
    cells = data_card.sizes(EVIDENCE["mix"], EVIDENCE["tokenize"])
    found = list(data_card.gaps({stage: EVIDENCE.get(stage, {}) for stage in data_card.STAGES}, cells))
    assert "phase1: languages of the organic characters: en 49.88%, ko 50.12%." in found
    assert "phase1: domains below 1% of the organic characters: poem 0.25%." in found
    assert "phase1: registers below 1% of the organic characters: unknown 0.50%." in found
    assert "phase1: ko/* reached 1,005 of the 4,000 characters wanted." in found
    assert "Evaluation sets not searched, as their items were not there: kmmlu." in found
    assert "Stages without a report: dedup." in found


def test_without_reports_nothing_is_invented():
    card = data_card.page({}, {})
    assert card.count("\n\nnot measured\n") == 7 and "Stages with a report: none." in card
    assert not [line for line in card.splitlines() if line.startswith("| ")]
