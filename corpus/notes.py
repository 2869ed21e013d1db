"""Knows notes: what a passage may say of anybody, in relations that no world has, so that it must be read there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from corpus.synthesis import Taught
from corpus.world import LANGUAGES, SLOT, Fact, Relation, WorldError, fill, read

OBJECTS = 6  # that a relation gives each subject
Kind = Literal["person", "thing", "place", "number", "day"]
Texts = dict[str, list[str]]  # by language


class Notes(BaseModel):
    """Wordings with the slots s (subject), r (relation), o (object) and w (how the object is asked for), and words."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    statements: Texts
    questions: Texts
    held_out_questions: Texts
    asked: dict[Kind, tuple[str, str]]
    relations: list[tuple[str, str, Kind]] = Field(min_length=1)  # noun ko, noun en, kind of the object
    trials: list[tuple[str, str, Kind]] = Field(min_length=1)  # relations that are never trained
    subjects: list[tuple[str, str]] = Field(min_length=2)
    objects: dict[Kind, list[tuple[str, str]]]

    @model_validator(mode="after")
    def _whole(self) -> "Notes":
        for name, slots in {"statements": "sro", "questions": "srw", "held_out_questions": "srw"}.items():
            for lang in LANGUAGES:
                texts = getattr(self, name).get(lang) or [""]
                if odd := [text for text in texts if not set(slots) - {"w"} <= _slots(text) <= set(slots)]:
                    raise ValueError(f"{name}, {lang}: {odd[0]!r} has not the slots of {', '.join(slots)}")
        for *_, kind in [*self.relations, *self.trials]:
            if len(self.objects.get(kind, [])) < OBJECTS or kind not in self.asked:
                raise ValueError(f"objects: {kind} needs {OBJECTS} and a row under `asked`")
        return self


def load(file: Path) -> Notes:
    """The notes of a file like talk/notes.yaml; raises WorldError."""
    try:
        return Notes.model_validate(read(file))
    except ValidationError as error:
        raise WorldError(f"{file}: {' '.join(str(error).split())}; mend the file") from None


def told(made: Notes, relations: Sequence[tuple[str, str, Kind]], *, seed: int) -> Taught:
    """The relations as a world of their own: each gives every subject some of the objects of its kind."""
    found = {}
    for *noun, kind in relations:
        pairs = zip(LANGUAGES, noun, made.asked[kind], strict=True)
        words = {lang: {"r": relation, "w": asked} for lang, relation, asked in pairs}
        phrasings = {
            name: {lang: [fill(text, words[lang], lang) for text in getattr(made, name)[lang]] for lang in LANGUAGES}
            for name in ("statements", "questions", "held_out_questions")
        }
        name, draw = f"note {noun[1]}", Taught(seed=seed, relations={}).draw
        facts = [
            Fact(name, _both(subject), _both(made.objects[kind][draw(name, *subject, n) % len(made.objects[kind])]), {})
            for subject in made.subjects
            for n in range(OBJECTS)
        ]
        found[name] = Relation(name, "fact", phrasings, tuple(facts))
    return Taught(seed=seed, relations=found)


def _slots(template: str) -> set[str]:
    return {slot.partition(":")[0] for slot in SLOT.findall(template)}


def _both(pair: tuple[str, str]) -> dict[str, str]:
    return dict(zip(LANGUAGES, pair, strict=True))
