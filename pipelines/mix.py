"""Mixes organic and synthetic documents: what is held out, what each phase sees, and what would leak an answer."""

from itertools import chain
from pathlib import Path

import numpy as np

from corpus import mixing, plan, shards
from corpus.contamination import Contamination, overlap
from corpus.evaluations import read_sets
from pipelines._journal import Journal
from pipelines._stage import StageParams, enter


class Params(StageParams):
    """What is held out, what each phase is made of, and how evaluation items are searched."""

    benchmarks: str  # the folder of evaluation files that dvc.yaml hands over as --benchmarks; it may hold none
    letters: int  # letters per window in which evaluation items are searched, a Hangul syllable counting two
    share: float  # share of an item's windows from which a document counts as contaminated
    validation_share: float  # share of organic documents held out, by lot
    validation_characters: int  # held out at most, per language
    seed: int  # of all lots but the held-out documents', which never change
    order: plan.Order  # of a phase's documents: as_read, shuffled (by lot) or curriculum (easy to hard, in buckets)
    buckets: int  # of a curriculum, of equal characters; inside one, documents stand by lot
    phases: dict[str, plan.Phase]


def main(
    *, documents: Path, synthetic: Path, evaluations: Path, prompts: Path, benchmarks: Path, out: Path, scratch: Path,
    params: Params, journal: Journal,
) -> None:  # fmt: skip
    """Writes a folder of shards per phase and for validation, plan.jsonl, and contamination.jsonl with every hit.

    evaluations: the catalogue of sets; their items lie in synthetic, prompts and benchmarks.
    """
    sets = read_sets(evaluations, [synthetic, prompts, benchmarks])
    sets = sets._replace(absent=dict.fromkeys(sets.absent, "no file of it"))  # a report names no folder of this machine
    detector = Contamination(sets.items, letters=params.letters, share=params.share)
    shards_of = mixing.sources(shards.paths(documents), shards.paths(synthetic / "documents"))
    known, hits, urls = mixing.surveyed(shards_of, find=detector.hits, scratch=scratch)
    journal.step(1, documents=len(known.ids), contaminated=len(hits))
    clean = ~known.among(sorted(hits))
    held = plan.held_out(known, clean, share=params.validation_share, characters=params.validation_characters)
    settings = params.model_dump(include={"seed", "order", "buckets"})
    phases = plan.drawn(known, clean & ~held, params.phases, **settings)
    places = {name: phase.rows for name, phase in phases.items()}
    places["validation"] = plan.in_order(known, np.flatnonzero(held), params.order)
    mixing.gather(known, places, shards_of, scratch=scratch)
    for name in places:
        (scratch / name).rename(out / name)
    rows = ({"id": name, **hit._asdict()} for name, found in sorted(hits.items()) for hit in found)
    shards.write_lines(out / "contamination.jsonl", rows)
    shards.write_lines(out / plan.FILE, ({"phase": name, "starts": it.starts} for name, it in phases.items()))
    journal.conclude(
        **mixing.booked(known, places.values(), ~clean),
        documents={name: len(rows) for name, rows in places.items()},
        weights={name: phase.weights for name, phase in phases.items()},
        domains=mixing.accounts(known, places, "origin", "lang", "domain"),
        registers=mixing.accounts(known, places, "origin", "register"),
        sources=mixing.origins(known, urls),
        evaluation_items=len(sets.items),
        contamination=overlap(sets, detector, chain.from_iterable(hits.values())),
    )


if __name__ == "__main__":
    enter(main)
