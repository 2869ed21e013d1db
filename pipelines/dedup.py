"""Removes exact and near copies: of documents that say the same, the one with the smallest id stays."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from corpus import near, shards
from corpus.ledger import KEPT, Ledger
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter


class Params(StageParams):
    """MinHash settings."""

    bands: int  # bands of the signature; two documents are compared when they agree in one
    rows: int  # hashes per band
    shingle: int  # units (Korean syllables, other words) per element of a document's set
    similarity: float  # share of equal hashes (an estimate of Jaccard similarity) from which documents say the same


def main(*, documents: Path, out: Path, params: Params, journal: Journal) -> None:
    """Writes the surviving shards and clusters.jsonl: who stayed, who went, and why."""
    ids: list[str] = []
    prints: list[bytes] = []
    marks: list[np.ndarray] = []
    labels: dict[str, str] = {}
    for path in shards.paths(documents / "kept"):
        if rows := list(shards.read_shard(path)):
            texts = [near.units(row["text"]) for row in rows]
            ids += [row["id"] for row in rows]
            prints += map(near.fingerprint, texts)
            marks.append(near.signatures(texts, hashes=params.bands * params.rows, shingle=params.shingle))
            labels |= {row["id"]: row["label"] for row in rows if row["label"]}
            journal.step(len(ids), signatures=len(ids))
    if not ids:
        raise StageError(f"{documents}/kept: no documents; the filter dropped every one, see its report")
    groups = near.clusters(ids, prints, np.concatenate(marks), bands=params.bands, similarity=params.similarity)
    reasons = {name: reason for group in groups for name, reason in group.copies.items()}
    ledger = Ledger()

    def survivors() -> Iterator[dict]:
        for document in shards.read(documents / "kept"):
            verdict = reasons.get(document["id"], KEPT)
            ledger.add(verdict, document, characters_in=len(document["text"]))
            if verdict == KEPT:
                yield document

    kept = shards.write(out, survivors())
    shards.write_lines(out / "clusters.jsonl", map(asdict, groups))
    sizes = Counter(len(group.copies) + 1 for group in groups)
    journal.conclude(
        **ledger.report(documents_in=len(ids), documents_kept=kept),
        clusters=len(groups),
        cluster_sizes={str(size): count for size, count in sorted(sizes.items())},
        labelled=near.judgement(groups, labels),
    )


if __name__ == "__main__":
    enter(main)
