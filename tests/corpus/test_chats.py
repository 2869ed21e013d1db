"""Chat files of others: every row has a verdict; what is kept renders, ends with a reply and leaks nothing."""

import gzip
import json
from functools import partial
from pathlib import Path

import pytest
from midm_mini.format import render_chat

from corpus import chats, synthesis

ADAPTERS = Path(__file__).parents[2] / "data/conversations"
GIVEN = {"folder": "", "files": ["*"], "reasoning": "drop", "max_bad": 1.0, "held_back": 0.0}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"properties": {"a": {}, "b": {}}}}}]


def _asks(text):
    return {"role": "user", "content": text}


def _says(text, **more):
    return {"role": "assistant", "content": text, **more}


def _collected(folder, rows, *, name="own.jsonl", gate=lambda texts: ["" for _ in texts], **changes):
    folder.mkdir(exist_ok=True)
    lines = "".join(row + "\n" if isinstance(row, str) else json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / name).write_bytes(gzip.compress(lines.encode()) if name.endswith(".gz") else lines.encode())
    return chats.collected(folder, ADAPTERS, chats.Given(**GIVEN | changes), gate=gate)


def _messages(verdict):
    assert verdict.reason == ""
    render_chat(verdict.conversation["messages"], verdict.conversation.get("tools", ()))
    return [(message["role"], message["content"]) for message in verdict.conversation["messages"]]


def test_openai_sharegpt_and_alpaca_rows_of_the_same_talk_are_the_same_conversation(tmp_path):
    talk = [("system", "짧게."), ("user", "안녕?\n나야."), ("assistant", "네, 안녕하세요.")]
    parts = [*zip(("human", "gpt"), talk[1:], strict=True)]
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in talk]},
        {"system": "짧게.", "conversations": [{"from": f, "value": t[1]} for f, t in parts]},
        {"system": "짧게.", "instruction": "안녕?", "input": "나야.", "output": "네, 안녕하세요."},
        {"messages": [
            {"role": "developer", "content": "짧게."}, _asks([{"type": "text", "text": "안녕?\n나야."}]),
            _says("네, 안녕하세요."),
        ]},
    ]  # fmt: skip
    verdicts = [_collected(tmp_path / str(n), [row])[0] for n, row in enumerate(rows)]
    assert [_messages(verdict) for verdict in verdicts] == [talk] * 4
    assert {verdict.conversation["lang"] for verdict in verdicts} == {"ko"}


def test_tool_calls_of_openai_and_sharegpt_become_objects_that_render(tmp_path):
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    result = {"role": "tool", "tool_call_id": "1", "content": "3"}
    rows = [
        {"messages": [_asks("1+2?"), _says(None, tool_calls=[call]), result, _says("It is 3.")], "tools": TOOLS},
        {"conversations": [
            {"from": "human", "value": "1+2?"},
            {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1, "b": 2}}'},
            {"from": "observation", "value": "3"}, {"from": "gpt", "value": "It is 3"},
        ], "tools": json.dumps(TOOLS)},
    ]  # fmt: skip
    for verdict in _collected(tmp_path, rows):
        assert _messages(verdict)[1:3] == [("assistant", ""), ("tool", "3")]
        made = verdict.conversation
        assert '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>' in render_chat(
            made["messages"], made["tools"]
        )


BAD = {
    "{broken": "broken_json",
    "[1]": "not_an_object",
    json.dumps({"text": "no chat"}): "unknown_format",
    json.dumps({"messages": []}): "no_reply",
    json.dumps({"messages": "hello"}): "not_a_list",
    json.dumps({"messages": [_asks("Hi"), {"role": "owner", "content": "x"}]}): "unknown_role",
    json.dumps({"messages": [_asks("Hi")]}): "no_reply",
    json.dumps({"messages": [_says("Hi")]}): "no_question",
    json.dumps({"messages": [_asks("Hi"), _says("")]}): "empty_turn",
    json.dumps({"messages": [_asks(["x"]), _says("Hi")]}): "not_text",
    json.dumps({"messages": [_asks("Hi"), _says("<think>only thoughts")]}): "empty_turn",
    json.dumps({"messages": [_asks("Hi \ud800"), _says("Hi")]}): "not_renderable",
    json.dumps({"messages": [_asks("Hi"), _says("", tool_calls=[{"name": "f", "arguments": "{"}])]}): "bad_tool_call",
    json.dumps({"messages": [_asks("Hi"), _says("", tool_calls=[{"arguments": {}}])]}): "bad_tool_call",
    json.dumps({"messages": [_asks("Hi"), _says("", tool_calls=[{"name": "f"}])], "tools": TOOLS}): "unlisted_tool",
    json.dumps({"messages": [_asks("Hi"), _says("Hi")], "tools": "no JSON"}): "bad_tools",
    json.dumps({"conversations": [{"from": "human", "value": 3}]}): "not_text",
    json.dumps({"instruction": "Say hi", "output": None}): "empty_turn",
}


def test_each_bad_row_is_quarantined_under_its_line_and_reason_and_the_others_are_kept(tmp_path):
    good = {"messages": [_asks("Hello?"), _says("Hello.")]}
    verdicts = _collected(tmp_path, [*BAD, good])
    assert [(row.line, row.reason.partition(":")[0], row.bad) for row in verdicts[:-1]] == [
        (line, reason, True) for line, reason in enumerate(BAD.values(), 1)
    ]
    assert _messages(verdicts[-1]) == [("user", "Hello?"), ("assistant", "Hello.")]


def test_read_is_kept_and_dropped_and_quarantined(tmp_path):
    talk = {"messages": [_asks("Hello?"), _says("Hello.")]}
    rows = [*BAD, talk, talk, talk | {"split": "test"}, talk | {"split": "train", "id": 7}]
    gate = partial(synthesis.leaking, [{"question": "Where is the held-out city?"}])
    rows.append({"messages": [_asks("Please: where is the held-out CITY"), _says("Here.")]})
    account = chats.account(_collected(tmp_path, rows, name="own.jsonl.gz", gate=gate))["own.jsonl.gz"]
    assert account["read"] == len(rows) == len(BAD) + 5
    assert account["kept"] == 1
    assert account["dropped"] == {"duplicate": 2, "not_for_training": 1, "held_out_question": 1}
    assert account["read"] == account["kept"] + sum(account["dropped"].values()) + sum(account["quarantined"].values())


def test_too_many_bad_rows_stop_the_stage_and_name_the_first(tmp_path):
    good = [{"messages": [_asks(f"Hello {n}?"), _says("Hello.")]} for n in range(9)]
    with pytest.raises(chats.ChatError, match=r"1 of 10 rows .* more than 5.0%: own.jsonl:10 unknown_format"):
        _collected(tmp_path, [*good, {"text": "no chat"}], max_bad=0.05)
    assert len(_collected(tmp_path, [*good, {"text": "no chat"}], max_bad=0.1)) == 10


def test_what_is_absent_or_no_chat_file_is_an_error_and_adapters_are_passed_over(tmp_path):
    def read(folder, *files):
        return chats.collected(folder, ADAPTERS, chats.Given(**GIVEN | {"files": [*files]}), gate=lambda texts: [])

    assert read(ADAPTERS, "*") == []
    with pytest.raises(chats.ChatError, match=r"no file mine.jsonl there; mend synthesize.given.files"):
        read(tmp_path, "mine.jsonl")
    (tmp_path / "mine.json").write_text("[]")
    with pytest.raises(chats.ChatError, match=r"mine.json: not .jsonl"):
        read(tmp_path, "*")


def _places(value, path=()):
    yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(part, (*path, key))


def test_whatever_stands_where_no_chat_has_it_the_row_gets_a_verdict_and_what_is_kept_renders(tmp_path):
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    asked = {"role": "user", "content": [{"type": "text", "text": "1?"}], "passages": ["One."]}
    openai = {
        "messages": [asked, _says("", tool_calls=[call]), {"role": "tool", "content": "2"}, _says("2")],
        "tools": TOOLS,
    }
    shared = {
        "system": "s",
        "conversations": [{"from": "human", "value": "1?"}, {"from": "gpt", "value": "2"}],
        "lang": "en",
    }
    rows = []
    for record in (openai, shared, {"instruction": "1?", "input": "", "output": "2", "split": "train"}):
        for path in _places(record):
            for odd in (None, 3, True, "x", [], [1], {}, {"name": [1]}):
                changed = json.loads(json.dumps({"record": record}))
                *way, last = ("record", *path)
                target = changed
                for key in way:
                    target = target[key]
                target[last] = odd
                rows.append(changed["record"])
    verdicts = _collected(tmp_path, [json.dumps(row) for row in rows])
    assert [row.line for row in verdicts] == [*range(1, len(rows) + 1)] and len(rows) > 250
    kept = [row for row in verdicts if not row.reason]
    assert kept and all(_messages(row) for row in kept)


@pytest.mark.parametrize("thought", ["<think>2 and 2\nare 4</think>\n답: 4", "풀이: 2 + 2 = 4\n답: 4"])
def test_reasoning_is_dropped_or_kept_as_asked(tmp_path, thought):
    row = {"messages": [_asks("2+2?"), _says(thought)]}
    assert _messages(_collected(tmp_path, [row])[0])[-1] == ("assistant", "답: 4")
    assert _messages(_collected(tmp_path, [row], reasoning="keep")[0])[-1] == ("assistant", thought)


def test_gsm8k_gives_its_training_rows_only_without_marks_and_the_final_answer_or_the_steps_too(tmp_path):
    row = {"question": "How many?", "answer": "He has 2+3 = <<2+3=5>>5 apples.\n#### 5", "split": "train"}
    rows = [row, row | {"split": "test"}, row | {"question": "Why?", "answer": "no mark"}]
    final, other, bad = _collected(tmp_path, rows, name="gsm8k.jsonl")
    assert _messages(final) == [("user", "How many?"), ("assistant", "Answer: 5")]
    assert (other.reason, other.bad) == ("not_chosen", False) and bad.reason.startswith("no_final_answer")
    kept = _collected(tmp_path, [row], name="gsm8k.jsonl", reasoning="keep")[0]
    assert _messages(kept)[-1] == ("assistant", "Solution: He has 2+3 = 5 apples.\nAnswer: 5")


def test_every_adapter_of_ours_names_its_licence_and_origin():
    found = chats.read_adapters(ADAPTERS)
    assert {"chatbot_qa", "sae4k", "gsm8k", "seed_tasks_en"} <= set(found)
    assert all(adapter.license and adapter.url.startswith("https://") for adapter in found.values())


def test_an_adapter_with_an_unknown_key_or_another_name_is_an_error_that_names_the_file(tmp_path):
    text = (ADAPTERS / "sae4k.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(chats.ChatError, match=r"mine.yaml: name is 'sae4k'"):
        chats.read_adapters(tmp_path)
    (tmp_path / "mine.yaml").write_text(text.replace("name: sae4k", "name: mine\nbot: x"))
    with pytest.raises(chats.ChatError, match=r"mine.yaml: .*bot"):
        chats.read_adapters(tmp_path)


def test_a_missing_field_is_named(tmp_path):
    rows = [{"id": "s", "instruction": "Say hi", "instances": []}, {"id": "s"}]
    verdicts = _collected(tmp_path, rows, name="seed_tasks_en.jsonl")
    assert [row.reason for row in verdicts] == ["missing_field: instances.0.input", "missing_field: instruction"]


def test_a_share_is_held_back_by_lot_and_the_rest_is_trained_whatever_the_order(tmp_path, taught):
    rows = [{"messages": [_asks(f"Hello {n}?"), _says("Hello.")]} for n in range(400)]
    said = []
    for name, ordered in (("a", rows), ("b", rows[::-1])):
        made = chats.records(_collected(tmp_path / name, ordered), 0.1, lot=taught.draw)
        assert len(made["dialogues"]) + len(made["held_back"]) == 400
        assert 15 < len(made["held_back"]) < 75
        said.append({talk["messages"][0]["content"] for talk in made["held_back"]})
    assert said[0] == said[1]


@pytest.fixture
def taught():
    return synthesis.Taught(seed=3, relations={})
