"""What right and well-formed replies are, whatever the model."""

import json
from pathlib import Path

import pytest
from midm_mini.format import SYSTEM_PROMPTS, chat_segments

from corpus.world import load_talks
from evals import trials
from evals.material import MaterialError
from evals.questions import Question

TALK = Path(__file__).parents[2] / "data/sample/world/talk"
ADD = {
    "name": "calculator", "description": "adds",
    "parameters": {"type": "object", "properties": {"expression": {}, "digits": {}}},
}  # fmt: skip
DUE = {"name": "calculator", "arguments": {"expression": "12+30", "digits": 2}}


def trial(**change):
    asked = {"role": "user", "content": "12 더하기 30은?"}
    row = {"id": "t", "lang": "ko", "kind": "passage", "messages": [asked], "expected": ["42"]}
    return trials.Trial.model_validate(row | change)


def call(**change):
    return f"<tool_call>{json.dumps(DUE | change, ensure_ascii=False)}</tool_call>"


CALLING = trial(kind="tool-calculator", tools=[ADD], expected=DUE)


@pytest.mark.parametrize(
    ("reply", "right", "formed"),
    [
        (call(), True, True),
        (call(arguments={"digits": 2.0, "expression": "12+30"}), True, True),
        (call(arguments={"expression": "12 + 30", "digits": 2}), False, True),
        (call(arguments={"expression": "12+30", "digits": "2"}), False, True),
        (call(arguments={"expression": "12+30", "digits": True}), False, True),
        (call(arguments={"expression": "12+30"}), False, True),
        (call(name="lookup"), False, False),
        (call(arguments={"expression": "12+30", "digits": 2, "base": 10}), False, False),
        (call() + "\n" + call(), False, True),
        ("42", False, False),
        ("", False, False),
        (call()[:-12], False, False),
        ("<tool_call>{'name': 'calculator'}</tool_call>", False, False),
        ('<tool_call>{"name": "calculator", "arguments": "12+30"}</tool_call>', False, False),
        ("<tool_call>[]</tool_call>", False, False),
    ],
)
def test_a_due_call_is_right_if_name_and_arguments_are_equal_as_json(reply, right, formed):
    assert (trials.right(CALLING, reply), trials.well_formed(CALLING, reply, "stop")) == (right, formed)
    assert not trials.well_formed(CALLING, reply, "length")


def test_a_call_as_training_renders_it_is_read_back():
    message = {"role": "assistant", "content": "", "tool_calls": [DUE, DUE]}
    text = next(part.text for part in chat_segments([message]) if part.learned)
    assert trials.calls(text, [ADD]) == [DUE, DUE]


def test_a_reply_where_no_call_is_due_must_say_the_answer_and_call_nothing():
    told = trial(kind="tool-none", tools=[ADD], expected=["42", "사십이"])
    assert trials.right(told, "답은 사십이입니다.") and trials.right(told, "답: 42")
    assert not trials.right(told, "답: 420") and not trials.right(told, "모릅니다.")
    assert not trials.right(told, f"42 {call()}") and not trials.right(told, "42 <tool_call>")
    assert not trials.well_formed(told, f"42 {call()}", "stop") and not trials.well_formed(
        told, "42 <tool_call>", "stop"
    )
    assert trials.well_formed(told, "모릅니다.", "stop") and not trials.well_formed(told, "모릅니다.", "length")


def test_an_answer_from_memory_is_wrong_even_beside_the_passages():
    told = trial(kind="contradiction", lang="en", expected=["Lyon"], memory="Paris")
    assert trials.right(told, "Answer: Lyon")
    assert not trials.right(told, "Answer: Paris") and not trials.right(told, "Lyon, but really Paris.")


@pytest.mark.parametrize(
    ("reply", "lang", "names", "asked"),
    [
        ("답: 서울", "ko", [], True),
        ("Seoul is the capital.", "ko", [], False),
        ("Seoul is the capital.", "en", [], True),
        ("답: 서울", "en", [], False),
        ("답: Mn", "ko", ["Mn"], True),
        ("Mn", "ko", ["Mn"], True),
        ("42 (%)", "ko", [], True),
        ("42", "en", [], True),
        ("It is 서울 today.", "en", [], False),
        ("It is 서울 today.", "en", ["서울"], True),
        ("首都はソウルです", "ko", [], False),
        ("", "ko", [], True),
    ],
)
def test_letters_tell_the_language_and_names_and_numbers_do_not(reply, lang, names, asked):
    assert trials.in_language(reply, lang, names) is asked


@pytest.mark.parametrize("reply", ["", " \n"])
def test_nothing_said_is_not_well_formed(reply):
    assert not trials.well_formed(trial(), reply, "stop")


def test_replies_are_marked_counted_and_kept(fakes):
    asked = [trial(id=str(n), kind=kind) for kind in ("passage", "tool-none") for n in range(4)]
    heard = []

    def reply(prompt, max_tokens):
        heard.append(prompt)
        return ("답: 42" if len(heard) % 2 else "no"), "stop"

    subject = fakes.Subject(fakes.uniform, context=500, reply=reply)
    too_long = trial(messages=[{"role": "user", "content": "?" * 500}])
    read = trial(kind="held back", expected=[])
    rows = trials.put(subject, [read, read, *asked, too_long], max_tokens=5)
    assert heard[0].endswith("<|start_header_id|>assistant<|end_header_id|>\n\n") and len(rows) == 10
    found = trials.summary(rows)
    assert set(found) == {"passage", "tool-none"}
    cell = found["passage"]["ko"]
    assert cell["right"]["marks"] == cell["well_formed"]["marks"] == "1010" and cell["right"]["value"] == 0.5


def test_greetings_are_said_in_words_that_training_does_not_have():
    said = {text.casefold() for row in load_talks(TALK)["everyday"] for text in row[:2]}
    asked = trials.read_trials(TALK.parents[1] / "greetings.jsonl")
    assert {(one.lang, one.kind) for one in asked} == {("ko", "greeting"), ("en", "greeting")}
    assert not said & {one.messages[0]["content"].casefold() for one in asked}
    taught = " ".join(text for row in load_talks(TALK)["everyday"] for text in row[2:])
    assert all(one.expected and one.expected[0] in taught for one in asked)


def test_under_the_preset_the_same_is_asked_after_the_wheels_own_system_prompt():
    (made,) = trials.under_preset([trial(lang="en")])
    assert made.messages[0] == {"role": "system", "content": SYSTEM_PROMPTS["en"]} and made.id == "preset/t"
    assert made.kind == "preset" and made.messages[1:] == trial().messages and made.expected == trial().expected


def test_the_first_of_each_kind_and_language_are_a_beginning_of_them_all():
    every = [trial(id=f"{lang}{n}", lang=lang, kind=kind) for n in range(5) for lang in ("ko", "en") for kind in "ab"]
    few = trials.first_of_each(every, 2)
    assert len(few) == 8 and few == [one for one in every if one.id[-1] in "01"]
    assert trials.first_of_each(every, 0) == [] and trials.first_of_each(every, 9) == every


def test_questions_become_chats_that_show_no_choice():
    made = trials.as_trials([Question("ko", "capital", "수도?", ["가", "나", "다", "라"], 2)])
    assert made[0].expected == ["다"] and made[0].messages == [{"role": "user", "content": "수도?"}]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"lang": "fr"}, "lang"),
        ({"expected": 3}, "expected"),
        ({"expected": {"name": "x"}}, "expected: a call"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": ""}]}, "robot"),
        ({"messages": [{"role": "assistant", "content": "안녕"}]}, "end before"),
        ({"memroy": "x"}, "memroy"),
    ],
)
def test_a_broken_trial_is_named_with_file_line_and_reason(tmp_path, change, why):
    file = tmp_path / "trials.jsonl"
    good = trial().model_dump()
    file.write_text("\n".join(json.dumps(row) for row in (good, good | change)), encoding="utf-8")
    with pytest.raises(MaterialError, match=r"trials\.jsonl:2: .*" + why):
        trials.read_trials(file)


def test_trials_survive_the_file(tmp_path):
    file = tmp_path / "trials.jsonl"
    file.write_text(json.dumps(CALLING.model_dump(), ensure_ascii=False), encoding="utf-8")
    assert trials.read_trials(file) == [CALLING]
