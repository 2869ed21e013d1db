"""Knows contrasts: deeds and texts, good and bad, asked for in the same wordings, so that the deed decides."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from corpus.synthesis import Taught
from corpus.world import LANGUAGES, SLOT, WorldError, fill, read


class Frame(BaseModel):
    """Rows that are asked for alike; everything by language. A slot is a cell's name or, within a cell, {who}."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    cells: dict[str, list[str]]  # the names of a row's cells
    requests: dict[str, list[str]]
    replies: dict[str, list[str]]
    rows: dict[str, list[list[str]]]

    @model_validator(mode="after")
    def _whole(self) -> "Frame":
        for lang in LANGUAGES:
            texts, names = self.requests[lang] + self.replies[lang], self.cells[lang]
            if {slot.partition(":")[0] for text in texts for slot in SLOT.findall(text)} != set(names):
                raise ValueError(f"{lang}: requests and replies use the slots {names} and no other")
            if odd := [row for row in self.rows[lang] if len(row) != len(names)]:
                raise ValueError(f"{lang}: {odd[0]} has not the cells {names}")
        return self


class Contrasts(BaseModel):
    """What is declined and what is answered, with the persons that both name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    who: dict[str, list[str]]
    refused: list[Frame]
    harmless: list[Frame]


def load(file: Path) -> Contrasts:
    """The contrasts of a file like talk/contrasts.yaml; raises WorldError."""
    try:
        return Contrasts.model_validate(read(file))
    except ValidationError as error:
        raise WorldError(f"{file}: {' '.join(str(error).split())}; mend the rows") from None


def dialogues(made: Contrasts, taught: Taught, *, repeats: Mapping[str, int]) -> Iterator[dict]:
    """Each row as `repeats[kind]` dialogues, every time in another wording."""
    for kind, lang in product(("refused", "harmless"), LANGUAGES):
        for n, (user, reply) in enumerate(_asked(made, kind, lang, repeats[kind], taught)):
            messages = [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]
            yield {"id": f"dialogue/contrast/{kind}/{lang}/{n}", "lang": lang, "kind": kind, "messages": messages}


def _asked(made: Contrasts, kind: str, lang: str, repeats: int, taught: Taught) -> Iterator[tuple[str, str]]:
    """(request, reply) of every row of the kind, turn by turn."""
    frames: list[Frame] = getattr(made, kind)
    for turn, frame in ((turn, frame) for turn in range(repeats) for frame in frames):
        for row in frame.rows[lang]:
            cells, lot = dict(zip(frame.cells[lang], row, strict=True)), partial(taught.draw, *row)
            person = {"who": made.who[lang][lot("who", turn) % len(made.who[lang])]}
            wordings = frame.requests[lang], frame.replies[lang]
            request, reply = (fill(texts[(lot("wording") + turn) % len(texts)], cells, lang) for texts in wordings)
            yield fill(request, person, lang), fill(reply, person, lang)
