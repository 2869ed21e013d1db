"""Knows the document shard: how documents, and JSON lines about them, lie on disk between the data stages."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FIELDS = ("id", "text", "lang", "source", "license", "url", "label", "domain", "register", "kind")
SCORES = ("quality", "perplexity")  # 0 where nobody has judged
DOCUMENT_SCHEMA = pa.schema([(name, pa.string()) for name in FIELDS] + [(name, pa.float64()) for name in SCORES])
ROWS_PER_SHARD = 8192
ROWS_PER_GROUP = 1024  # read into memory at once
BYTES_PER_SHARD = 8 << 20  # small enough that two workers share even a small corpus, few enough files for a big one


class ShardError(ValueError):
    """A folder that holds no readable document shards."""


def paths(folder: Path) -> list[Path]:
    """The shards of a folder in reading order; ShardError if it has none."""
    if not (found := sorted(folder.glob("shard-*.parquet"))):
        raise ShardError(f"{folder}: no document shards in it; run the stage that writes them")
    return found


def read(folder: Path) -> Iterator[dict]:
    """Every document of a folder, one row group in memory at a time."""
    for path in paths(folder):
        yield from read_shard(path)


def read_shard(path: Path) -> Iterator[dict]:
    """Every document of one shard file."""
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS_PER_GROUP):
            yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise ShardError(f"{path}: not a readable document shard ({error}); delete it and rerun its stage") from error


def write(folder: Path, documents: Iterable[dict], *, rows_per_shard: int = ROWS_PER_SHARD) -> int:
    """Writes documents as shards of at most `rows_per_shard` rows and about 8 MiB of text; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    total, number, rows, size = 0, 0, [], 0
    for document in documents:
        rows.append(document)
        size += len(document["text"].encode())
        if len(rows) >= rows_per_shard or size >= BYTES_PER_SHARD:
            total += write_shard(folder / f"shard-{number:05d}.parquet", rows)
            number, rows, size = number + 1, [], 0
    if rows or number == 0:  # an empty stream still leaves one (empty) shard, so that readers find a folder of shards
        total += write_shard(folder / f"shard-{number:05d}.parquet", rows)
    return total


def write_lines(file: Path, records: Iterable[dict]) -> None:
    """Writes records as JSON lines, keys in the order given, Hangul as it is."""
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def write_shard(path: Path, documents: list[dict]) -> int:
    """Writes one shard file; missing fields become empty strings or 0; returns the number of rows."""
    columns = {name: [document.get(name) or "" for document in documents] for name in FIELDS}
    columns |= {name: [document.get(name) or 0.0 for document in documents] for name in SCORES}
    write_table(path, pa.table(columns, schema=DOCUMENT_SCHEMA))
    return len(documents)


def read_table(path: Path, columns: Sequence[str] = DOCUMENT_SCHEMA.names) -> pa.Table:
    """One shard's columns, on the calling thread alone."""
    schema = pa.schema([DOCUMENT_SCHEMA.field(name) for name in columns])
    try:
        return pq.ParquetFile(path).read(columns, use_threads=False).select(columns).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise ShardError(f"{path}: not a readable document shard ({error}); delete it and rerun its stage") from error


def write_table(path: Path, table: pa.Table) -> None:
    """Writes columns as one shard file."""
    pq.write_table(table, path, compression="zstd", row_group_size=ROWS_PER_GROUP)
