"""Knows the small world of facts: relations with their phrasings in two languages, read and checked strictly."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from corpus.korean import PARTICLES, with_particle

LANGUAGES = ("ko", "en")
COLUMNS = {"fact": 4, "saying": 4, "calculation": 6}  # calculations carry worked steps; a saying's languages differ
PHRASINGS = {"statements": 6, "answers": 1, "questions": 5, "held_out_questions": 2}  # least number per language
SLOT = re.compile(r"\{([^{}]*)\}")


class WorldError(ValueError):
    """A world file that cannot be used; the message names file, row and remedy."""


@dataclass(frozen=True)
class Fact:
    """One checked fact; subject, object and work (the steps of a calculation, else empty) map a language to text."""

    relation: str
    subject: dict[str, str]
    object: dict[str, str]
    work: dict[str, str]

    @property
    def key(self) -> str:
        """Unique in the world."""
        return f"{self.relation}/{self.subject['en']}"


@dataclass(frozen=True)
class Relation:
    """A relation: templates by purpose (a key of PHRASINGS) and language, and its facts, the best known first."""

    name: str
    kind: str
    phrasings: dict[str, dict[str, list[str]]]
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Asked:
    """How a tool is asked for: its arguments, and by language the questions that hold them and the answers."""

    arguments: tuple[str, ...]
    questions: dict[str, list[str]]
    held_out_questions: dict[str, list[str]]
    answers: dict[str, list[str]]


def load(folder: Path) -> dict[str, Relation]:
    """All relations of `<folder>/*.yaml` by name, in name order; raises WorldError."""
    relations = {path.stem: _relation(path, read(path)) for path in sorted(folder.glob("*.yaml"))}
    _require(relations, f"{folder}: no *.yaml relation in it; give a folder like data/sample/world")
    return relations


def load_talks(folder: Path) -> dict[str, list[tuple[str, ...]]]:
    """The rows of a world's talk files by name: everyday, refused, harmless; raises WorldError."""
    return {name: load_talk(folder / f"{name}.yaml") for name in ("everyday", "refused", "harmless")}


def load_talk(path: Path) -> list[tuple[str, ...]]:
    """Rows (user ko, user en, reply ko, reply en) of a talk file; raises WorldError."""
    rows: Any = read(path).get("rows")
    _require(isinstance(rows, list) and rows, f"{path}: no `rows`; list rows of [user ko, user en, reply ko, reply en]")
    return [_cells(row, 4, f"{path}: row {number}") for number, row in enumerate(rows, 1)]


def load_asked(path: Path) -> dict[str, Asked]:
    """Tools by name, as a file like talk/tools.yaml asks for them; raises WorldError."""
    return {name: _asked(f"{path}: {name}", given) for name, given in read(path).items()}


def load_lists(path: Path) -> dict[str, list[str]]:
    """The texts of each language, as talk/system.yaml lists them; raises WorldError."""
    record = read(path)
    well = set(record) == set(LANGUAGES) and all(isinstance(texts, list) and texts for texts in record.values())
    _require(well, f"{path}: give one list of texts under ko, one under en")
    return {lang: list(_cells(texts, len(texts), f"{path}: {lang}")) for lang, texts in record.items()}


def render(template: str, fact: Fact, lang: str) -> str:
    """The template with the fact's words in it, Korean particles chosen, an English first letter raised."""
    return fill(template, {"s": fact.subject[lang], "o": fact.object[lang]}, lang)


def fill(template: str, words: Mapping[str, str], lang: str) -> str:
    """The template with its word in each slot that has one, Korean particles chosen, an English first letter raised."""

    def word(match: re.Match[str]) -> str:
        slot, _, particle = match[1].partition(":")
        found = words.get(slot, match[0])
        return with_particle(found, particle) if particle and slot in words else found

    text = SLOT.sub(word, template)
    return text[:1].upper() + text[1:] if lang == "en" else text


def read(path: Path) -> dict[str, Any]:
    """The keys of a YAML file; raises WorldError."""
    _require(path.is_file(), f"{path}: is missing; make it like the one in data/sample/world")
    try:
        record = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise WorldError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend the file") from None
    _require(isinstance(record, dict), f"{path}: no keys at the top level; see data/sample/world/capital.yaml")
    return record


def _asked(where: str, given: Any) -> Asked:
    keys = {"arguments", "questions", "held_out_questions", "answers"}
    _require(isinstance(given, dict) and set(given) == keys, f"{where}: needs the keys {sorted(keys)} and no other")
    _require(isinstance(given["arguments"], list), f"{where}: arguments: list their names")
    arguments = _cells(given["arguments"], len(given["arguments"]), f"{where}: arguments")
    asked, result = set(arguments), {"result"}
    questions, held_out = (
        _phrasings(f"{where}: {key}", given[key], least=least, needed=asked, allowed=asked)
        for key, least in (("questions", 5), ("held_out_questions", 2))
    )
    answers = _phrasings(f"{where}: answers", given["answers"], least=1, needed=result, allowed=asked | result)
    return Asked(arguments, questions, held_out, answers)


def _relation(path: Path, record: dict[str, Any]) -> Relation:
    odd = set(record) ^ {"relation", "kind", "facts", *PHRASINGS}
    _require(not odd, f"{path}: missing or unknown keys {sorted(odd)}; compare with data/sample/world/capital.yaml")
    _require(record["relation"] == path.stem, f"{path}: relation is {record['relation']!r}; name it like the file")
    _require(record["kind"] in COLUMNS, f"{path}: unknown kind {record['kind']!r}; choose one of {sorted(COLUMNS)}")
    slots = {key: {"s"} if "questions" in key else {"s", "o"} for key in PHRASINGS}
    phrasings = {
        key: _phrasings(f"{path}: {key}", record[key], least=least, needed=slots[key], allowed=slots[key])
        for key, least in PHRASINGS.items()
    }
    same = len(phrasings["answers"]["ko"]) == len(phrasings["answers"]["en"])
    _require(same, f"{path}: answers: ko and en differ in number; list translations of each other in the same order")
    return Relation(path.stem, record["kind"], phrasings, _facts(path, record["kind"], record["facts"]))


def _phrasings(where: str, given: Any, *, least: int, needed: set[str], allowed: set[str]) -> dict[str, list[str]]:
    _require(isinstance(given, dict) and set(given) == set(LANGUAGES), f"{where}: give one list under ko, one under en")
    for lang, templates in given.items():
        _require(isinstance(templates, list) and all(isinstance(t, str) for t in templates), f"{where}: list strings")
        different = len({re.sub(r"[^\w{}:]+", " ", template).strip().casefold() for template in templates})
        enough = different == len(templates) >= least
        _require(enough, f"{where}.{lang}: {different} different templates; give at least {least}, none twice")
        for number, template in enumerate(templates, 1):
            found = [slot.partition(":") for slot in SLOT.findall(template)]
            place = f"{where}.{lang} row {number} ({template!r})"
            _require(not re.search(r"[{}]", SLOT.sub("", template)), f"{place}: a lone brace; close it")
            slots = {slot for slot, _, _ in found}
            _require(needed <= slots <= allowed, f"{place}: use exactly the slots {sorted(needed)}")
            bad = [particle for _, colon, particle in found if colon and (lang != "ko" or particle not in PARTICLES)]
            _require(not bad, f"{place}: particle {bad}; Korean templates know {sorted(PARTICLES)}, English ones none")
    return given


def _facts(path: Path, kind: str, rows: Any) -> tuple[Fact, ...]:
    _require(isinstance(rows, list), f"{path}: facts: list rows of [subject ko, subject en, object ko, object en]")
    first: dict[tuple[str, str], int] = {}
    facts = []
    for number, row in enumerate(rows, 1):
        cells = _cells(row, COLUMNS[kind], f"{path}: fact row {number}")
        subject, object_, work = (dict(zip(LANGUAGES, cells[i : i + 2], strict=False)) for i in (0, 2, 4))
        for asked in subject.items():
            earlier = first.setdefault(asked, number)
            _require(earlier == number, f"{path}: fact row {number}: {asked[1]!r} is in row {earlier}; drop one")
        facts.append(Fact(path.stem, subject, object_, work))
    few = min(len({fact.object[lang] for fact in facts}) for lang in LANGUAGES) < 4
    _require(not few, f"{path}: facts: fewer than 4 different objects; a four-choice question needs 4")
    return tuple(facts)


def _cells(row: Any, width: int, where: str) -> tuple[str, ...]:
    _require(isinstance(row, list) and len(row) == width, f"{where}: {row!r}; give exactly {width} cells")
    for cell in row:
        _require(isinstance(cell, str), f"{where}: {cell!r} is not text; put it in quotes")
        _require(cell and cell == " ".join(cell.split()), f"{where}: {cell!r} is empty or has stray spaces; trim it")
        _require(not set(cell) & set("{}"), f"{where}: {cell!r} holds a brace; only templates may")
    return tuple(row)


def _require(condition: object, message: str) -> None:
    if not condition:
        raise WorldError(message)
