"""Preference pairs are read in each of the forms people keep them in, and what is none is named."""

import gzip
import json

import pytest

from corpus.preferences import Pair, read

ASKED = [{"role": "user", "content": "우산은 어디에?"}]
TWICE = [*ASKED, {"role": "assistant", "content": "Which one?"}, {"role": "user", "content": "The red one."}]
YES, NO = "By the door.", "I will not say."


def transcript(reply, said="Which one?"):
    return f"\n\nHuman: 우산은 어디에?\n\nAssistant: {said}\n\nHuman: The red one.\n\nAssistant: {reply}"


def talk(prompt, reply):
    return [*prompt, {"role": "assistant", "content": reply}]


FORMS = {
    "ours": ({"prompt": ASKED, "chosen": YES, "rejected": NO}, ASKED),
    "text": ({"prompt": "우산은 어디에?", "chosen": YES, "rejected": NO}, ASKED),
    "messages": ({"prompt": "?", "chosen": talk(TWICE, YES), "rejected": talk(TWICE, NO)}, TWICE),
    "transcripts": ({"chosen": transcript(YES), "rejected": transcript(NO)}, TWICE),
}
NONE = {
    "no 'chosen' and 'rejected'": {"text": "?"},
    "the two differ before their last turn": {"chosen": transcript(YES), "rejected": transcript(NO, "What?")},
    "chosen and rejected are the same": {"chosen": transcript(YES), "rejected": transcript(YES)},
    "the last turn is no reply of the assistant": {"chosen": transcript(" "), "rejected": transcript(NO)},
    "a transcript begins with 'Human:' or 'Assistant:'": {"chosen": "By the door.", "rejected": "?"},
    "not a prompt and a reply": {"prompt": "?", "chosen": 3 * [None], "rejected": []},
}


def lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_a_prompt_and_two_replies(tmp_path, form):
    record, prompt = FORMS[form]
    file = lines(tmp_path / "p.jsonl", [record])
    assert read(file, limit=0.0) == ([Pair(f"{file}:1", prompt, YES, NO, [])], {})


def test_what_is_no_pair_is_counted_by_reason_and_named(tmp_path, capsys):
    file = lines(tmp_path / "p.jsonl", [*NONE.values(), FORMS["ours"][0]])
    pairs, dropped = read(file, limit=0.9)
    assert [pair.place for pair in pairs] == [f"{file}:{len(NONE) + 1}"]
    assert dropped == dict.fromkeys(NONE, 1)
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{file}:{number}: dropped: {reason}" for number, reason in enumerate(NONE, 1)]


def test_a_folder_is_read_file_by_file_packed_ones_and_broken_lines_too_but_not_its_pages(tmp_path):
    (tmp_path / "README.md").write_text("How to.")
    row = json.dumps(FORMS["ours"][0])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(row.encode()))
    (tmp_path / "b.jsonl").write_text(f"{{\n{row}\n")
    pairs, dropped = read(tmp_path, limit=0.5)
    assert [pair.place for pair in pairs] == [f"{tmp_path / 'a.jsonl.gz'}:1", f"{tmp_path / 'b.jsonl'}:2"]
    assert dropped == {"broken json": 1}


def test_a_file_that_is_mostly_something_else_is_an_error_that_says_why(tmp_path):
    file = lines(tmp_path / "p.jsonl", [{"text": "?"}, FORMS["ours"][0]])
    with pytest.raises(ValueError, match=r"p\.jsonl: too many .* \(1 × no 'chosen' and 'rejected'\)"):
        read(file, limit=0.4)
