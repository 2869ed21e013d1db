"""Knows how to ask about a passage: facts, true, made up or turned round, stated in passages, and what they say."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from corpus.lots import Lot
from corpus.names import is_name, made_up_name
from corpus.synthesis import Taught
from corpus.tools import reserved
from corpus.world import Fact, render

SORTS = ("unknown", "true", "contradiction")


@dataclass(frozen=True)
class Reading:
    """A question about passages; `place` is the number of the one that answers it, `memory` what the world says.

    `further` are questions about the made-up ones among the other facts told, with their subjects, answers and places.
    """

    question: str
    subject: str
    passages: list[str]
    place: int
    answer: str
    memory: str
    further: list[tuple[str, str, str, int]]


def readings(taught: Taught, sort: str, lang: str, *, count: int, held_out: bool) -> Iterator[Reading]:
    """At most `count` different questions of a sort about passages.

    Held-out ones differ from the others in phrasing and in the fact asked for: of all the pairs of a subject and an
    object that can be told an eighth is reserved.
    """
    facts = [f for f in taught.facts if taught.relations[f.relation].kind == "fact" and not _named(f, lang)]
    seen: set[str] = set()
    for number in range(count * 50 if facts else 0):
        if len(seen) == count:
            return
        lot = partial(taught.draw, "passage", sort, lang, held_out, number)
        fact = facts[lot("fact") % len(facts)]
        told = _told(taught, fact, sort, lang, lot)
        if told and not _named(told, lang) and reserved(taught, told.subject["en"], told.object["en"]) == held_out:
            reading = _reading(taught, fact, told, lang, held_out, lot)
            if (text := "\n".join([reading.question, *reading.passages])) not in seen:
                seen.add(text)
                yield reading


def _told(taught: Taught, known: Fact, sort: str, lang: str, lot: Lot) -> Fact | None:
    """The fact that a passage tells; None where this one cannot be changed in that way."""
    if sort == "true":
        return known
    facts = taught.relations[known.relation].facts
    told = facts[lot("object") % len(facts)].object
    if is_name(told["en"]) and lot("made-up object") % 2:
        told = made_up_name(lot, "object")
    if sort == "contradiction":
        return None if _overlap(told[lang], known.object[lang]) else replace(known, object=told)
    return replace(known, subject=made_up_name(lot, "subject"), object=told) if is_name(known.subject["en"]) else None


def _reading(taught: Taught, known: Fact, told: Fact, lang: str, held_out: bool, lot: Lot) -> Reading:
    memory = "" if told.subject != known.subject or told.object == known.object else known.object[lang]
    facts = [told, *_others(taught, told, memory, lang, lot, turned=not held_out and told is not known)]
    order = sorted(range(len(facts)), key=partial(lot, "order"))
    said = [_stated(taught, facts[i], lang, partial(lot, "statement", i), evenly=not held_out) for i in order]
    places = [order.index(i) + 1 for i in range(len(facts))]
    if len(said) > 1 and not lot("together") % 3:  # two sentences in one passage
        said, places = [" ".join(said[:2]), *said[2:]], [max(1, place - 1) for place in places]
    question = _phrased(taught, told, "held_out_questions" if held_out else "questions", lang, lot("question"))
    further = [
        (_phrased(taught, fact, "questions", lang, lot("further", i)), fact.subject[lang], fact.object[lang], places[i])
        for i, fact in enumerate(facts)
        if i
        and fact not in taught.facts
        and not _named(fact, lang)
        and not reserved(taught, fact.subject["en"], fact.object["en"])
    ]
    return Reading(question, told.subject[lang], said, places[0], told.object[lang], memory, further)


def _others(taught: Taught, told: Fact, memory: str, lang: str, lot: Lot, *, turned: bool) -> Iterator[Fact]:
    """None to two facts more, of another subject or another relation, and each with an object of its own.

    About a made-up subject anything may be said; of a known one, what the world says, or `turned` half the time.
    """
    own = {fact.subject["en"] for fact in taught.relations[told.relation].facts}
    relations = [r for r in taught.relations.values() if r.kind == "fact" and own & {f.subject["en"] for f in r.facts}]
    used, texts = {(told.relation, told.subject["en"])}, [told.object[lang], *[memory] * bool(memory)]
    for part in range(lot("others") % 3):
        relation = relations[lot("relation", part) % len(relations)]
        about = [fact for fact in relation.facts if fact.subject == told.subject and relation.name != told.relation]
        other = (about or relation.facts)[lot("other", part) % len(about or relation.facts)]
        if told.subject["en"] not in own and not about and lot("made-up other", part) % 2:
            subject = made_up_name(lot, "other", part) if relation.name == told.relation else told.subject
            other = replace(other, subject=subject)
        if turned and lot("turned", part) % 2:
            lie = _told(taught, other, "contradiction", lang, partial(lot, "turned", part))
            other = lie if lie and not reserved(taught, lie.subject["en"], lie.object["en"]) else other
        key = (other.relation, other.subject["en"])
        if key not in used and not any(_overlap(other.object[lang], text) for text in texts):
            used.add(key)
            texts.append(other.object[lang])
            yield other


def _stated(taught: Taught, fact: Fact, lang: str, lot: Lot, *, evenly: bool) -> str:
    """The fact in a sentence; `evenly`: a third of the time in one of the few that begin with the object.

    So that as many do as do not: a small model reads on from a name, and looks back of it where it had to learn to.
    """
    statements = taught.relations[fact.relation].phrasings["statements"][lang]
    turned = [statement for statement in statements if statement.index("{o") < statement.index("{s")]
    templates = turned if turned and evenly and not lot("turned") % 3 else statements
    return render(templates[lot() % len(templates)], fact, lang)


def _phrased(taught: Taught, fact: Fact, purpose: str, lang: str, number: int) -> str:
    templates = taught.relations[fact.relation].phrasings[purpose][lang]
    return render(templates[number % len(templates)], fact, lang)


def _named(fact: Fact, lang: str) -> bool:
    """Whether the subject's name holds the answer, so that a reply which says it would be right unread."""
    return fact.object[lang].casefold() in fact.subject[lang].casefold()


def _overlap(one: str, other: str) -> bool:
    return one.casefold() in other.casefold() or other.casefold() in one.casefold()
