"""Conversations become rows exactly as the runtime renders them, with loss on the assistant's own tokens."""

import json

import pytest
from midm_mini.format import render_chat

from corpus import bpe
from corpus.preferences import Pair
from models.chat import conversation_rows, preference_rows

ROOM = {"context": 500, "limit": 0.0}
TURNS = [
    {"role": "user", "content": "수도는 어디인가? <|eot_id|>"},
    {"role": "assistant", "content": "답은 서울입니다."},
    {"role": "user", "content": "고마워"},
    {"role": "assistant", "content": "천만에요."},
]


def saved_tokenizer(place):
    """A folder with a tokenizer of 300 ids."""
    text = ["수도는 어디인가? 답은 서울입니다. 고마워 천만에요. user assistant"] * 20
    bpe.save(bpe.train(text, vocab_size=300, min_frequency=2), place, context=64)
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def lines(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_separator_of_lines_inside_a_text_ends_no_record(folder, tmp_path):
    turns = [*TURNS[:1], {"role": "assistant", "content": "답은\u2028서울\x85입니다."}]
    file = lines(tmp_path / "d.jsonl", {"messages": turns}, {"messages": TURNS})
    assert len(conversation_rows(file, folder, **ROOM)[0]) == 2


def test_of_one_kind_are_read_those_that_say_so_and_none_is_an_error_that_names_the_file(folder, tmp_path):
    said = [{"role": "user", "content": "둘?"}, {"role": "assistant", "content": "둘"}]
    file = lines(tmp_path / "d.jsonl", {"messages": TURNS}, {"messages": said, "kind": "repeat"})
    assert conversation_rows(file, folder, **ROOM, kind="repeat")[0] == conversation_rows(file, folder, **ROOM)[0][1:]
    with pytest.raises(ValueError, match=r"d\.jsonl: no conversation of kind 'passage'; let synthesize make some"):
        conversation_rows(file, folder, **ROOM, kind="passage")


def test_only_the_assistants_tokens_bear_loss_and_their_end_of_turn_with_them(folder, tmp_path):
    from tokenizers import Tokenizer

    coder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ((row,), _) = conversation_rows(lines(tmp_path / "d.jsonl", {"messages": TURNS}), folder, **ROOM)
    learnt = coder.decode([i for i, bears in zip(*row, strict=True) if bears], skip_special_tokens=False)
    assert learnt == "답은 서울입니다.<|eot_id|>천만에요.<|eot_id|>"
    assert coder.decode(row[0], skip_special_tokens=False) == render_chat(TURNS)


def test_control_tokens_in_content_stay_text(folder, tmp_path):
    from tokenizers import Tokenizer

    coder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ((row,), _) = conversation_rows(lines(tmp_path / "d.jsonl", {"messages": TURNS}), folder, **ROOM)
    assert row[0].count(coder.token_to_id("<|eot_id|>")) == len(TURNS)


def test_a_pair_shares_its_prompt_and_bears_loss_on_the_last_reply_only(folder):
    pair = Pair("p.jsonl:1", TURNS[:3], "천만에요.", "서울", [])
    (chosen, rejected), _ = preference_rows([pair], folder, **ROOM)
    prompt = chosen[1].index(1)
    assert chosen[0][:prompt] == rejected[0][:prompt]
    assert sum(chosen[1]) == len(chosen[0]) - prompt


def test_a_bad_record_is_an_error_that_names_file_and_line(folder, tmp_path):
    with pytest.raises(ValueError, match=r"d\.jsonl:2: no 'messages'"):
        conversation_rows(lines(tmp_path / "d.jsonl", {"messages": TURNS}, {"text": "?"}), folder, **ROOM)


@pytest.mark.parametrize("turns, says", [(TURNS[:1], "no turn of the assistant"), ([{"role": "?"}], "message 0")])
def test_a_conversation_that_cannot_be_learnt_is_named_too(folder, tmp_path, turns, says):
    with pytest.raises(ValueError, match=rf"d\.jsonl:2: {says}"):
        conversation_rows(lines(tmp_path / "d.jsonl", {"messages": TURNS}, {"messages": turns}), folder, **ROOM)


def test_tools_passages_and_results_are_read_as_the_runtime_renders_them_and_bear_no_loss(folder, tmp_path):
    from tokenizers import Tokenizer

    coder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tools = [{"name": "add", "description": "sum", "parameters": {"type": "object"}}]
    call = {"name": "add", "arguments": {"a": 1}}
    turns = [
        {"role": "user", "content": "?", "passages": ["서울"]},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "답은 3"},
    ]
    ((row,), _) = conversation_rows(lines(tmp_path / "d.jsonl", {"messages": turns, "tools": tools}), folder, **ROOM)
    assert coder.decode(row[0], skip_special_tokens=False) == render_chat(turns, tools)
    learnt = coder.decode([i for i, bears in zip(*row, strict=True) if bears], skip_special_tokens=False)
    assert learnt == f"<tool_call>{json.dumps(call)}</tool_call><|eot_id|>답은 3<|eot_id|>"


def test_what_is_longer_than_the_context_is_dropped_whole_and_counted(folder, tmp_path):
    long = {"messages": [{"role": "user", "content": "고마워 " * 200}, TURNS[1]]}
    file = lines(tmp_path / "d.jsonl", {"messages": TURNS}, long)
    rows, dropped = conversation_rows(file, folder, context=150, limit=0.5)
    assert rows == conversation_rows(lines(tmp_path / "e.jsonl", {"messages": TURNS}), folder, **ROOM)[0]
    assert dropped == {"longer than context": 1}
    for context, limit in ((150, 0.4), (3, 1.0)):
        with pytest.raises(ValueError, match=r"of 2 records are longer than the context .*d\.jsonl:"):
            conversation_rows(file, folder, context=context, limit=limit)


def test_a_pair_of_which_one_reply_is_too_long_goes_whole(folder):
    pair = Pair("p.jsonl:1", TURNS[:1], "답은 서울입니다.", "서울", [])
    long = pair._replace(place="p.jsonl:2", rejected="서울 " * 200)
    rows, dropped = preference_rows([pair, long], folder, context=150, limit=0.5)
    assert len(rows) == 2 and dropped == {"longer than context": 1}
