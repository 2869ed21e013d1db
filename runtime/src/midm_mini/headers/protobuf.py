"""Knows protobuf's wire format: messages read by a schema of the fields allowed, weights left where they are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from midm_mini.headers.suspect import Suspect

FIELDS = 400_000  # of all messages: a real 48-layer export by optimum has about 100 k
TEXT = 64 << 10  # bytes of a string or of numbers inside a message; longer ones belong into raw_data
WHOLE, FLOAT, WHOLES, FLOATS, STRING, SPAN = "whole", "float", "wholes", "floats", "string", "span"
WIRE = {WHOLE: (0,), FLOAT: (5,), WHOLES: (0, 2), FLOATS: (5, 2)}  # all others are 2: a length, then as many bytes

Schema = Mapping[int, tuple[str, Any]]  # field number → its name and its kind: one of the above or a message's schema
Message = dict[str, list[Any]]  # field name → its values in order


class Span(NamedTuple):
    """Where bytes lie in the file."""

    start: int
    end: int


class Wire:
    """A protobuf file, mapped; the schema's own depth bounds the reading."""

    def __init__(self, file: Path) -> None:
        self.suspect = Suspect(file)
        self.data = self.suspect.mapped(self.suspect.size)
        self._left = FIELDS

    def message(self, schema: Schema, where: str, span: Span | None = None) -> Message:
        """The message in `span` (or the whole file), its submessages read too."""
        found: Message = defaultdict(list)
        data, (at, end) = self.data, span or (0, self.suspect.size)
        while at < end:
            self._left -= 1
            if not self._left:
                self.suspect.must(False, "the number of fields", FIELDS, "fewer")
            tag, at = (data[at], at + 1) if data[at] < 128 else self._varint(at, end, where)
            number, wire = tag >> 3, tag & 7
            if number not in schema:
                known = ", ".join(name for name, _ in schema.values())
                self.suspect.must(False, f"a field of {where}", number, f"{known}: no other can be used")
            name, kind = schema[number]
            wanted = WIRE.get(kind, (2,)) if isinstance(kind, str) else (2,)
            if wire not in wanted:
                self.suspect.must(False, f"wire type of {where}.{name}", wire, f"{wanted}")
            if wire == 0:
                value, at = self._varint(at, end, where)
                found[name].append(value)
                continue
            if wire == 2 and at < end and data[at] < 128:  # nearly all
                size, at = data[at], at + 1
            else:
                size, at = (4, at) if wire == 5 else self._varint(at, end, where)
            if not 0 <= size <= end - at:
                self.suspect.must(False, f"a field of {where}", f"{name}, {size} bytes", f"up to {end - at} bytes")
            span, at = Span(at, at + size), at + size
            found[name] += self._values(kind, span, f"{where}.{name}") if wire == 2 else [span]
        return found

    def one(self, message: Message, name: str, default: Any, where: str) -> Any:
        """The value of a field that stands once at most."""
        values = message[name]
        self.suspect.must(len(values) < 2, f"{where}.{name}", f"{len(values)} values", "one")
        return values[0] if values else default

    def _values(self, kind: Any, span: Span, where: str) -> Sequence[Any]:
        """What a length-delimited field holds."""
        if not isinstance(kind, str):
            return [self.message(kind, where, span)]
        at, end = span
        if kind is SPAN:
            return [span]
        if end - at > TEXT:
            self.suspect.must(False, f"{where}'s length", end - at, f"up to {TEXT}")
        if kind is STRING:
            return [self.suspect.decoded(self.data[at:end], where)]
        if kind is FLOATS:
            return self.data[at:end:4]  # only their number counts
        found = []
        while at < end:
            number, at = self._varint(at, end, where)
            found.append(number)
        return found

    def _varint(self, at: int, end: int, where: str) -> tuple[int, int]:
        """A number of up to 10 bytes as int64, and where it ends."""
        data, value = self.data, 0
        for shift, place in zip(range(0, 70, 7), range(at, end), strict=False):
            value |= (data[place] & 127) << shift
            if data[place] < 128:
                if value >> 64:
                    break
                return (value - (1 << 64) if value >> 63 else value), place + 1
        self.suspect.must(False, f"a number in {where}", "cut off or too long", "up to 64 bits inside its message")
        raise AssertionError
