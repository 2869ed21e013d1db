"""Mixes organic and synthetic documents: what is held out, what each phase sees, and what would leak an answer."""

from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path

from corpus import mixing, shards
from corpus.ledger import KEPT, Ledger
from pipelines._journal import Journal
from pipelines._stage import StageParams, enter


class Params(StageParams):
    """Shares and sizes of the mixture."""

    validation_share: float  # share of organic documents held out, by lot
    validation_characters: int  # held out at most, per language
    train_characters: dict[str, int]  # language → organic characters that training takes at most
    best_sources: list[str]  # shell patterns of the organic sources that join the synthetic text in phase 2
    question_letters: int  # letters per window in which evaluation questions are searched
    question_share: float  # share of a question's windows from which a document counts as contaminated


def main(*, documents: Path, synthetic: Path, out: Path, params: Params, journal: Journal) -> None:
    """Writes phase1/, phase2/ and validation/ shards, and contamination.jsonl with every question that was found."""
    questions = mixing.read_questions(synthetic / "questions.jsonl")
    detector = mixing.Contamination(questions, letters=params.question_letters, share=params.question_share)
    hits = {document["id"]: detector.hits(document["text"]) for document in shards.read(documents)}
    sizes = ((row["id"], row["lang"], len(row["text"])) for row in shards.read(documents) if not hits[row["id"]])
    room = params.model_dump(include={"validation_share", "validation_characters", "train_characters"})
    placed = mixing.places(sizes, **room)
    ledger = Ledger()
    for document in shards.read(documents):
        place = placed.get(document["id"], "contaminated")
        verdict = KEPT if place in (mixing.TRAIN, mixing.VALIDATION) else place
        ledger.add(verdict, document, characters_in=len(document["text"]))

    def organic(place: str, sources: Iterable[str] = ("*",)) -> Iterator[dict]:
        chosen = (row for row in shards.read(documents) if placed.get(row["id"]) == place)
        return (row for row in chosen if any(fnmatch(row["source"], pattern) for pattern in sources))

    taught = synthetic / "documents"
    written = {
        "phase1": shards.write(out / "phase1", chain(organic(mixing.TRAIN), shards.read(taught))),
        "phase2": shards.write(out / "phase2", chain(organic(mixing.TRAIN, params.best_sources), shards.read(taught))),
        "validation": shards.write(out / "validation", organic(mixing.VALIDATION)),
    }
    found = ({"id": name, "question": q, "share": share} for name, rows in hits.items() for q, share in rows)
    shards.write_lines(out / "contamination.jsonl", found)
    characters = {name: Counter[str]() for name in written}
    for name, count in characters.items():
        for document in shards.read(out / name):
            count[document["lang"]] += len(document["text"])
    left_out = sum(place == mixing.LEFT_OUT for place in placed.values())
    journal.conclude(
        **ledger.report(documents_in=len(hits), documents_kept=len(placed) - left_out),
        documents=written,
        characters={name: dict(sorted(count.items())) for name, count in characters.items()},
        questions=len(questions),
    )


if __name__ == "__main__":
    enter(main)
