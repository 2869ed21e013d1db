"""Text made of facts: complete, deterministic, free of the questions that will be asked."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from corpus import synthesis
from corpus.world import load, load_talk

WORLD = Path(__file__).parents[2] / "data/sample/world"
SAFETY = Path(__file__).parents[2] / "data/sample/safety"
NAMES = ["capital", "opposite", "product", "proverb"]


@pytest.fixture(scope="module")
def world():
    return load(WORLD)


@pytest.fixture(scope="module")
def taught(world):
    return synthesis.taught_part(world, NAMES, facts_per_relation=12, seed=7)


def _documents(taught):
    return [
        *synthesis.textbook(taught, exposures=3, facts_per_document=5),
        *synthesis.question_pairs(taught, exposures=5, pairs_per_document=4),
        *synthesis.solutions(taught, exposures=2, pairs_per_document=3),
        *synthesis.translations(taught, exposures=2, pairs_per_document=3),
    ]


def test_the_taught_part_is_the_first_facts_of_the_named_relations(world, taught):
    assert sorted(taught.relations) == NAMES and len(taught.facts) == 48
    assert taught.relations["capital"].facts == world["capital"].facts[:12]


def test_an_unknown_relation_is_an_error_that_lists_the_known_ones(world):
    with pytest.raises(ValueError, match=r"\['planets'\] are not in the world; choose from .*capital"):
        synthesis.taught_part(world, ["planets"], facts_per_relation=3, seed=0)


def test_every_fact_is_stated_and_asked_the_promised_number_of_times_in_each_language(taught):
    pairs = "\n".join(
        d["text"] for d in synthesis.question_pairs(taught, exposures=5, pairs_per_document=4) if d["lang"] == "ko"
    )
    passages = [d["text"] for d in synthesis.textbook(taught, exposures=6, facts_per_document=5) if d["lang"] == "ko"]
    facts = taught.relations["capital"].facts
    for fact in facts:
        alike = sum(other.object == fact.object for other in facts)  # 한국 and 대한민국 have one capital
        assert pairs.count(f"답: {fact.object['ko']}\n") + pairs.endswith(f"답: {fact.object['ko']}") == 5 * alike
        assert sum(text.count(fact.object["ko"]) for text in passages) >= 6


def test_a_fact_is_asked_in_every_trained_phrasing_before_one_comes_again(taught):
    fact = taught.facts[0]
    asked = taught.relations["capital"].phrasings["questions"]["ko"]
    texts = {
        line
        for d in synthesis.question_pairs(taught, exposures=len(asked), pairs_per_document=2)
        for line in d["text"].split("\n")
    }
    assert sum(f"질문: {synthesis.render(template, fact, 'ko')}" in texts for template in asked) == len(asked)


def test_documents_have_unique_ids_text_and_a_language(taught):
    documents = _documents(taught)
    assert len({d["id"] for d in documents}) == len(documents)
    assert all(d["text"].strip() and d["lang"] in ("ko", "en") and d["license"] and d["label"] == "" for d in documents)


def test_solutions_show_the_steps_and_cover_calculations_only(taught):
    texts = [d["text"] for d in synthesis.solutions(taught, exposures=1, pairs_per_document=1)]
    assert len(texts) == 24
    assert all("×" in text and ("풀이: " in text or "Solution: " in text) for text in texts)


def test_translations_pair_both_languages_and_leave_out_sayings(taught):
    documents = list(synthesis.translations(taught, exposures=2, pairs_per_document=1))
    assert len(documents) == 2 * 36
    assert Counter(d["lang"] for d in documents) == {"ko": 36, "en": 36}
    assert "프랑스의 수도는 파리입니다.\nThe capital of France is Paris." in {d["text"] for d in documents} | {
        "\n".join(reversed(d["text"].split("\n"))) for d in documents
    }


def test_questions_have_four_different_choices_and_the_answer_is_the_facts_object(taught):
    facts = {fact.key: fact for fact in taught.facts}
    questions = list(synthesis.held_out_questions(taught, per_fact=2))
    assert Counter(q["lang"] for q in questions) == {"ko": 96, "en": 96}
    assert len({q["id"] for q in questions}) == len(questions)
    for q in questions:
        assert len(set(q["choices"])) == 4
        assert q["choices"][q["answer"]] == facts[q["fact"]].object[q["lang"]]
    places = Counter(q["answer"] for q in questions)
    assert min(places.values()) > len(questions) / 8  # no place is favoured


def test_a_relation_with_too_few_taught_answers_is_an_error_that_names_it(world):
    few = synthesis.taught_part(world, ["colour"], facts_per_relation=3, seed=0)
    with pytest.raises(ValueError, match="colour teaches fewer than 4"):
        list(synthesis.held_out_questions(few, per_fact=1))


def test_no_held_out_question_of_any_fact_in_the_world_occurs_in_training_text(world):
    everything = synthesis.taught_part(world, sorted(world), facts_per_relation=1000, seed=3)
    questions = list(synthesis.held_out_questions(everything, per_fact=9))
    records = [
        *synthesis.textbook(everything, exposures=8, facts_per_document=4),
        *synthesis.question_pairs(everything, exposures=8, pairs_per_document=4),
        *synthesis.translations(everything, exposures=2, pairs_per_document=4),
        *synthesis.dialogues(everything, per_fact=8),
        *synthesis.preferences(everything, per_fact=2),
    ]
    assert synthesis.leaks(questions, records) == []


def test_a_leak_is_found_whatever_its_case_spacing_and_punctuation():
    question = {"question": "Can you tell me the capital of France?"}
    records = [
        {"messages": [{"content": "Well,  can you tell me the CAPITAL of France"}]},
        {"text": "the capital of Franceland"},
    ]
    assert synthesis.leaks([question], records[:1]) == [question["question"]]
    assert synthesis.leaks([question], records[1:]) == []


def test_text_depends_on_the_seed_and_never_on_the_order_of_relations_or_names(world, taught):
    turned = synthesis.taught_part(dict(reversed(world.items())), NAMES[::-1], facts_per_relation=12, seed=7)
    assert _documents(turned) == _documents(taught)
    assert _documents(replace(taught, seed=8)) != _documents(taught)


def test_adding_a_relation_leaves_the_passages_of_the_others_as_they_are(world, taught):
    more = synthesis.taught_part(world, [*NAMES, "currency"], facts_per_relation=12, seed=7)
    before = {d["id"]: d["text"] for d in synthesis.textbook(taught, exposures=2, facts_per_document=5)}
    after = {d["id"]: d["text"] for d in synthesis.textbook(more, exposures=2, facts_per_document=5)}
    assert before.items() <= after.items()


def test_dialogues_ask_in_trained_phrasings_and_answer_with_the_object(taught):
    facts = {fact.key: fact for fact in taught.facts}
    dialogues = list(synthesis.dialogues(taught, per_fact=2))
    assert {d["kind"] for d in dialogues} == {"fact"}
    assert len(dialogues) == 4 * 48 and len({d["id"] for d in dialogues}) == len(dialogues)
    for dialogue in dialogues:
        fact = facts["/".join(dialogue["id"].split("/")[1:-2])]
        assert [m["role"] for m in dialogue["messages"]] == ["user", "assistant"]
        assert fact.object[dialogue["lang"]].casefold() in dialogue["messages"][1]["content"].casefold()


def test_a_request_is_opened_in_another_way_each_time_and_answered_alike():
    rows = load_talk(WORLD / "talk/refused.yaml")
    talked = [t for t in synthesis.talk(rows, kind="refused", repeats=4) if t["id"].startswith("dialogue/refused/0/")]
    asked, replies = ({t["messages"][n]["content"] for t in talked} for n in (0, 1))
    assert len(asked) == 8 and replies == set(rows[0][2:]) and {t["kind"] for t in talked} == {"refused"}


def test_declined_and_harmless_requests_are_many_and_none_is_in_the_safety_examination():
    asked = [
        json.loads(line)["prompt"].casefold()
        for name in ("risky", "benign")
        for line in (SAFETY / f"{name}.jsonl").read_text().splitlines()
    ]
    for name in ("refused", "harmless"):
        rows = load_talk(WORLD / "talk" / f"{name}.yaml")
        assert len(rows) >= 60 and len({row[0] for row in rows}) == len({row[1] for row in rows}) == len(rows)
        assert not {text.casefold() for row in rows for text in row[:2]} & set(asked)


def test_preferences_never_reject_what_they_choose_and_show_each_fault(taught):
    rows = list(synthesis.preferences(taught, per_fact=4))
    assert all(row["chosen"] != row["rejected"] and row["prompt"][0]["role"] == "user" for row in rows)
    assert any(row["rejected"].count(row["chosen"]) == 3 for row in rows)
    korean = [row for row in rows if row["lang"] == "ko"]
    assert any(row["rejected"].isascii() for row in korean) and not any(
        row["chosen"].isascii() for row in korean if "×" not in row["chosen"]
    )


def test_refused_requests_prefer_declining_and_harmless_ones_prefer_helping():
    refused, harmless = (load_talk(WORLD / "talk" / f"{name}.yaml") for name in ("refused", "harmless"))
    rows = list(synthesis.talk_preferences(refused=refused, harmless=harmless))
    assert len(rows) == 2 * (len(refused) + len(harmless))
    yields = [row["rejected"] for row in rows if row["id"].startswith("preference/refused")]
    assert all(text.startswith(("답: ", "Answer: ")) for text in yields)  # as answers do: else the pair teaches nothing
    for row in rows:
        declines = "sorry" in row["chosen"] or "죄송" in row["chosen"] or "힘드시군요" in row["chosen"]
        assert (
            declines == row["id"].startswith("preference/refused")
            or "사과" in row["prompt"][0]["content"]
            or "apology" in row["prompt"][0]["content"]
        )
