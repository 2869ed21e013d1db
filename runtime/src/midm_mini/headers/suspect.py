"""Knows how a file that nobody vouches for is read: bounded, and every refusal names file, field, found and allowed."""

import json
import mmap
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midm_mini.format import MidmError

KIB, MIB = 1 << 10, 1 << 20
# What json.loads may be made to build, counted before it runs: a Llama-3 tokenizer.json has 1.0 M commas, 0.3 M lists.
MOST = {b",": 1_500_000, b"[": 700_000, b"{": 50_000}


class Suspect:
    """One file under suspicion. It may be a link (a user's or DVC's), but must lead to a regular file with content."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            status = os.stat(file)
        except OSError as error:
            raise MidmError(f"{file}: {error.strerror}; give a whole exported artifact") from None
        self.must(stat.S_ISREG(status.st_mode), "the file", stat.filemode(status.st_mode), "a regular file")
        self.size = status.st_size
        self.must(self.size > 0, "the file", "empty", "some content")

    def must(self, holds: object, field: str, found: object, allowed: str) -> None:
        """Raises MidmError unless `holds`."""
        if not holds:
            shown = found if isinstance(found, str) and found.isidentifier() else repr(found)
            shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
            raise MidmError(f"{self.file}: {field} is {shown}; allowed: {allowed}; export it anew or get it anew")

    def head(self, most: int) -> bytes:
        """The first bytes, at most `most`."""
        with self.file.open("rb") as stream:
            return stream.read(most)

    def mapped(self, most: int) -> mmap.mmap:
        """As `head`, but only what is looked at is read: copying 32 MiB took 20 ms of a gigabyte's 950 to start."""
        with self.file.open("rb") as stream:
            return mmap.mmap(stream.fileno(), min(self.size, most), access=mmap.ACCESS_READ)

    def text(self, *, most: int) -> str:
        """The whole file as UTF-8."""
        self.must(self.size <= most, "its size", self.size, f"up to {most} bytes")
        return self.decoded(self.head(most), "the text")

    def json(self, *, most: int) -> dict[str, Any]:
        """The whole file as one JSON object without doubled keys."""
        self.must(self.size <= most, "its size", self.size, f"up to {most} bytes")
        return self.parsed(self.head(most), "the JSON")

    def parsed(self, data: bytes, field: str) -> dict[str, Any]:
        """`data` as one JSON object; what would take long or much memory is refused before it is parsed."""
        for mark, most in MOST.items():
            self.must((count := data.count(mark)) <= most, f"{field}'s number of {mark.decode()}", count, f"{most}")
        try:
            found = json.loads(self.decoded(data, field), object_pairs_hook=unique_keys, parse_constant=_constant)
        except (ValueError, RecursionError) as error:
            raise MidmError(f"{self.file}: {field} is no sound JSON ({error}); export it anew or get it anew") from None
        self.must(isinstance(found, dict), field, type(found).__name__, "one object")
        return found

    def decoded(self, data: bytes, field: str) -> str:
        """`data` as UTF-8 text."""
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MidmError(f"{self.file}: {field} is not UTF-8 ({error.reason}); export it anew") from None

    def whole(self, value: object, field: str, low: int, high: int) -> int:
        """`value` as an int from `low` to `high`; True is none."""
        self.must(type(value) is int and low <= value <= high, field, value, f"a whole number from {low} to {high}")
        return value  # type: ignore[return-value]

    def only(self, values: Mapping[str, Any], field: str, names: Mapping[str, object] | frozenset[str]) -> None:
        """Every key must stand in `names`; what is not known could be an option of the library behind."""
        strange = sorted(set(values) - set(names))
        self.must(not strange, f"{field} has a key that", ", ".join(strange), ", ".join(sorted(names)))


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of `pairs`; a key that stands twice is no JSON here."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
