"""Knows how the headers of real artifacts are spoilt: field by field, each mutant a function of its seed."""

import random
import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

EDGES = [0, 1, 2, 3, 7, 8, 31, 32, 255, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32]
EDGES += [1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 32, (1 << 64) - 1]  # what code forgets to expect
WORDS = ["", "x" * 300, "../../etc/passwd", "/etc/passwd", "%n%s", "\x00", "\x1b[2J", "한", "logits", "input_ids"]
VALUES = ["null", "true", "-1", "0", "1e999", "NaN", "9" * 400, '""', '"\\ud800"', "[]", "{}", '"../x"', "[" * 3_000]
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[\[\]{}:,]')
NEAR = 4_000  # fields at either end that half of the changes hit: the middle of a vocabulary is all alike


class Field(NamedTuple):
    """Where a number or text of a header lies."""

    start: int
    size: int


Mutator = Callable[[random.Random], bytes]


def gguf(data: bytes) -> Mutator:
    """Changes counts, types, lengths, dims, offsets and letters of a GGUF's header `data`."""
    fields = _gguf_fields(data)
    header = data[: fields[-1].start + fields[-1].size]
    return lambda draw: _spoilt(header, fields, draw)


def safetensors(data: bytes) -> Mutator:
    """Changes the length or the JSON of a safetensors header."""
    spoil = document(data[8 : 8 + int.from_bytes(data[:8], "little")])

    def mutate(draw: random.Random) -> bytes:
        inner = spoil(draw)
        honest = draw.random() < 0.7
        return struct.pack("<Q", len(inner) if honest else draw.choice(EDGES)) + inner

    return mutate


def document(data: bytes) -> Mutator:
    """Replaces, doubles, drops or swaps values and marks of a JSON text; sometimes cuts it or flips a bit."""
    text = data.decode()
    spans = [Field(found.start(), found.end() - found.start()) for found in TOKEN.finditer(text)]

    def mutate(draw: random.Random) -> bytes:
        changed = text
        for at in sorted((_near(spans, draw) for _ in range(draw.randint(1, 2))), reverse=True):
            old, other = changed[at.start : at.start + at.size], draw.choice(spans)
            new = draw.choice([draw.choice(VALUES), text[other.start : other.start + other.size], old * 2, ""])
            changed = changed[: at.start] + new + changed[at.start + at.size :]
        return _byte_errors(changed.encode("utf-8", "surrogatepass"), draw, rate=0.1)

    return mutate


def onnx(data: bytes) -> Mutator:
    """Changes one field of one message anywhere in the model, keeping the wire sound; sometimes the wire itself."""
    from onnx import ModelProto

    def mutate(draw: random.Random) -> bytes:
        model = ModelProto.FromString(data)
        for _ in range(draw.randint(1, 2)):
            _change(model, draw)
        return _byte_errors(model.SerializeToString(), draw, rate=0.3)

    return mutate


def _change(message: Any, draw: random.Random) -> None:
    """Walks down at random and changes a value: an edge number, another text, one doubled, one dropped."""
    while fields := message.ListFields():
        field, value = draw.choice(fields)
        several = not isinstance(value, int | float | str | bytes) and hasattr(value, "__len__")
        if field.message_type is None:
            new = _value(field, draw)
            if not several:
                setattr(message, field.name, new)
            elif draw.random() < 0.3:
                value.append(new)
            else:
                value[draw.randrange(len(value))] = new
            return
        if draw.random() < 0.15:
            if several and draw.random() < 0.5:
                value.append(draw.choice(value))
            elif several:
                del value[draw.randrange(len(value))]
            else:
                message.ClearField(field.name)
            return
        message = draw.choice(value) if several else value


def _value(field: Any, draw: random.Random) -> Any:
    """A value that a field's type can hold and its reader may not."""
    if field.enum_type:
        return draw.choice(list(field.enum_type.values_by_number))
    if field.type in (field.TYPE_STRING, field.TYPE_BYTES):
        word = draw.choice(WORDS)
        return word.encode() if field.type == field.TYPE_BYTES else word
    if field.type in (field.TYPE_INT64, field.TYPE_INT32):
        bits = 64 if field.type == field.TYPE_INT64 else 32
        number = draw.choice(EDGES) % (1 << bits)
        return number - (1 << bits) if number >> bits - 1 else number
    return draw.choice(EDGES)


def _gguf_fields(data: bytes) -> list[Field]:
    found, at = [], 0

    def number(size: int) -> int:
        nonlocal at
        found.append(Field(at, size))
        at += size
        return int.from_bytes(data[at - size : at], "little")

    def text() -> None:
        nonlocal at
        if size := number(8):
            found.append(Field(at, size))
        at += size

    def value(kind: int) -> None:
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            inner, count = number(4), number(8)
            for _ in range(count):
                value(inner)
        else:
            number([1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][kind])

    number(4), number(4)
    tensors, keys = number(8), number(8)
    for _ in range(keys):
        text()
        value(number(4))
    for _ in range(tensors):
        text()
        for _ in range(number(4)):
            number(8)
        number(4), number(8)
    return found


def _spoilt(data: bytes, fields: list[Field], draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        start, size = _near(fields, draw)
        held = changed[start : start + size]
        if size > 8 or draw.random() < 0.1:
            held[draw.randrange(len(held)) if held else 0 : None] = draw.randbytes(1) if held else b""
            held = held.ljust(size, b"x")
        elif draw.random() < 0.2:
            other = draw.choice(fields)
            held = changed[other.start : other.start + size]
        else:
            near = int.from_bytes(held, "little") + draw.choice([-1, 1])
            held = (draw.choice([*EDGES, near, near]) % (1 << 8 * size)).to_bytes(size, "little")
        changed[start : start + size] = held
    return _byte_errors(bytes(changed), draw, rate=0.1)


def _near(fields: list[Field], draw: random.Random) -> Field:
    ends = fields[:NEAR] if draw.random() < 0.5 else fields[-NEAR:]
    return draw.choice(ends if draw.random() < 0.7 else fields)


def _byte_errors(data: bytes, draw: random.Random, *, rate: float) -> bytes:
    """At that rate: a bit flipped, a stretch doubled or dropped, or the end cut off."""
    if draw.random() >= rate or not data:
        return data
    at, much = draw.randrange(len(data)), draw.randint(1, 64)
    flipped = data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
    doubled, dropped = data[: at + much] + data[at:], data[:at] + data[at + much :]
    return draw.choice([flipped, flipped, doubled, dropped, data[:at]])
