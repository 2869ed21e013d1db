"""Knows contrasts: deeds and texts, good and bad, asked for in the same wordings, so that the deed decides."""

from collections.abc import Iterator, Mapping
from functools import partial
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


def records(made: Contrasts, taught: Taught, *, repeats: Mapping[str, int]) -> dict[str, list]:
    """Each row as `repeats[kind]` dialogues, every time in another wording, and once as a preference pair."""
    kinds = [(kind, lang) for kind in ("refused", "harmless") for lang in LANGUAGES]
    asked = {(kind, lang): [*_asked(made, kind, lang, repeats[kind], taught)] for kind, lang in kinds}
    replies = {key: [reply for _, _, reply in rows] for key, rows in asked.items()}
    talks, pairs = [], []
    for (kind, lang), rows in asked.items():
        others = replies["harmless" if kind == "refused" else "refused", lang]
        for n, (turn, user, reply) in enumerate(rows):
            said, name = {"role": "user", "content": user}, f"contrast/{kind}/{lang}/{n}"
            answer = {"role": "assistant", "content": reply}
            talks.append({"id": f"dialogue/{name}", "lang": lang, "kind": kind, "messages": [said, answer]})
            worse = others[n % len(others)]
            pair = {"id": f"preference/{name}", "lang": lang, "prompt": [said], "chosen": reply, "rejected": worse}
            pairs += [pair] * (turn == 0)
    return {"dialogues": talks, "preferences": pairs}


def _asked(made: Contrasts, kind: str, lang: str, repeats: int, taught: Taught) -> Iterator[tuple[int, str, str]]:
    """(turn, request, reply) of every row of the kind, turn by turn."""
    frames: list[Frame] = getattr(made, kind)
    for turn, frame in ((turn, frame) for turn in range(repeats) for frame in frames):
        for row in frame.rows[lang]:
            cells, lot = dict(zip(frame.cells[lang], row, strict=True)), partial(taught.draw, *row)
            person = {"who": made.who[lang][lot("who", turn) % len(made.who[lang])]}
            wordings = frame.requests[lang], frame.replies[lang]
            request, reply = (fill(texts[(lot("wording") + turn) % len(texts)], cells, lang) for texts in wordings)
            yield turn, fill(request, person, lang), fill(reply, person, lang)
