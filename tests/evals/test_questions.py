"""What four-choice questions must obey."""

import json

import numpy as np
import pytest

from evals import questions as q
from evals.material import MaterialError
from evals.metrics import continuation, rate


def test_a_planted_oracle_gets_every_question_right(fakes, questions):
    right = [f"{q.plain_prompt(x)} {x.choices[x.answer]}".encode() for x in questions]
    assert q.ask(fakes.Subject(fakes.oracle_of(right), context=99), questions) == [True] * 80


def test_leaving_out_choices_that_cannot_win_changes_no_answer_and_saves_passes(fakes):
    choices = [[1, 2, 3], [4], [5, 6], [7, 8]]
    spared = 0
    for seed in range(50):
        after = np.random.default_rng(seed).normal(size=(fakes.V, fakes.V)).astype(np.float32)  # depends on one token
        subject = fakes.Subject(lambda ids, after=after: after[list(ids)])
        scores = q.score(subject, [fakes.BOS, 9], choices)
        spared += 4 - len(subject.calls)
        whole = [continuation(subject.logits([fakes.BOS, 9, *choice])[1:-1], choice) for choice in choices]
        assert scores.index(max(scores)) == whole.index(max(whole)) and max(scores) == pytest.approx(max(whole))
        assert all(bound >= true - 1e-6 for bound, true in zip(scores, whole, strict=True))
    assert spared > 0


@pytest.mark.parametrize(
    ("reply", "text", "said"),
    [("", "Seoul", False), ("It is SEOUL.", "Seoul", True), ("Busan", "Seoul", False), ("서울입니다.", "서울", True),
     ("Calcium", "C", False), ("C는 탄소", "C", True), ("because", "Au", False), ("12입니다", "12", True),
     ("3,120", "12", False), ("12.5", "12", False), ("It is 12.", "12", True), ("-12", "12", False),
     ("well-known", "known", True), ("(a) 1,200원", "1,200", True)],
)  # fmt: skip
def test_a_text_is_said_in_upper_or_lower_case_but_not_inside_another_word_or_number(reply, text, said):
    assert q.says(reply, text) is said


def test_shots_stand_before_the_question_and_never_give_it_away(fakes, questions):
    documents = [
        {"lang": "en", "text": "Question: capital 0?\nAnswer: aa\n\nQuestion: b?\nAnswer: bb"},
        {"lang": "ko", "text": "질문: 가?\n답: 나"},
        {"lang": "en", "text": "\n\n".join(f"Question: {i}?\nAnswer: {i}" for i in range(6))},
        {"lang": "en", "text": "prose"},
    ]
    prompts = []

    def reply(prompt, _):
        prompts.append(prompt)
        return (" AA\nQuestion: more?\nAnswer: bb" if "capital 0?" in prompt.rsplit("\n\n")[-1] else "bb, no"), "length"

    asked = [x for x in questions if x.lang == "en"][:2]
    marks = q.few_shot(fakes.Subject(fakes.uniform, reply=reply), asked, documents, shots=2, max_tokens=9)
    assert marks == [True, True]
    assert prompts[0] == "Question: b?\nAnswer: bb\n\nQuestion: 0?\nAnswer: 0\n\nQuestion: capital 0?\nAnswer:"
    assert prompts[1].startswith("Question: capital 0?\nAnswer: aa\n\nQuestion: 0?")
    with pytest.raises(MaterialError, match="answered questions in 'en'"):
        q.few_shot(fakes.Subject(fakes.uniform), asked, documents, shots=3, max_tokens=9)


def test_a_model_of_noise_stays_near_chance_and_its_interval_covers_it(fakes, questions):
    many = [x._replace(question=f"{x.question} {turn}") for turn in range(10) for x in questions]
    result = rate(q.ask(fakes.Subject(fakes.noise(3), context=99), many))
    assert result["n"] == 800
    assert abs(result["value"] - q.CHANCE) < 0.05
    assert result["low"] <= q.CHANCE <= result["high"]


def test_the_prompt_is_the_form_of_the_training_documents(questions):
    assert q.plain_prompt(questions[0]) == "질문: 수도 0?\n답:"
    assert q.plain_prompt(questions[-1]) == "Question: capital 39?\nAnswer:"


def test_a_sample_depends_on_the_seed_only_and_its_beginning_is_a_draw_over_the_whole_file(questions):
    first = q.sample(questions, lang="ko", n=7, seed=1)
    assert first == q.sample(questions, lang="ko", n=7, seed=1)
    assert first != q.sample(questions, lang="ko", n=7, seed=2)
    assert len(set(map(questions.index, first))) == 7 and max(map(questions.index, first)) > 20
    assert len(q.sample(questions, lang="en", n=10_000, seed=1)) == 40


def test_questions_survive_the_file(tmp_path, questions):
    file = tmp_path / "questions.jsonl"
    rows = [{**x._asdict(), "id": "q", "fact": "f"} for x in questions]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert q.read_questions(file) == questions


@pytest.mark.parametrize(
    "line",
    ["{broken", "[]", '{"id": "x"}', '{"id":"x","lang":"ko","relation":"r","question":"?","choices":["a"],"answer":0}'],
)
def test_a_broken_line_is_named_with_file_and_number(tmp_path, line):
    file = tmp_path / "questions.jsonl"
    file.write_text(f"\n{line}\n", encoding="utf-8")
    with pytest.raises(MaterialError, match=r"questions\.jsonl:2"):
        q.read_questions(file)


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "questions.jsonl").write_text("")
    with pytest.raises(MaterialError, match="is empty"):
        q.read_questions(tmp_path / "questions.jsonl")


def test_a_language_without_questions_is_an_error(questions):
    with pytest.raises(MaterialError, match="'fr'"):
        q.sample(questions, lang="fr", n=3, seed=0)
