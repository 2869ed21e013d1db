"""Removes exact and near copies: of documents that say the same, the one with the smallest id stays."""

import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from corpus import copies, engine, near, shards
from corpus.ledger import Ledger
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter


class Params(StageParams):
    """MinHash settings."""

    bands: int  # bands of the signature; two documents are compared when they agree in one
    rows: int  # hashes per band
    shingle: int  # units (Korean syllables, other words) per element of a document's set
    similarity: float  # share of equal hashes (an estimate of Jaccard similarity) from which documents say the same


def main(*, documents: Path, out: Path, scratch: Path, params: Params, journal: Journal) -> None:
    """Writes the surviving shards and clusters.jsonl: who stayed, who went and why; done shards lie in `scratch`."""
    paths, hashes = shards.paths(documents / "kept"), params.bands * params.rows
    named = {path.name: path for path in paths}
    work = partial(copies.sign, out=scratch, hashes=hashes, shingle=params.shingle)
    signed = {}
    for name, result in engine.over(named, work, done=scratch / "signed"):
        signed[name] = result
        journal.progress(len(signed), len(paths), "shards")
    total = sum(result.documents for result in signed.values())
    if not total:
        raise StageError(f"{documents}/kept: no documents; the filter dropped every one, see its report")
    marks = copies.gather(paths, scratch, hashes=hashes)
    ids = marks.ids.to_pylist()
    found = near.clusters(ids, marks.prints, marks.signatures, bands=params.bands, similarity=params.similarity)
    groups = list(found)
    reasons = {name: reason for group in groups for name, reason in group.copies.items()}
    dropped = pa.table({"id": pa.array(reasons, pa.string()), "reason": pa.array(reasons.values(), pa.string())})
    pq.write_table(dropped, scratch / "dropped.parquet")
    keep = partial(copies.keep, out=scratch / "kept", dropped=scratch / "dropped.parquet")
    ledger, kept = Ledger(), 0
    for name, part in sorted(engine.over(named, keep, done=scratch / "parted")):
        ledger.merge(part)
        kept += pq.read_metadata(shutil.move(scratch / "kept" / name, out / name)).num_rows
    shards.write_lines(out / "clusters.jsonl", map(asdict, groups))
    labels = {name: label for name in named for name, label in signed[name].labels.items()}
    journal.conclude(
        **ledger.report(documents_in=total, documents_kept=kept),
        clusters=len(groups),
        cluster_sizes=copies.sizes(groups),
        labelled=near.judgement(groups, labels),
    )


if __name__ == "__main__":
    enter(main)
