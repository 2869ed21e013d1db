"""Knows raw text files: reads folders of jsonl, parquet, txt and md, and turns every bad record into a verdict."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from corpus.gzipped import PIECE, inflated

TEXT_KEYS = ("text", "content", "document", "body")
FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".txt", ".md")
Raw = bytes | Callable[[], object]  # a line, a text, or a parquet row, of which Python values are made later


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
    """Documents and quarantined records of all files below `folder`, in the order of `files`, known by `file_name`."""
    for path in files(folder):
        yield from read_file(path, file_name(path, folder), max_record_bytes=max_record_bytes)


def files(folder: Path) -> list[Path]:
    """All files below a folder, sorted by name; hidden ones are passed over, linked folders are not entered.

    Raises ReadingError if the folder is missing, unreadable or holds no file in a known format.
    """
    try:
        found = sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix())
    except OSError as error:
        raise _refused(error) from None
    if not any(path.name.endswith(FORMATS) for path in found):
        raise ReadingError(f"{folder}: no text in it; put {', '.join(FORMATS)} files there or name another folder")
    return found


def file_name(path: Path, folder: Path) -> str:
    """The name by which records speak of a file below a folder."""
    return _string(path.relative_to(folder).as_posix())


def read_file(path: Path, name: str, *, max_record_bytes: int) -> Iterator[dict | Quarantined]:
    """The documents and quarantined records of one file, known as `name`; ReadingError if it may not be read.

    Damage is a record of its own. All that stands before it is kept, and reading goes on behind it where the format
    shows where: at the next line, gzip member or parquet row group.
    """
    return _read(path, name, max_record_bytes, as_document)


def read_rows(
    path: Path, name: str, *, max_record_bytes: int, make: Callable = lambda record, **_: record
) -> Iterator[Any]:
    """The parsed records of one file, or what `make(record, file=, line=)` makes of them, and the quarantined ones."""
    return _read(path, name, max_record_bytes, make)


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
        else "empty_text" if not text or text.isspace()
        else "lone_surrogate" if not _writable(text)
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


def _writable(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _string(value: object) -> str:
    text = "" if value is None else str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _refused(error: OSError) -> ReadingError:
    return ReadingError(f"{error.filename}: {str(error.strerror).lower()}; make it readable (chmod -R a+rX)")


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ReadingError(f"{folder}: no such folder; check the path given as TEXT= or ingest.text")

    def refuse(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if Path(root, name).is_symlink()]  # not followed: they may form a loop
        yield from (Path(root, name) for name in names + links if not name.startswith("."))


def _read(path: Path, name: str, limit: int, make: Callable) -> Iterator:
    line = 0
    try:
        if not path.is_file() or not name.endswith(FORMATS):
            yield Quarantined(name, 0, "unknown_format" if path.is_file() else "not_a_file", "")
            return
        for raw, damage in _raw_records(path, limit):
            blank = isinstance(raw, bytes) and len(raw) <= limit and (not raw or raw.isspace())
            record = None if blank else _parse(raw, name, line + 1, limit, make)
            cut = damage is not None and (record is None or isinstance(record, Quarantined))  # its verdict is `damage`
            line += not cut
            if record is not None and not cut:
                yield record
            if damage is not None:
                line += 1
                yield Quarantined(name, line, "damaged_file", _said(damage))
    except PermissionError as error:
        raise _refused(error) from None
    except Exception as error:  # whatever a file system may say: reading one file never stops the others
        yield Quarantined(name, line + 1, "damaged_file", _said(error))


def _said(error: Exception) -> str:
    return " ".join(_string(error).split())[:80]


def _parse(raw: Raw, name: str, line: int, limit: int, make: Callable) -> object:
    excerpt = raw[:80].decode("utf-8", "replace") if isinstance(raw, bytes) else ""
    try:
        record = raw if isinstance(raw, bytes) else raw()
        if len(raw if isinstance(raw, bytes) else str(record).encode()) > limit:
            return Quarantined(name, line, "record_too_large", excerpt)
        if isinstance(raw, bytes):
            record = {"text": raw.decode("utf-8-sig")} if name.endswith((".txt", ".md")) else _loads(raw)
        return make(record, file=name, line=line)
    except (ValueError, RecursionError, ArithmeticError, LookupError) as error:
        broken = "broken_json" if isinstance(raw, bytes) else "broken_row"
        return Quarantined(name, line, "invalid_utf8" if isinstance(error, UnicodeDecodeError) else broken, excerpt)


def _loads(raw: bytes) -> object:
    import orjson

    try:
        return orjson.loads(raw)
    except ValueError:  # orjson is faster and stricter than json, which therefore has the last word
        return json.loads(raw.decode("utf-8-sig"))


def _raw_records(path: Path, limit: int) -> Iterator[tuple[Raw, Exception | None]]:
    """A parquet file's rows, a text file as a whole, or the lines of a possibly compressed jsonl file.

    Damage is an exception, which comes with what there is of the record that it stands in.
    """
    if path.suffix == ".parquet":
        yield from _rows(path)
    elif path.suffix == ".zst":
        yield from _lines(_unpacked(path), limit)
    else:
        with path.open("rb") as file:
            if path.suffix in (".txt", ".md"):
                yield file.read(limit + 1), None
            else:
                pieces = iter(partial(file.read, PIECE), b"")
                yield from _lines(inflated(pieces) if path.suffix == ".gz" else pieces, limit)


def _lines(pieces: Iterator[bytes | Exception], limit: int) -> Iterator[tuple[bytes, Exception | None]]:
    """Lines of a byte stream; of a line beyond `limit` bytes no more than one piece too many is kept in memory."""
    rest = bytearray()
    for piece in pieces:
        if isinstance(piece, Exception):
            yield bytes(rest), piece
            rest.clear()
            continue
        *lines, tail = piece.split(b"\n")
        if lines:
            yield bytes(rest) + lines[0], None
            rest.clear()
            for line in lines[1:]:
                yield line, None
        if len(rest) <= limit:
            rest += tail
    yield bytes(rest), None


def _unpacked(path: Path) -> Iterator[bytes | Exception]:
    """The content of a zstd file; a decoder loses the piece with the damage, so that one is read again in bytes."""
    import pyarrow as pa

    done = 0
    for size in (PIECE, 1):
        with path.open("rb") as file, pa.input_stream(file, compression="zstd") as stream:
            try:
                for start in range(0, done, PIECE):
                    stream.read(min(PIECE, done - start))
                while piece := stream.read(size):
                    done += len(piece)
                    yield piece
                return
            except (pa.ArrowException, OSError) as error:
                damage = error
    yield damage


def _rows(path: Path) -> Iterator[tuple[Raw, Exception | None]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        try:
            for batch in file.iter_batches(batch_size=64, row_groups=[group]):  # few: a batch is in memory at once
                yield from ((row.as_py, None) for row in batch.to_struct_array())
        except Exception as error:  # arrow has errors of every kind: not implemented, out of memory, no such time zone
            yield b"", error
