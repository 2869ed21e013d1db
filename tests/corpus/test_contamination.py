"""Planted evaluation questions are found however a page rewrote them, and clean documents are left alone."""

import json
import random
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from corpus import synthesis, world
from corpus.contamination import Contamination
from corpus.evaluations import Item
from corpus.korean import PARTICLES, final_sound

SAMPLE = Path("data/sample")
SETTINGS = {"letters": 16, "share": 0.7}
PARTICLE = re.compile(r"(?<=[가-힣0-9])(에서는|에서|에는|에|으로|로|은|는|이|가|을|를|의)(?=[ ?])")
INSTEAD = {
    "은": ("이", "", "이란"), "는": ("가", "", "란"), "이": ("은", ""), "가": ("는", ""), "을": ("은", ""),
    "를": ("는", ""), "의": ("",), "에서는": ("에서",), "에서": ("에서는", "에"), "에는": ("에",), "에": ("에는", ""),
    "으로": ("으로는",), "로": ("로는",),
}  # fmt: skip
NOUNS = {"답", "도", "때", "나라", "사람", "색깔", "이름", "고장", "뒷말"}  # with the subjects, all that 은/는 follows
AFTER_CONSONANT = {form: n == 0 for name in ("은", "이", "을") for n, form in enumerate(PARTICLES[name])}


@pytest.fixture(scope="module")
def taught():
    relations = world.load(SAMPLE / "world")
    return synthesis.taught_part(relations, list(relations), facts_per_relation=10**6, seed=20)


@pytest.fixture(scope="module")
def questions(taught):
    """1,000 questions per language, in an order that a seed fixes."""
    rows = list(synthesis.held_out_questions(taught, per_fact=2))
    random.Random(20).shuffle(rows)
    return {lang: [row for row in rows if row["lang"] == lang][:1000] for lang in world.LANGUAGES}


@pytest.fixture(scope="module")
def nouns(taught):
    return NOUNS | {fact.subject["ko"].split()[-1] for fact in taught.facts}


@pytest.fixture(scope="module")
def pages():
    files = sorted((SAMPLE / "text").glob("*.jsonl"))
    return [json.loads(line)["text"] for file in files for line in file.read_text().splitlines() if line]


@pytest.fixture(scope="module")
def detector(questions):
    return Contamination([asked(row) for rows in questions.values() for row in rows], **SETTINGS)


def asked(row):
    return Item("world", row["id"], (row["question"],))


def names(detector, text):
    return [hit.item for hit in detector.hits([text])[0]]


def verbatim(row, page, rng, nouns):
    return planted(row["question"], page)


def spacing(row, page, rng, nouns):
    if row["lang"] == "en":
        return planted(re.sub(" ", lambda _: rng.choice(["  ", "\n", "\u00a0", "\t"]), row["question"]), page)
    bare = row["question"].replace(" ", "")
    return planted(rng.choice([bare, "".join(letter + rng.choice(["", "", " "]) for letter in bare)]), page)


def particles(row, page, rng, nouns):
    return planted(other_particles(row["question"], rng, nouns), page)


def normal_form(row, page, rng, nouns):
    return unicodedata.normalize(rng.choice(["NFD", "NFKD"]), planted(row["question"], page))


def option_order(row, page, rng, nouns):
    choices = rng.sample(row["choices"], 4)
    return planted("\n".join([row["question"], *(f"{n}. {choice}" for n, choice in enumerate(choices, 1))]), page)


def long_page(row, page, rng, nouns):
    return planted(row["question"], (page + "\n\n") * (20_000 // len(page) + 1))


def planted(text, page):
    """The page with the text as a paragraph of its own, after the sentence that its middle is in."""
    end = page.find(". ", len(page) // 2) + 1 or len(page)
    return f"{page[:end]}\n{text}\n{page[end:]}"


def other_particles(question, rng, nouns):
    """The question with at least one particle exchanged or dropped, and each of the others by an even chance."""
    marks = [match for match in PARTICLE.finditer(question) if follows_a_noun(question, match, nouns)]
    always = rng.randrange(len(marks)) if marks else None
    for place, match in reversed(list(enumerate(marks))):
        if place == always or rng.random() < 0.5:
            question = question[: match.start()] + rng.choice(INSTEAD[match[0]]) + question[match.end() :]
    return question


def follows_a_noun(question, match, nouns):
    stem = re.split(r"[ '『』]", question[: match.start()])[-1]
    final = bool(final_sound(stem))
    if (match[0] in ("은", "는") and stem not in nouns) or stem + match[0] in ("누가", "주로"):
        return False
    return AFTER_CONSONANT.get(match[0], final) == final


def recall(edit, rows, pages, detector, nouns):
    rng, clean, found = random.Random(20), [page for page in pages if not names(detector, page)], []
    for number, row in enumerate(rows):
        text = edit(row, clean[number % len(clean)], rng, nouns)
        if edit is not particles or row["question"] not in text:
            found.append(row["id"] in names(detector, text))
    assert len(found) > 0.9 * len(rows)
    return sum(found) / len(found)


@pytest.mark.parametrize("lang", world.LANGUAGES)
@pytest.mark.parametrize("edit", [verbatim, spacing, normal_form, option_order, long_page])
def test_a_planted_question_is_found(edit, lang, questions, pages, detector, nouns):
    assert recall(edit, questions[lang][:500], pages, detector, nouns) >= 0.99


def test_a_planted_question_is_found_though_its_particles_changed(questions, pages, detector, nouns):
    assert recall(particles, questions["ko"], pages, detector, nouns) >= 0.9


def test_a_question_kept_in_decomposed_jamo_is_found_in_composed_text(questions, pages, nouns):
    rows = questions["ko"][:500]
    decomposed = [asked(row | {"question": unicodedata.normalize("NFD", row["question"])}) for row in rows]
    assert recall(verbatim, rows, pages, Contamination(decomposed, **SETTINGS), nouns) >= 0.99


def test_documents_about_other_facts_in_the_same_words_are_left_alone(taught, pages):
    relations = {name: replace(relation, facts=relation.facts[::2]) for name, relation in taught.relations.items()}
    others = replace(taught, relations=relations)
    unasked = {fact.key for fact in others.facts}
    rows = [row for row in synthesis.held_out_questions(taught, per_fact=2) if row["fact"] not in unasked]
    detector = Contamination([asked(row) for row in rows], **SETTINGS)
    made = synthesis.textbook(others, exposures=13, facts_per_document=2)
    texts = [*pages, *(document["text"] for document in made)]
    assert len(texts) > 10_000
    assert sum(map(bool, detector.hits(texts))) <= len(texts) / 10_000
