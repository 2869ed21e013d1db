"""Knows conversations that are made: with tools, about passages, of several turns; and the trials held out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from midm_mini.format import Message, chat_segments
from pydantic import BaseModel, ConfigDict

from corpus import notes
from corpus.passages import SORTS, Reading, readings
from corpus.repeats import repeats
from corpus.synthesis import REPLY, Taught
from corpus.tools import ARGUMENTS, Use, schema, uses
from corpus.world import LANGUAGES, Asked, Fact, Relation, WorldError, load_asked, render

KINDS = {  # of trials with tools
    "tool-calculator": ("calculator",), "tool-date": ("date_after", "days_between"), "tool-unit": ("convert",),
    "tool-lookup": ("lookup",),
}  # fmt: skip
NONE = "none"  # of the tools listed
OTHERS = (0, 0, 0, 1, 1, 2)  # how many tools are listed beside the one needed, by lot: a list is costly to read
FOLLOW_UP = {"ko": ("그럼 {s:은}요?", "{s:은}?"), "en": ("And {s}?", "What about {s}?")}


class Numbers(BaseModel):
    """How many conversations of each kind, per language; fewer where the world has fewer different ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    per_tool: int  # a question, its call, the result and the answer, for each tool
    untooled: int  # tools are listed, and the question needs none
    passages: int  # about passages: unknown, true and turned-round facts
    turns: int  # of two or three questions
    repeats: int  # a list, said again
    trials: int  # held out, of each kind
    preferences: int  # reply pairs for each tool, and about turned-round passages


@dataclass(frozen=True)
class Maker:
    """What conversations are made of: the taught facts, all facts of the same relations, those of the world's other
    relations, notes and the notes kept for trials, and tools."""

    taught: Taught
    wide: Taught
    beyond: Taught
    noted: Taught
    kept: Taught
    asked: dict[str, Asked]

    @property
    def tools(self) -> list[str]:
        """The names of all tools."""
        return [*sorted(self.asked), "lookup"]


def records(known: Mapping[str, Relation], taught: Taught, talk: Path, numbers: Numbers) -> dict[str, list]:
    """All conversations by the name of their file: dialogues, preferences, trials.

    known: the whole world; talk: its folder that holds tools.yaml and notes.yaml.
    """
    wide = Taught(seed=taught.seed, relations={name: known[name] for name in taught.relations})
    beyond = {name: known[name] for name in sorted(set(known) - set(taught.relations))}
    asked = load_asked(talk / "tools.yaml")
    if set(asked) != set(ARGUMENTS):
        raise WorldError(f"{talk / 'tools.yaml'}: asks for {sorted(asked)}; the tools are {sorted(ARGUMENTS)}")
    written = notes.load(talk / "notes.yaml")
    noted, kept = (notes.told(written, rows, seed=taught.seed) for rows in (written.relations, written.trials))
    maker = Maker(taught, wide, Taught(taught.seed, beyond), noted, kept, asked)
    made = {"dialogues": dialogues, "preferences": preferences, "trials": trials}
    return {name: [*make(maker, numbers)] for name, make in made.items()}


def opened(
    records: Mapping[str, Iterable[dict]], taught: Taught, systems: Mapping[str, Sequence[str]]
) -> dict[str, list]:
    """The records by the name of their file; one conversation in four has a system prompt of its language before it."""

    def one(record: dict) -> dict:
        turns = next((key for key in ("messages", "prompt") if key in record), "")
        if not turns or taught.draw("system", record["id"]) % 4:
            return record
        texts = systems[record["lang"]]
        said = {"role": "system", "content": texts[taught.draw("prompt", record["id"]) % len(texts)]}
        return record | {turns: [said, *record[turns]]}

    return {name: [one(record) for record in rows] for name, rows in records.items()}


def dialogues(maker: Maker, numbers: Numbers) -> Iterator[dict]:
    """Conversations for sft, of the kinds tool, passage, turns and repeat."""
    for lang in LANGUAGES:
        for tool in maker.tools:
            for n, use in enumerate(uses(maker.wide, maker.asked, tool, lang, count=numbers.per_tool, held_out=False)):
                yield _record(maker, f"dialogue/tool/{tool}/{lang}/{n}", lang, "tool", _used(use), tool)
        for n, (question, fact) in enumerate(_plain(maker.taught, lang, "questions", numbers.untooled)):
            turns = [_user(question), _assistant(render(REPLY[lang], fact, lang))]
            yield _record(maker, f"dialogue/tool/none/{lang}/{n}", lang, "tool", turns, NONE)
        drawn = [*((sort, maker.wide) for sort in SORTS), ("contradiction", maker.taught)]  # the last: against memory
        drawn += [("true", maker.beyond), ("unknown", maker.noted), ("true", maker.noted)]
        count = numbers.passages // len(drawn)
        for part, (sort, known) in enumerate(drawn):
            for n, reading in enumerate(readings(known, sort, lang, count=count, held_out=False)):
                turns = [_user(reading.question, reading.passages), _assistant(_cited(reading))]
                for question, subject, answer, place in reading.further:
                    again = replace(reading, subject=subject, answer=answer, place=place)
                    turns += [_user(question), _assistant(_cited(again))]
                yield _record(maker, f"dialogue/passage/{part}/{lang}/{n}", lang, "passage", turns)
        for n in range(numbers.turns):
            yield _record(maker, f"dialogue/turns/{lang}/{n}", lang, "turns", [*_turns(maker.taught, lang, n)])
        for n, (question, reply) in enumerate(repeats(maker.wide, lang, count=numbers.repeats)):
            turns = [_user(question), _assistant(reply)]
            yield _record(maker, f"dialogue/repeat/{lang}/{n}", lang, "repeat", turns)


def trials(maker: Maker, numbers: Numbers) -> Iterator[dict]:
    """Held-out conversations that end with a user's or a tool's turn, and what the reply must be.

    `expected`: the tool call for kinds of KINDS; else texts of which one stands in the reply; `memory`: must not.
    """
    count = numbers.trials
    for lang in LANGUAGES:
        for kind, tools in KINDS.items():
            for tool in tools:
                share = -(-count // len(tools))
                for n, use in enumerate(uses(maker.wide, maker.asked, tool, lang, count=share, held_out=True)):
                    record = _record(maker, f"trial/{kind}/{tool}/{lang}/{n}", lang, kind, _used(use)[:1], tool)
                    yield record | {"expected": {"name": use.tool, "arguments": use.arguments}}
        for tool in maker.tools:
            share = -(-count // len(maker.tools))
            for n, use in enumerate(uses(maker.wide, maker.asked, tool, lang, count=share, held_out=True)):
                record = _record(
                    maker, f"trial/tool-answer/{tool}/{lang}/{n}", lang, "tool-answer", _used(use)[:3], tool
                )
                yield record | {"expected": [use.result]}
        for n, (question, fact) in enumerate(_plain(maker.taught, lang, "held_out_questions", count)):
            record = _record(maker, f"trial/tool-none/{lang}/{n}", lang, "tool-none", [_user(question)], NONE)
            yield record | {"expected": [fact.object[lang]]}
        read = [("passage", maker.taught, ("unknown", "true")), ("note", maker.kept, ("unknown", "true"))]
        for kind, known, sorts in [*read, ("contradiction", maker.taught, ("contradiction",))]:
            for sort in sorts:
                share = -(-count // len(sorts))
                for n, reading in enumerate(readings(known, sort, lang, count=share, held_out=True)):
                    turns = [_user(reading.question, reading.passages)]
                    memory = {"memory": reading.memory} if reading.memory else {}
                    record = _record(maker, f"trial/{kind}/{sort}/{lang}/{n}", lang, kind, turns)
                    yield record | {"expected": [reading.answer]} | memory


def preferences(maker: Maker, numbers: Numbers) -> Iterator[dict]:
    """Reply pairs: the call with the question's arguments over others or an invented answer, passage over memory.

    And half as often as a call over an answer, an answer over a call, where no listed tool fits: without these, dpo
    taught the demo to call whatever was asked, with as many to answer where a call was due (docs/log.md).
    """
    count = numbers.preferences
    for lang in LANGUAGES:
        most = count * len(maker.tools) // 4
        for n, (question, fact) in enumerate(_plain(maker.taught, lang, "questions", most)):
            record = _record(maker, f"preference/none/{lang}/{n}", lang, "tool", [_user(question)], NONE)
            unlisted = Use("lookup", question, {"relation": fact.relation, "subject": fact.subject[lang]}, "", "")
            yield _pair(record, render(REPLY[lang], fact, lang), _written(_used(unlisted)[1]))
        for tool in maker.tools:
            asked = [*uses(maker.wide, maker.asked, tool, lang, count=count, held_out=False)]
            for n, (use, other) in enumerate(zip(asked, asked[1:] + asked[:1], strict=True)):
                rejected = other.answer if n % 2 else _written(_used(other)[1])
                record = _record(maker, f"preference/tool/{tool}/{lang}/{n}", lang, "tool", _used(use)[:1], tool)
                yield _pair(record, _written(_used(use)[1]), rejected)
        for n, reading in enumerate(readings(maker.taught, "contradiction", lang, count=count, held_out=False)):
            turns = [_user(reading.question, reading.passages)]
            record = _record(maker, f"preference/passage/{lang}/{n}", lang, "passage", turns)
            yield _pair(record, _cited(reading), f"{reading.subject}: {reading.memory}")


def asked_in(trials: Iterable[dict]) -> list[dict]:
    """The first question of each trial, as corpus.synthesis.leaks reads them."""
    return [{"question": next(m["content"] for m in trial["messages"] if m["role"] == "user")} for trial in trials]


def _plain(taught: Taught, lang: str, purpose: str, count: int) -> Iterator[tuple[str, Fact]]:
    """Questions that the model answers by itself, facts in turn and each time in another phrasing."""
    facts = [fact for fact in taught.shuffled(taught.facts, "plain", lang, purpose) if not fact.work]
    for n in range(count if facts else 0):
        fact = facts[n % len(facts)]
        templates = taught.relations[fact.relation].phrasings[purpose][lang]
        first = taught.draw("plain", fact.key, lang)
        yield render(templates[(first + n // len(facts)) % len(templates)], fact, lang), fact


def _turns(taught: Taught, lang: str, number: int) -> Iterator[Message]:
    """Two or three facts of one relation; after the first question, a follow-up names the subject alone."""
    lot = partial(taught.draw, "turns", lang, number)
    relations = [relation for relation in taught.relations.values() if relation.kind == "fact"]
    relation = relations[lot("relation") % len(relations)]
    for turn, fact in enumerate(taught.shuffled(relation.facts, "turns", lang, number)[: 2 + lot("length") % 2]):
        templates = FOLLOW_UP[lang] if turn else relation.phrasings["questions"][lang]
        yield _user(render(templates[lot("phrasing", turn) % len(templates)], fact, lang))
        yield _assistant(render(REPLY[lang], fact, lang))


def _used(use: Use) -> list[Message]:
    call = {"name": use.tool, "arguments": use.arguments}
    called: Message = {"role": "assistant", "content": "", "tool_calls": [call]}
    return [_user(use.question), called, {"role": "tool", "content": use.result}, _assistant(use.answer)]


def _cited(reading: Reading) -> str:
    """Whom the question is about, the answer in the passage's words, and the passage's number if there are several."""
    said = f"{reading.subject}: {reading.answer}"
    return f"{said} [{reading.place}]" if len(reading.passages) > 1 else said


def _record(maker: Maker, name: str, lang: str, kind: str, messages: list[Message], tool: str = "") -> dict:
    """A conversation; where a tool (or NONE) is meant, one to three are listed."""
    taught, record = maker.taught, {"id": name, "lang": lang, "kind": kind, "messages": messages}
    if not tool:
        return record
    others = [other for other in maker.tools if other != (tool if tool != NONE else "lookup")]
    count = OTHERS[taught.draw("more", name) % len(OTHERS)] + (tool == NONE)
    more = taught.shuffled(others, "others", name, key=str)[:count]
    listed = taught.shuffled([*more, *[tool] * (tool != NONE)], "listed", name, key=str)
    return record | {"tools": [schema(each, maker.asked) for each in listed]}


def _pair(record: dict, chosen: str, rejected: str) -> dict:
    kept = {key: record[key] for key in ("id", "lang", "tools") if key in record}
    return kept | {"prompt": record["messages"], "chosen": chosen, "rejected": rejected}


def _written(message: Message) -> str:
    """What the assistant writes in a message, its calls included."""
    return next(part.text for part in chat_segments([message]) if part.learned)


def _user(content: str, passages: Sequence[str] = ()) -> Message:
    message: Message = {"role": "user", "content": content}
    return {**message, "passages": list(passages)} if passages else message


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}
