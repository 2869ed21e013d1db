"""The tables of abilities and the conversations are functions of the evidence."""

import pytest

from evals import abilities
from evals.metrics import marked


def cell(marks, form="1111"):
    return {"right": marked([mark == "1" for mark in marks]), "well_formed": marked([mark == "1" for mark in form])}


def report(ko, en, nats, **more):
    texts = {f"{key}_{lang}": rows for lang in ("ko", "en") for key, rows in (("nats", nats), ("bytes", [10] * 4))}
    return {"trials": {"question": {"ko": cell(ko), "en": cell(en, "1110")}}, **texts, **more}


@pytest.fixture
def before():
    shots = {lang: marked([True, False, False, False]) for lang in ("ko", "en")}
    return report(
        "0000", "0000", [7.0, 8.0, 7.0, 8.0], few_shot=shots, held_back={"chats": {"nats": [9.0], "bytes": [5]}}
    )


@pytest.fixture
def after():
    return report("1110", "1111", [7.7, 8.8, 7.7, 8.8], held_back={"chats": {"nats": [6.0], "bytes": [5]}})


def test_what_a_subject_can_do_stands_by_kind_and_language_and_in_the_order_of_reading(after):
    after["trials"] |= {"zebra": {"en": cell("1")}, "tool-unit": {"ko": cell("0101", "1100")}}
    rows = abilities.can_do(after)
    assert [row[:2] for row in rows] == [
        ("says a learnt fact, asked in a chat", "ko"), ("says a learnt fact, asked in a chat", "en"),
        ("calls the unit converter", "ko"), ("zebra", "en"), ("all of these", "ko"), ("all of these", "en"),
    ]  # fmt: skip
    assert rows[0][2].startswith("0.750 [") and rows[0][2].endswith("n=4")
    assert rows[-2][3].startswith("0.750 [") and rows[-2][3].endswith("n=8")  # of 4 and 4 Korean replies


def test_an_artifact_has_a_dash_where_it_was_not_asked(before, after):
    del before["trials"]["question"]["en"]
    rows = abilities.artifacts_can({"mini": after, "onnx-int4": before})
    assert [row[:2] for row in rows] == [("mini", "ko"), ("mini", "en"), ("onnx-int4", "ko"), ("onnx-int4", "en")]
    assert rows[3][2] == "–" and rows[0][2].startswith("0.750")


def test_training_is_told_by_the_same_items_before_and_after(before, after):
    rows = {row[0]: row[1:] for row in abilities.trained(before, after)}
    shots = rows["questions ko: few shots before, a chat after"]
    assert shots[0].startswith("0.250") and shots[1].startswith("0.750") and shots[2].startswith("+0.500 [")
    assert rows["held-out text en, bits per byte"] == ("1.082", "1.190", "+10.00% [+10.00%, +10.00%]")
    assert rows["held-back replies of chats, bits per byte"][2].startswith("-33.33%")
    assert len(rows) == 2 + 2 + 2 + 1


def test_one_that_was_asked_less_is_paired_with_the_beginning_of_the_other(before, after):
    before["trials"]["question"]["ko"] = cell("01", "11")
    row = next(row for row in abilities.trained(before, after) if row[0] == "says a learnt fact, asked in a chat, ko")
    assert row[1].endswith("n=2") and row[2].startswith("1.000") and row[3].startswith("+0.500")


def test_conversations_are_uncut_and_taken_in_turn_from_every_kind():
    long = "가" * 3000
    row = {
        "lang": "ko", "tools": [{"name": "add"}], "expected": ["6"], "reply": f"{long}\n# no heading",
        "finish_reason": "stop", "right": False, "well_formed": True,
        "messages": [
            {"role": "user", "content": "둘과 넷?", "passages": ["하나는 하나다."]},
            {"role": "assistant", "content": "", "tool_calls": [{"name": "add", "arguments": {"n": 2}}]},
            {"role": "tool", "content": "6"},
        ],
    }  # fmt: skip
    rows = [row | {"kind": kind, "id": str(n)} for kind in ("tool-answer", "passage", "greeting") for n in range(9)]
    page = abilities.conversations(rows)
    assert page.count("\n## ") == abilities.SAMPLES == 20 and page.count(long) == 20
    assert page.count("says what a tool has found, ko") == 7 and "Right: no. Well formed: yes." in page
    block = [line for line in page.split("\n## ")[1].splitlines() if line.startswith("    ")]
    assert block[:4] == [
        '    [tool] {"name": "add"}', "    [passage 1] 하나는 하나다.", "    [user] 둘과 넷?",
        '    [assistant] {"name": "add", "arguments": {"n": 2}}',
    ]  # fmt: skip
    assert block[-2:] == ["    # no heading", "    [ends by] stop"]
    assert page == abilities.conversations(rows)
    more = abilities.conversations([*rows, *(row | {"kind": "held back"} for _ in range(3))])
    assert more.count("\n## ") == 23 and more.count("held back, ko") == 3
