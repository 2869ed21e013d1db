"""Knows how copies are found and removed in shards: signatures per shard on disk, then who stays, then the rest."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus import near, shards
from corpus.ledger import KEPT, Ledger


class Signed(NamedTuple):
    """What is small of a signed shard."""

    documents: int
    labels: dict[str, str]  # id → true label, where there is one


class Marks(NamedTuple):
    """Signatures of all documents, in the order of shards."""

    ids: pa.ChunkedArray
    prints: np.ndarray  # uint64 [documents]
    signatures: np.ndarray  # uint32 [documents, hashes], a file mapped into memory


def sign(path: Path, *, out: Path, hashes: int, shingle: int) -> Signed:
    """Writes the signatures of a shard's documents to out."""
    table = pq.read_table(path, columns=["id", "text", "label"])
    texts = [near.units(text) for text in table["text"].to_pylist()]
    np.save(out / f"{path.name}.prints.npy", near.fingerprints(texts))
    marks = near.signatures(texts, hashes=hashes, shingle=shingle) if texts else np.zeros((0, hashes), np.uint32)
    np.save(out / f"{path.name}.marks.npy", marks.astype(np.uint32))
    labelled = table.filter(pc.not_equal(table["label"], ""))
    return Signed(len(texts), dict(zip(labelled["id"].to_pylist(), labelled["label"].to_pylist(), strict=True)))


def gather(paths: list[Path], folder: Path, *, hashes: int) -> Marks:
    """Signatures that `sign` wrote to `folder`, in one file that is mapped and not read."""
    with (folder / "signatures.bin").open("wb") as stream:
        for path in paths:
            np.load(folder / f"{path.name}.marks.npy").tofile(stream)
    prints = np.concatenate([np.load(folder / f"{path.name}.prints.npy") for path in paths])
    if not len(prints):
        return Marks(pa.chunked_array([], pa.string()), prints, np.zeros((0, hashes), np.uint32))
    ids = pa.chunked_array([pq.read_table(path, columns=["id"])["id"].combine_chunks() for path in paths])
    file = np.memmap(folder / "signatures.bin", dtype=np.uint32, mode="r", shape=(len(prints), hashes))
    return Marks(ids, prints, file)


def keep(path: Path, *, out: Path, dropped: Path) -> Ledger:
    """Writes a shard without the documents that the table `dropped` (id, reason) names."""
    table, gone = pq.read_table(path), pq.read_table(dropped)
    found = pc.index_in(table["id"], gone["id"].combine_chunks())
    verdicts = pc.fill_null(pc.take(gone["reason"], found), KEPT).to_pylist()
    kept = table.filter(pc.is_null(found))
    out.mkdir(exist_ok=True)
    pq.write_table(kept, out / path.name, compression="zstd", row_group_size=shards.ROWS_PER_GROUP)
    ledger = Ledger()
    columns = [table[name].to_pylist() for name in ("source", "lang", "label")]
    sizes = pc.utf8_length(table["text"]).to_pylist()
    for verdict, size, *key in zip(verdicts, sizes, *columns, strict=True):
        ledger.book(verdict, *key, characters_in=size, characters_out=size)
    return ledger


def sizes(groups: list[near.Cluster]) -> dict[str, int]:
    """How many clusters have 2, 3, … members."""
    counted = Counter(len(group.copies) + 1 for group in groups)
    return {str(size): count for size, count in sorted(counted.items())}
