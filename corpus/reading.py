"""Knows raw text files: reads folders of jsonl, parquet, txt and md, and turns every bad record into a verdict."""

import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator
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
            yield from _read_file(path, path.relative_to(folder).as_posix(), max_record_bytes)
    except PermissionError as error:
        raise ReadingError(f"{error.filename}: permission denied; make it readable (chmod -R a+rX)") from None


def as_document(record: object, *, file: str, line: int, text_keys: tuple[str, ...] = TEXT_KEYS) -> dict | Quarantined:
    """A parsed record as a document; a row with `ko` and `en` and no text becomes one bilingual document."""
    if not isinstance(record, dict):
        return Quarantined(file, line, "not_an_object", str(record)[:80])
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
        yield from (Path(root, name) for name in names if not name.startswith("."))


def _read_file(path: Path, name: str, limit: int) -> Iterator[dict | Quarantined]:
    if not path.is_file() or not name.endswith(FORMATS):
        yield Quarantined(name, 0, "unknown_format" if path.is_file() else "not_a_file", "")
        return
    line = 0
    try:
        for line, raw in enumerate(_raw_records(path, limit), start=1):
            if isinstance(raw, dict):
                yield as_document(raw, file=name, line=line)
            elif raw.strip():
                yield _parse(raw, name, line, limit)
    except PermissionError:
        raise
    except (EOFError, zlib.error, OSError, ValueError) as error:  # arrow's own errors are OSError or ValueError
        yield Quarantined(name, line + 1, "damaged_file", " ".join(str(error).split())[:80])


def _parse(raw: bytes, name: str, line: int, limit: int) -> dict | Quarantined:
    excerpt = raw[:80].decode("utf-8", "replace")
    if len(raw) > limit:
        return Quarantined(name, line, "record_too_large", excerpt)
    try:
        text = raw.decode("utf-8-sig")
        return as_document({"text": text} if name.endswith((".txt", ".md")) else json.loads(text), file=name, line=line)
    except UnicodeDecodeError:
        return Quarantined(name, line, "invalid_utf8", excerpt)
    except (ValueError, RecursionError):
        return Quarantined(name, line, "broken_json", excerpt)


def _raw_records(path: Path, limit: int) -> Iterator[bytes | dict]:
    """A parquet file's rows, a text file as a whole, or the lines of a possibly compressed jsonl file."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    elif path.suffix == ".zst":
        import pyarrow as pa

        with path.open("rb") as file, pa.input_stream(file, compression="zstd") as stream:
            pieces = iter(partial(stream.read, 1024), b"")  # short: arrow loses the piece that holds the damage
            yield from _lines(pieces, limit)
    else:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            lines = _lines(iter(partial(stream.read1, 1 << 16), b""), limit)
            yield from [stream.read(limit + 1)] if path.suffix in (".txt", ".md") else lines


def _lines(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Lines of a byte stream; of a line beyond `limit` bytes no more than one piece too many is kept in memory."""
    rest = bytearray()
    for piece in pieces:
        *lines, tail = piece.split(b"\n")
        for line in lines:
            yield bytes(rest) + line
            rest.clear()
        if len(rest) <= limit:
            rest += tail
    if rest:
        yield bytes(rest)


def rows(path: Path, name: str, *, max_record_bytes: int) -> Iterator[dict]:
    """Stand-in until contam's lands."""
    for raw in _raw_records(path, max_record_bytes):
        if isinstance(raw, dict):
            yield raw
        elif raw.strip():
            yield json.loads(raw)
