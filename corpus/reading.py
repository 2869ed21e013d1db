"""Knows raw text files: reads folders of jsonl, parquet, txt and md, and turns every bad record into a verdict."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

TEXT_KEYS = ("text", "content", "document", "body")
FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".txt", ".md")


class ReadingError(ValueError):
    """A place that cannot be read at all: the message names the path and the remedy."""


@dataclass(frozen=True)
class Quarantined:
    """A record that is not a document: where it stands, why, and its beginning. `line` 0 means the whole file."""

    file: str
    line: int
    reason: str
    excerpt: str


def read_folder(folder: Path, *, max_record_bytes: int) -> Iterator[dict | Quarantined]:
    """Documents and quarantined records of all files below `folder`, in sorted order; hidden files are passed over.

    Raises ReadingError if the folder is missing, unreadable or holds no file in a known format.
    """
    try:
        files = sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix())
        if not any(path.name.endswith(FORMATS) for path in files):
            raise ReadingError(f"{folder}: no text in it; put {', '.join(FORMATS)} files there or name another folder")
        for path in files:
            yield from _read_file(path, _string(path.relative_to(folder).as_posix()), max_record_bytes)
    except OSError as error:
        cause = str(error.strerror).lower()
        raise ReadingError(f"{error.filename}: {cause}; make it readable (chmod -R a+rX)") from None


def rows(path: Path, name: str, *, max_record_bytes: int) -> Iterator[object]:
    """tmp"""
    for line, raw in enumerate(_raw_records(path, max_record_bytes), start=1):
        if raw.strip():
            yield json.loads(raw)


def as_document(record: object, *, file: str, line: int, text_keys: tuple[str, ...] = TEXT_KEYS) -> dict | Quarantined:
    """A parsed record as a document; a row with `ko` and `en` and no text becomes one bilingual document."""
    if not isinstance(record, dict):
        return Quarantined(file, line, "not_an_object", _string(record)[:80])
    text = next((record[key] for key in text_keys if record.get(key) is not None), None)
    if text is None and isinstance(record.get("ko"), str) and isinstance(record.get("en"), str):
        text = f"{record['ko']}\n{record['en']}"
    reason = (
        "missing_text" if text is None
        else "text_not_a_string" if not isinstance(text, str)
        else "nul_character" if "\0" in text
        else "empty_text" if not text.strip()
        else "lone_surrogate" if text != _string(text)
        else None
    )  # fmt: skip
    if reason:
        return Quarantined(file, line, reason, _string(record)[:80])
    source = _string(record.get("source")) or Path(file).name.split(".")[0]
    fields = {name: _string(record.get(name)) for name in ("lang", "license", "url", "label")}
    return {"id": _string(record.get("id")) or f"{file}:{line}", "text": text, "source": source, **fields}


def with_distinct_ids(records: Iterator[dict | Quarantined]) -> Iterator[dict | Quarantined]:
    """The same records; an id seen before gets its source in front, and a number behind."""
    seen: Counter[str] = Counter()
    for record in records:
        if isinstance(record, dict):
            name = record["id"]
            while seen[record["id"]]:
                seen[name] += 1
                record["id"] = f"{record['source']}/{name}#{seen[name]}"
            seen[record["id"]] = 1
        yield record


def _string(value: object) -> str:
    return "" if value is None else str(value).encode("utf-8", "replace").decode("utf-8")


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ReadingError(f"{folder}: no such folder; check the path given as TEXT= or ingest.text")

    def refuse(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if Path(root, name).is_symlink()]  # not followed: they may form a loop
        yield from (Path(root, name) for name in names + links if not name.startswith("."))


def _read_file(path: Path, name: str, limit: int) -> Iterator[dict | Quarantined]:
    line = 0
    try:
        if not path.is_file() or not name.endswith(FORMATS):
            yield Quarantined(name, 0, "unknown_format" if path.is_file() else "not_a_file", "")
            return
        for line, raw in enumerate(_raw_records(path, limit), start=1):
            if not isinstance(raw, bytes) or raw.strip() or len(raw) > limit:
                yield _parse(raw, name, line, limit)
    except PermissionError:
        raise
    except Exception as error:  # arrow has errors of every kind: not implemented, out of memory, no such time zone
        yield Quarantined(name, line + 1, "damaged_file", " ".join(_string(error).split())[:80])


def _parse(raw: bytes | Callable[[], object], name: str, line: int, limit: int) -> dict | Quarantined:
    """A line, a text, or a parquet row, which becomes Python values only here, so that a bad row stands alone."""
    excerpt = raw[:80].decode("utf-8", "replace") if isinstance(raw, bytes) else ""
    try:
        record = raw if isinstance(raw, bytes) else raw()
        if len(raw if isinstance(raw, bytes) else str(record).encode()) > limit:
            return Quarantined(name, line, "record_too_large", excerpt)
        if isinstance(raw, bytes):
            text = raw.decode("utf-8-sig")
            record = {"text": text} if name.endswith((".txt", ".md")) else json.loads(text)
        return as_document(record, file=name, line=line)
    except (ValueError, RecursionError, ArithmeticError, LookupError) as error:
        broken = "broken_json" if isinstance(raw, bytes) else "broken_row"
        return Quarantined(name, line, "invalid_utf8" if isinstance(error, UnicodeDecodeError) else broken, excerpt)


def _raw_records(path: Path, limit: int) -> Iterator[bytes | Callable[[], object]]:
    """A parquet file's rows, a text file as a whole, or the lines of a possibly compressed jsonl file."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches(batch_size=64):  # few: a batch is in memory at once
            yield from (row.as_py for row in batch.to_struct_array())
    elif path.suffix == ".zst":
        import pyarrow as pa

        with path.open("rb") as file, pa.input_stream(file, compression="zstd") as stream:
            yield from _lines(iter(partial(stream.read, 1024), b""), limit)
    else:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            lines = _lines(iter(partial(stream.read1, 1024), b""), limit)
            yield from [stream.read(limit + 1)] if path.suffix in (".txt", ".md") else lines


def _lines(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Lines of a byte stream, given in short pieces: a decoder loses the piece that holds the damage.

    Of a line beyond `limit` bytes no more than one piece too many is kept in memory.
    """
    rest = bytearray()
    for piece in pieces:
        *lines, tail = piece.split(b"\n")
        for line in lines:
            yield bytes(rest) + line
            rest.clear()
        if len(rest) <= limit:
            rest += tail
    yield bytes(rest)
