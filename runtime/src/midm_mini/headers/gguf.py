"""Knows the GGUF container: metadata and tensor infos read in pure Python, every count, length and offset checked."""

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

from midm_mini.headers.suspect import KIB, MIB, Suspect

HEADER = 32 * MIB  # metadata and tensor infos: a 131k vocabulary takes 5 MB, Llama 3's 8 MB, a 262k one 16 MB
TENSORS, KEYS, STRINGS = 16_384, 4_096, 700_000  # Llama 3 has 280,147 merges, the largest known vocabulary 515 k
KEY, NAME, TOKEN, TEXT = 256, 63, 4 * KIB, MIB  # bytes of a key, a tensor's name, a string in an array, a lone one
ARRAY = 4 * MIB  # bytes of an array of numbers: a type of 4 bytes for each token of the largest vocabulary
SCALARS = {0: ("u8", "B"), 1: ("i8", "b"), 2: ("u16", "H"), 3: ("i16", "h"), 4: ("u32", "I"), 5: ("i32", "i")}
SCALARS |= {6: ("f32", "f"), 7: ("bool", "B"), 10: ("u64", "Q"), 11: ("i64", "q"), 12: ("f64", "d")}
TYPES = {  # ggml's number → name, values in a block, bytes of a block: those that its CPU code multiplies with
    **{0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20)},
    **{6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110)},
    **{12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66)},
    **{17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18)},
    **{21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56)},
}


class Value(NamedTuple):
    """A metadata value and its type: "u32", "str", "[str]", "[i32]" …"""

    kind: str
    value: Any


class Tensor(NamedTuple):
    """What a tensor info says; `shape` as GGUF writes it, row length first."""

    shape: tuple[int, ...]
    kind: str


class Header(NamedTuple):
    """Metadata by key and tensors by name."""

    metadata: dict[str, Value]
    tensors: dict[str, Tensor]


def read(file: Path) -> tuple[Suspect, Header]:
    """Reads the header of `file`; MidmError when the container itself is not sound."""
    suspect = Suspect(file)
    reader = _Reader(suspect)
    suspect.must(reader.take(4, "magic") == b"GGUF", "magic", reader.data[:4], "GGUF")
    suspect.whole(reader.number("I", "version"), "version", 2, 3)
    counts = [(TENSORS, "tensor_count"), (KEYS, "kv_count")]
    tensors, keys = (suspect.whole(reader.number("Q", field), field, 1, most) for most, field in counts)
    metadata: dict[str, Value] = {}
    for index in range(keys):
        key = reader.string(f"key {index}", KEY)
        suspect.must(key.isascii() and key.isprintable() and key not in metadata, f"key {index}", key, "ASCII, once")
        metadata[key] = reader.value(key)
    kind, alignment = metadata.get("general.alignment", Value("u32", 32))
    power = kind == "u32" and 8 <= alignment <= 65_536 and alignment & (alignment - 1) == 0
    suspect.must(power, "general.alignment", alignment, "u32, a power of two from 8 to 65536")
    return suspect, Header(metadata, _tensors(reader, tensors, alignment))


def _tensors(reader: "_Reader", count: int, alignment: int) -> dict[str, Tensor]:
    """The tensor infos: aligned, inside the file, none over another."""
    suspect, found, spans = reader.suspect, dict[str, Tensor](), list[tuple[int, int, str]]()
    for index in range(count):
        name = reader.string(field := f"tensor {index}'s name", NAME)
        suspect.must(name.isascii() and name.isprintable() and name not in found, field, name, "printable ASCII, once")
        rank = suspect.whole(reader.number("I", field := f"tensor {name}'s n_dims"), field, 1, 4)
        shape = tuple(suspect.whole(reader.number("Q", name), f"tensor {name}'s dims", 1, 1 << 40) for _ in range(rank))
        suspect.must((kind := reader.number("I", name)) in TYPES, f"tensor {name}'s type", kind, "a type of weights")
        label, block, size = TYPES[kind]
        suspect.must(shape[0] % block == 0, f"tensor {name}'s row", shape[0], f"a multiple of {label}'s {block}")
        start, length = reader.number("Q", name), math.prod(shape) // block * size
        suspect.must(start % alignment == 0, f"tensor {name}'s offset", start, f"a multiple of {alignment}")
        spans.append((start, start + length, name))
        found[name] = Tensor(shape, label)
    data = -(-reader.at // alignment) * alignment
    last, before = 0, ""
    for start, end, name in sorted(spans):
        suspect.must(start >= last, f"tensor {name}'s offset", start, f"{last} or more, after {before}")
        suspect.must(data + end <= suspect.size, f"tensor {name}'s end", data + end, f"up to {suspect.size}, the file")
        last, before = end, name
    return found


class _Reader:
    """Reads little-endian values one after the other from the first bytes of a file."""

    def __init__(self, suspect: Suspect) -> None:
        self.suspect, self.at, self.data = suspect, 0, suspect.mapped(HEADER)

    def take(self, size: int, field: str) -> bytes:
        if size > len(self.data) - self.at:
            self.suspect.must(False, field, "cut off", f"the whole header inside the file and {HEADER} bytes")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, code: str, field: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), field))[0]

    def string(self, field: str, most: int) -> str:
        size = self.suspect.whole(self.number("Q", field), f"length of {field}", 1, most)
        return self.suspect.decoded(self.take(size, field), field)

    def value(self, key: str) -> Value:
        kind = self.number("I", f"type of {key}")
        if kind == 8:
            size = self.suspect.whole(self.number("Q", key), f"length of {key}", 0, TEXT)
            return Value("str", self.suspect.decoded(self.take(size, key), key))
        if kind == 9:
            return self._array(key)
        self.suspect.must(kind in SCALARS, f"type of {key}", kind, "0 to 12")
        name, code = SCALARS[kind]
        value = self.number(code, key)
        self.suspect.must(name != "bool" or value < 2, key, value, "0 or 1")
        return Value(name, value)

    def _array(self, key: str) -> Value:
        kind, count = self.number("I", f"type of {key}"), self.number("Q", f"count of {key}")
        if kind == 8:
            self.suspect.whole(count, f"count of {key}", 0, STRINGS)
            return Value("[str]", self._strings(count, key))
        self.suspect.must(kind in SCALARS, f"type of {key}'s elements", kind, "0 to 8 or 10 to 12, not arrays")
        name, code = SCALARS[kind]
        self.suspect.whole(count, f"count of {key}", 0, ARRAY // struct.calcsize(code))
        return Value(f"[{name}]", struct.unpack(f"<{count}{code}", self.take(count * struct.calcsize(code), key)))

    def _strings(self, count: int, key: str) -> list[str]:
        """A vocabulary takes most of the time here: hence one call per length, and one for all texts."""
        data, at, found, length = self.data, self.at, [], struct.Struct("<Q").unpack_from
        self.suspect.must(8 * count <= len(data) - at, f"count of {key}", count, "what the file has room for")
        add, last = found.append, len(data) - 8
        for _ in range(count):
            (size,) = length(data, at) if at <= last else (TOKEN + 1,)
            if size > TOKEN:
                self.suspect.must(False, f"length of {key}[{len(found)}]", size, f"up to {TOKEN}, inside the header")
            at += 8
            add(data[at : (at := at + size)])
        self.take(at - self.at, key)
        texts = self.suspect.decoded(b"\0".join(found), key).split("\0") if found else []
        self.suspect.must(len(texts) == count, key, "a text with a NUL", "texts without")
        return texts
