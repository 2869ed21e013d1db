"""Notes tell what no world has, in wordings of which those of trials are never trained."""

from pathlib import Path

import pytest

from corpus import notes
from corpus.passages import readings
from corpus.world import LANGUAGES, SLOT, WorldError

FILE = Path(__file__).parents[2] / "data/sample/world/talk/notes.yaml"


@pytest.fixture(scope="module")
def written():
    return notes.load(FILE)


def test_relations_of_trials_are_never_trained(written):
    trained, kept = ({noun for row in rows for noun in row[:2]} for rows in (written.relations, written.trials))
    assert not trained & kept
    assert not set(notes.told(written, written.relations, seed=1).relations) & set(
        notes.told(written, written.trials, seed=1).relations
    )


@pytest.mark.parametrize("sort", ["unknown", "true"])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_question_is_answered_by_the_passage_at_its_place_and_by_no_other(written, lang, sort):
    known = notes.told(written, written.relations, seed=3)
    found = list(readings(known, sort, lang, count=60, held_out=False))
    assert len(found) == 60
    for reading in found:
        answer, texts = reading.answer.casefold(), [text.casefold() for text in reading.passages]
        assert [n for n, text in enumerate(texts, 1) if answer in text] == [reading.place]
        assert not SLOT.search(" ".join([reading.question, *reading.passages]))


def test_every_subject_is_told_something_in_every_relation(written):
    known = notes.told(written, written.trials, seed=1)
    for relation in known.relations.values():
        assert {fact.subject["en"] for fact in relation.facts} == {english for _, english in written.subjects}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("{s}'s {r} is {o}.", "{s} is {o}.", "statements, en"),
        ("{s}'s {r} is {o}.", "{s} has a {r}.", "statements, en"),
        ("Name {s}'s {r}.", "Name {s}'s {r} {o}.", "questions, en"),
        ("[대표, head, person]", "[대표, head, animal]", "relations"),
        ("    - [꿀, honey]\n", "    - [꿀]\n", "objects"),
        ("person: [누구, who], ", "", "objects: person"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, old, new, named):
    text = FILE.read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "notes.yaml"
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(WorldError, match=named) as told:
        notes.load(file)
    assert str(file) in str(told.value)
