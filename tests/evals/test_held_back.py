"""What a held-back conversation costs is what its assistant's words cost, each once."""

import json
import math

import numpy as np
import pytest

from evals import held_back
from evals.material import MaterialError

TURNS = [
    {"role": "system", "content": "짧게."},
    {"role": "user", "content": "안녕?"},
    {"role": "assistant", "content": "안녕!"},
    {"role": "user", "content": "How much?"},
    {"role": "assistant", "content": "", "tool_calls": [{"name": "add", "arguments": {"n": 2}}]},
]
WORDS = ["안녕!", '<tool_call>{"name": "add", "arguments": {"n": 2}}</tool_call>']


def talk(**change):
    return {"id": "a", "lang": "ko", "kind": "given", "source": "chats", "messages": TURNS} | change


def test_only_the_assistants_words_are_weighed_each_byte_once(fakes):
    seen = []

    def rule(ids):
        seen.append(bytes(ids[1:]).decode())
        return fakes.uniform(ids)

    found = held_back.judge(fakes.Subject(rule, context=999), [talk()])["chats"]
    size = sum(len(words.encode()) for words in WORDS)
    assert found["bytes"] == [size] and found["too_long"] == 0
    assert found["nats"][0] == pytest.approx(size * math.log(fakes.V), abs=1e-3)
    assert seen[0].endswith("\n\n안녕")
    assert WORDS[0] in seen[1] and seen[1].endswith(WORDS[1][:-1])


def test_a_model_that_knows_the_words_pays_less(fakes):
    def rule(ids):
        logits = np.zeros((len(ids), fakes.V), np.float32)
        logits[np.arange(len(ids) - 1), ids[1:]] = 9.0
        return logits

    known, blank = (
        held_back.judge(fakes.Subject(way, context=999), [talk()])["chats"]["nats"] for way in (rule, fakes.uniform)
    )
    assert known[0] < 0.2 * blank[0]


def test_turns_beyond_the_context_are_counted_and_not_weighed(fakes):
    first = len(fakes.Subject(fakes.uniform).chat_ids(TURNS[:2])) + len(WORDS[0].encode())
    found = held_back.judge(fakes.Subject(fakes.uniform, context=first), [talk()])["chats"]
    assert found["too_long"] == 1 and found["bytes"] == [len(WORDS[0].encode())]
    assert held_back.judge(fakes.Subject(fakes.uniform, context=first - 1), [talk()])["chats"]["nats"] == []


def test_conversations_stand_by_source_the_first_of_each(tmp_path, fakes):
    file = tmp_path / "held_back.jsonl"
    rows = [talk(id=f"{source}{n}", source=source) for n in range(3) for source in ("a", "b")]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    kept = held_back.read_conversations(file, per_source=2)
    assert [row["id"] for row in kept] == ["a0", "a1", "b0", "b1"]
    asked = held_back.openings(fakes.Subject(fakes.uniform, context=999), kept, per_source=1)
    assert [(trial.id, trial.expected, trial.messages) for trial in asked] == [
        ("a0", [WORDS[1]], TURNS[:4]),
        ("b0", [WORDS[1]], TURNS[:4]),
    ]
    assert held_back.openings(fakes.Subject(fakes.uniform, context=50), kept, per_source=1) == []


@pytest.mark.parametrize(
    "row", [{"lang": "ko"}, talk(messages=TURNS[:2]), talk(messages=[{"role": "x", "content": ""}])]
)
def test_what_is_no_conversation_is_named(tmp_path, row):
    file = tmp_path / "held_back.jsonl"
    file.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(MaterialError, match=r"held_back\.jsonl:1"):
        held_back.read_conversations(file, per_source=9)


@pytest.mark.parametrize("there", [False, True])
def test_nobody_has_to_bring_conversations(tmp_path, there):
    file = tmp_path / "held_back.jsonl"
    if there:
        file.touch()
    assert held_back.read_conversations(file, per_source=9) == []
