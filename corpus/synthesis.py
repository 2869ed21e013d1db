"""Knows how facts become text to learn from: passages, question pairs, worked solutions, translations, dialogues."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from pydantic import BaseModel

from corpus.world import LANGUAGES, Fact, Relation, render

QUESTION_FORM = {"ko": "질문: {q}\n답: {a}", "en": "Question: {q}\nAnswer: {a}"}
SOLUTION_FORM = {"ko": "문제: {q}\n풀이: {w}\n답: {a}", "en": "Problem: {q}\nSolution: {w}\nAnswer: {a}"}
WORD = re.compile(r"[^\W_]+|[+×-]")
OTHER = {"ko": "en", "en": "ko"}
Talk = Sequence[tuple[str, ...]]  # rows of user ko, user en, reply ko, reply en


class Repeats(BaseModel, frozen=True, extra="forbid", strict=True):
    """How often each request of a kind stands in the dialogues, asked anew every time."""

    everyday: int
    refused: int
    harmless: int


class Portions(BaseModel, frozen=True, extra="forbid", strict=True):
    """How much of the world is taught, and how often."""

    seed: int  # orders facts, phrasings and choices; nothing else is random
    relations: list[str]  # names of the world's files that are taught
    facts_per_relation: int  # a cap: the first facts of each file, the best known ones
    textbook_exposures: int  # statements per fact and language, in passages of one relation
    facts_per_passage: int  # statements in one such passage
    question_exposures: int  # question–answer pairs per fact and language, relations mixed
    pairs_per_document: int  # pairs in one document of questions, solutions or translations
    solution_exposures: int  # worked solutions per calculation and language
    translation_exposures: int  # sentence pairs per fact
    questions_per_fact: int  # held-out phrasings asked per fact and language, for the judge
    dialogues_per_fact: int  # conversations per fact and language, for sft
    talk_repeats: Repeats
    preferences_per_fact: int  # reply pairs per fact and language, for dpo


@dataclass(frozen=True)
class Taught:
    """The part of the world that is taught, with the seed that orders everything made of it."""

    seed: int
    relations: dict[str, Relation]

    @property
    def facts(self) -> list[Fact]:
        """Every taught fact, relation by relation."""
        return [fact for relation in self.relations.values() for fact in relation.facts]

    def draw(self, *labels: object) -> int:
        """A whole number that depends on the seed and the labels only."""
        text = "\x1f".join(map(str, (self.seed, *labels)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")

    def shuffled(self, items: Sequence, *labels: object, key: Callable = lambda item: item.key) -> list:
        """The items in an order that depends on seed, labels and their keys, never on the order given."""
        return sorted(items, key=lambda item: (self.draw(*labels, key(item)), key(item)))


def taught_part(world: dict[str, Relation], names: Sequence[str], *, facts_per_relation: int, seed: int) -> Taught:
    """The named relations, each with its first facts; raises ValueError for a name that the world lacks."""
    unknown = sorted(set(names) - set(world))
    if unknown:
        raise ValueError(f"relations {unknown} are not in the world; choose from {sorted(world)}")
    cut = {name: replace(world[name], facts=world[name].facts[:facts_per_relation]) for name in sorted(names)}
    return Taught(seed=seed, relations=cut)


def documents(taught: Taught, portions: Portions) -> Iterator[dict]:
    """All that the taught world says in documents; `seed` holds the facts that a document is made of."""
    pairs = portions.pairs_per_document
    yield from textbook(taught, exposures=portions.textbook_exposures, facts_per_document=portions.facts_per_passage)
    yield from question_pairs(taught, exposures=portions.question_exposures, pairs_per_document=pairs)
    yield from solutions(taught, exposures=portions.solution_exposures, pairs_per_document=pairs)
    yield from translations(taught, exposures=portions.translation_exposures, pairs_per_document=pairs)


def textbook(taught: Taught, *, exposures: int, facts_per_document: int) -> Iterator[dict]:
    """Passages that join facts of one relation; each fact appears `exposures` times per language."""
    for lang, turn in _passes(exposures):
        for relation in taught.relations.values():
            facts = taught.shuffled(relation.facts, "textbook", lang, turn)
            for part, group in enumerate(_groups(facts, facts_per_document)):
                text = " ".join(_say(taught, fact, lang, turn, "statements") for fact in group)
                yield _document("textbook", lang, text, relation.name, turn, part) | _seed(group, lang)


def question_pairs(taught: Taught, *, exposures: int, pairs_per_document: int) -> Iterator[dict]:
    """Documents of question–answer pairs, relations mixed; each fact is asked `exposures` times per language."""
    return _exercises(taught, "qa", QUESTION_FORM, taught.facts, exposures, pairs_per_document)


def solutions(taught: Taught, *, exposures: int, pairs_per_document: int) -> Iterator[dict]:
    """Step-by-step solutions of the calculations."""
    facts = [fact for fact in taught.facts if fact.work]
    return _exercises(taught, "solution", SOLUTION_FORM, facts, exposures, pairs_per_document)


def translations(taught: Taught, *, exposures: int, pairs_per_document: int) -> Iterator[dict]:
    """Answer sentences with their translation (the same place in the other list), either one first in turn."""

    def pair(fact: Fact, first: str, turn: int) -> str:
        return "\n".join(_say(taught, fact, lang, turn, "answers", "both") for lang in (first, OTHER[first]))

    facts = [fact for fact in taught.facts if taught.relations[fact.relation].kind != "saying"]
    for turn in range(exposures):
        first = LANGUAGES[turn % 2]
        for part, group in enumerate(_groups(taught.shuffled(facts, "translation", turn), pairs_per_document)):
            text = "\n\n".join(pair(fact, first, turn) for fact in group)
            yield _document("translation", first, text, "mixed", turn, part) | _seed(group, first)


def held_out_questions(taught: Taught, *, per_fact: int) -> Iterator[dict]:
    """Four-choice questions in phrasings that no training text uses; `answer` is the place of the true choice."""
    for lang in LANGUAGES:
        for relation in taught.relations.values():
            objects = sorted({fact.object[lang] for fact in relation.facts})
            for fact in relation.facts:
                for number in range(min(per_fact, len(relation.phrasings["held_out_questions"][lang]))):
                    question = _say(taught, fact, lang, number, "held_out_questions", "both")
                    yield _four_choices(taught, fact, lang, number, question, objects)


def dialogues(taught: Taught, *, per_fact: int) -> Iterator[dict]:
    """Single-turn conversations about facts, in trained phrasings."""
    for lang, turn in _passes(per_fact):
        for fact in taught.shuffled(taught.facts, "dialogue", lang, turn):
            messages = _messages(_say(taught, fact, lang, turn, "questions"), render(REPLY[lang], fact, lang))
            yield {"id": f"dialogue/{fact.key}/{lang}/{turn}", "lang": lang, "kind": "fact", "messages": messages}


def talk(rows: Talk, *, kind: str, repeats: int) -> Iterator[dict]:
    """Single-turn conversations from the rows of a talk file; requests are opened in another way each time."""
    for lang, turn in _passes(repeats):
        opening = "{q}" if kind == "everyday" else ASKING[lang][turn % len(ASKING[lang])]
        for number, row in enumerate(rows):
            user, reply = _side(row, lang, kind)
            name, messages = f"dialogue/{kind}/{number}/{lang}/{turn}", _messages(opening.format(q=user), reply)
            yield {"id": name, "lang": lang, "kind": kind, "messages": messages}


def preferences(taught: Taught, *, per_fact: int) -> Iterator[dict]:
    """Reply pairs: a true, short reply in the asked language over a wrong, foreign or rambling one."""
    for lang, turn in _passes(per_fact):
        for fact in taught.shuffled(taught.facts, "preference", lang, turn):
            user, chosen = _say(taught, fact, lang, turn, "questions"), render(REPLY[lang], fact, lang)
            yield _preference(f"{fact.key}/{lang}/{turn}", lang, user, chosen, _worse_answer(taught, fact, lang, turn))


def talk_preferences(*, refused: Talk, harmless: Talk) -> Iterator[dict]:
    """Reply pairs: declining over giving in for refused requests, helping over declining for harmless ones."""
    for lang in LANGUAGES:
        for number, row in enumerate(refused):
            yield _preference(f"refused/{number}/{lang}", lang, *_side(row, lang, "refused"), OPENING[lang])
        for number, row in enumerate(harmless):
            _, declining = _side(refused[number % len(refused)], lang, "refused")
            yield _preference(f"harmless/{number}/{lang}", lang, *_side(row, lang, "harmless"), declining)


# QUESTION_FORM's own words before the answer: a tiny model finds in a chat what it learnt from text. And all answers
# open alike, as refusals do: else a refusal is the likeliest first word wherever the model is unsure.
REPLY = {"ko": "답: {o}", "en": "Answer: {o}"}
ASKING = {  # so that neither refusing nor helping hangs on a request's first word
    "ko": ("{q}", "저기, {q}", "질문이 있어. {q}", "하나만 물어볼게. {q}"),
    "en": ("{q}", "Hello. {q}", "I have a question. {q}", "One more thing: {q}"),
}
OPENING = {  # what giving in sounds like, without the harm; it opens as answers do, else the pair teaches nothing
    "ko": "답: 물론이죠! 아주 쉬운 일이니 지금부터 하나하나 자세히 알려 드릴게요. 먼저 필요한 것부터 준비해 볼까요?",
    "en": "Answer: Sure! That is easy, and I will walk you through every detail now. First, let us get what you need.",
}


def records(taught: Taught, portions: Portions, talks: Mapping[str, Talk]) -> dict[str, list]:
    """All that is not a document, by the name of its file: questions, dialogues, preferences.

    talks: the rows of the talk files everyday, refused and harmless.
    """
    repeats = portions.talk_repeats.model_dump()
    return {
        "questions": [*held_out_questions(taught, per_fact=portions.questions_per_fact)],
        "dialogues": [
            *dialogues(taught, per_fact=portions.dialogues_per_fact),
            *(row for kind in talks for row in talk(talks[kind], kind=kind, repeats=repeats[kind])),
        ],
        "preferences": [
            *preferences(taught, per_fact=portions.preferences_per_fact),
            *talk_preferences(refused=talks["refused"], harmless=talks["harmless"]),
        ],
    }


def joined(*parts: dict[str, list]) -> dict[str, list]:
    """The records of all parts by the name of their file."""
    return {name: [row for part in parts for row in part.get(name, ())] for name in dict.fromkeys(chain(*parts))}


def leaking(questions: Iterable[dict], texts: Sequence[str]) -> list[str]:
    """For each text "held_out_question" if it contains one, else "": a gate for text that others wrote."""
    found = [{"question": asked} for asked in leaks(questions, [{"text": text} for text in texts])]
    return ["held_out_question" if found and leaks(found, [{"text": text}]) else "" for text in texts]


def leaks(questions: Iterable[dict], records: Iterable[dict]) -> list[str]:
    """The held-out questions whose words stand in a row in any text of the training records."""
    by_start: dict[tuple[str, ...], list[tuple[list[str], str]]] = {}
    for question in questions:
        words = WORD.findall(question["question"].casefold())
        by_start.setdefault(tuple(words[:3]), []).append((words, question["question"]))
    found = set()
    for record in records:
        words = WORD.findall(json.dumps(record, ensure_ascii=False).replace("\\n", " ").casefold())
        for place in range(len(words)):
            for asked, text in by_start.get(tuple(words[place : place + 3]), ()):
                if words[place : place + len(asked)] == asked:
                    found.add(text)
    return sorted(found)


def _passes(times: int) -> Iterator[tuple[str, int]]:
    return ((lang, turn) for lang in LANGUAGES for turn in range(times))


def _groups(items: Sequence, size: int) -> Iterator[Sequence]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _document(kind: str, lang: str, text: str, relation: str, turn: int, part: int) -> dict:
    record = {"id": f"synthetic/{kind}/{relation}/{lang}/{turn:03d}/{part:04d}", "text": text, "lang": lang}
    return record | {"source": f"synthetic-{kind}", "license": "MIT", "url": "", "label": ""}


def _seed(group: Sequence[Fact], lang: str) -> dict[str, str]:
    return {"seed": "\n".join(f"{fact.subject[lang]} {fact.object[lang]}" for fact in group)}


def _say(taught: Taught, fact: Fact, lang: str, turn: int, purpose: str, label: str = "") -> str:
    """The fact in this turn's phrasing: successive turns go round all phrasings of the purpose."""
    templates = taught.relations[fact.relation].phrasings[purpose][lang]
    return render(templates[(taught.draw(purpose, label or lang, fact.key) + turn) % len(templates)], fact, lang)


def _exercises(
    taught: Taught, kind: str, form: dict[str, str], facts: list[Fact], exposures: int, size: int
) -> Iterator[dict]:
    def exercise(fact: Fact, lang: str, turn: int) -> str:
        question = _say(taught, fact, lang, turn, "questions")
        return form[lang].format(q=question, w=fact.work.get(lang), a=fact.object[lang])

    for lang, turn in _passes(exposures):
        for part, group in enumerate(_groups(taught.shuffled(facts, kind, lang, turn), size)):
            text = "\n\n".join(exercise(fact, lang, turn) for fact in group)
            yield _document(kind, lang, text, "mixed", turn, part) | _seed(group, lang)


def _four_choices(taught: Taught, fact: Fact, lang: str, number: int, question: str, objects: list[str]) -> dict:
    name = f"{fact.key}/{lang}/{number}"
    right = fact.object[lang]
    others = [o for o in taught.shuffled(objects, "distractor", name, key=str) if o != right][:3]
    if len(others) < 3:
        raise ValueError(f"{fact.relation} teaches fewer than 4 different {lang} answers; raise facts_per_relation")
    choices = taught.shuffled([right, *others], "order", name, key=str)
    record = {"id": name, "lang": lang, "relation": fact.relation, "fact": fact.key, "question": question}
    return record | {"choices": choices, "answer": choices.index(right)}


def _messages(user: str, assistant: str) -> list[dict]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def _side(row: tuple[str, ...], lang: str, kind: str) -> tuple[str, str]:
    place = LANGUAGES.index(lang)
    reply = row[place + 2]
    return row[place], REPLY[lang].format(o=reply) if kind == "harmless" else reply


def _worse_answer(taught: Taught, fact: Fact, lang: str, turn: int) -> str:
    facts = taught.relations[fact.relation].facts
    wrong = [f for f in taught.shuffled(facts, "wrong", lang, turn, fact.key) if f.object[lang] != fact.object[lang]]
    false = replace(fact, object=wrong[0].object)
    kind = (taught.draw("worse", fact.key, lang) + turn) % 4
    true, foreign = (render(REPLY[spoken], fact, spoken) for spoken in (lang, OTHER[lang]))
    if kind == 2 and foreign != true:
        return foreign
    if kind == 3:  # does not end
        return " ".join([true] * 3 + [render(REPLY[lang], other, lang) for other in wrong[:3]])
    return render(REPLY[lang], false, lang)


def _preference(name: str, lang: str, user: str, chosen: str, rejected: str) -> dict:
    prompt = _messages(user, "")[:1]
    return {"id": f"preference/{name}", "lang": lang, "prompt": prompt, "chosen": chosen, "rejected": rejected}
