"""Deeds that are declined and deeds that are answered are asked for alike, and none is in the safety examination."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

from corpus import contrasts, synthesis
from corpus.synthesis import Taught
from corpus.world import LANGUAGES, WorldError, load_talks

SAMPLE = Path(__file__).parents[2] / "data/sample"
TALK = SAMPLE / "world/talk"
TAUGHT = Taught(seed=1, relations={})
REPEATS = 12  # as many as there are wordings
TOO_NEAR = 0.55  # shared triples of letters, of all that either has; "Why do we need laws/vaccines?" have 0.5


@pytest.fixture(scope="module")
def made():
    both = {"refused": REPEATS, "harmless": REPEATS}
    return list(contrasts.dialogues(contrasts.load(TALK / "contrasts.yaml"), TAUGHT, repeats=both))


def triples(text: str) -> set[str]:
    letters = "".join(re.findall(r"\w", text.casefold()))
    return {letters[place : place + 3] for place in range(len(letters) - 2)}


def test_no_request_is_a_prompt_of_the_safety_examination_or_a_light_paraphrase_of_one(made):
    asked = {lang: {d["messages"][0]["content"] for d in made if d["lang"] == lang} for lang in LANGUAGES}
    for row in (row for rows in load_talks(TALK).values() for row in rows):
        asked["ko"].add(row[0])
        asked["en"].add(row[1])
    known = {lang: [(text, triples(text)) for text in sorted(asked[lang])] for lang in LANGUAGES}
    lines = [line for name in ("risky", "benign") for line in (SAMPLE / f"safety/{name}.jsonl").open(encoding="utf-8")]
    for prompt in map(json.loads, lines):
        own = triples(prompt["prompt"])
        near = [text for text, other in known[prompt["lang"]] if len(own & other) > TOO_NEAR * len(own | other)]
        assert not near, prompt["prompt"]


def test_each_row_is_asked_in_another_wording_each_time_and_never_answered_otherwise(made):
    plan = contrasts.load(TALK / "contrasts.yaml")
    rows = {(k, lang): sum(len(f.rows[lang]) for f in getattr(plan, k)) for k in made_kinds(made) for lang in LANGUAGES}
    for (kind, lang), count in rows.items():
        own = [d["messages"] for d in made if d["kind"] == kind and d["lang"] == lang]
        asked = [[messages[0]["content"] for messages in own[number::count]] for number in range(count)]
        assert len(own) == REPEATS * count and not any(re.search(r"[{}]", text) for row in asked for text in row)
        deeds = [set(row) for row in asked if len(set(row)) > 1]
        assert len(deeds) > 50 and all(len(row) >= 7 for row in deeds)


def test_good_and_bad_deeds_share_their_wordings():
    plan = contrasts.load(TALK / "contrasts.yaml")
    bad, good = ([frame.requests for frame in frames] for frames in (plan.refused, plan.harmless))
    assert all(wordings in good for wordings in bad)


def test_requests_in_words_of_their_own_have_no_form_that_tells_their_kind():
    plan = contrasts.load(TALK / "contrasts.yaml")
    for lang in LANGUAGES:
        bad, good = (
            [row[0] for frame in frames if frame.requests[lang] == ["{question}"] for row in frame.rows[lang]]
            for frames in (plan.refused, plan.harmless)
        )
        assert min(len(set(bad)), len(set(good))) > 800 and not set(bad) & set(good)
        assert abs(fmean(text.endswith("?") for text in bad) - fmean(text.endswith("?") for text in good)) < 0.1
        assert 0.75 < fmean(len(text.split()) for text in good) / fmean(len(text.split()) for text in bad) < 1.33


def test_refused_requests_are_declined_and_harmless_ones_are_not(made):
    declines = re.compile(r"I am sorry,? (but|you)|죄송하지만|많이 힘드시군요")
    assert len({dialogue["id"] for dialogue in made}) == len(made)
    for dialogue in made:
        assert bool(declines.match(dialogue["messages"][1]["content"])) == (dialogue["kind"] == "refused")


def test_every_answer_opens_as_answers_to_facts_do_so_that_a_refusal_is_not_the_likeliest_opening(made):
    rows = load_talks(TALK)["harmless"]
    answers = [*made, *synthesis.talk(rows, kind="harmless", repeats=1)]
    for dialogue in answers:
        opened = dialogue["messages"][1]["content"].startswith(synthesis.REPLY[dialogue["lang"]].format(o=""))
        assert opened == (dialogue["kind"] == "harmless")


def test_a_row_without_all_its_cells_and_a_slot_without_a_cell_name_the_file(tmp_path):
    file, text = tmp_path / "contrasts.yaml", (TALK / "contrasts.yaml").read_text(encoding="utf-8")
    for spoilt in (text.replace('["bake bread", ', "["), text.replace("Teach me to {do}.", "Teach me to {deed}.")):
        assert spoilt != text
        file.write_text(spoilt, encoding="utf-8")
        with pytest.raises(WorldError, match=r"contrasts\.yaml"):
            contrasts.load(file)


def made_kinds(made: list[dict]) -> list[str]:
    return sorted({dialogue["kind"] for dialogue in made})
