"""Knows the safetensors header: JSON at the front, and tensors that cover the rest of the file without holes."""

import math
from pathlib import Path

from midm_mini.headers.suspect import MIB, Suspect

HEADER, TENSORS, NAME = 16 * MIB, 16_384, 256  # a 48-layer Llama has 435 tensors and 50 KB of header
BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}
BYTES |= {"I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8}


def check(file: Path) -> None:
    """MidmError unless `file` is a sound safetensors file; reads its header only."""
    suspect = Suspect(file)
    length = int.from_bytes(suspect.head(8), "little")
    suspect.whole(length, "the header's length", 2, min(HEADER, suspect.size - 8))
    data = suspect.head(8 + length)[8:]
    suspect.must(data[:1] == b"{", "the header's first byte", data[:1], "{")
    tensors = suspect.parsed(data, "the header")
    notes = tensors.pop("__metadata__", {})
    texts = isinstance(notes, dict) and all(isinstance(note, str) for note in notes.values())
    suspect.must(texts, "__metadata__", type(notes).__name__, "an object of texts")
    suspect.whole(len(tensors), "the number of tensors", 1, TENSORS)
    spans = sorted(_span(suspect, name, info) for name, info in tensors.items())
    last = 0
    for start, end, name in spans:
        suspect.must(start == last, f"tensor {name}'s data_offsets", start, f"{last}, where the one before ends")
        last = end
    suspect.must(8 + length + last == suspect.size, "the file's size", suspect.size, f"{8 + length + last}, as it says")


def _span(suspect: Suspect, name: str, info: object) -> tuple[int, int, str]:
    plain = 0 < len(name) <= NAME and name.isascii() and name.isprintable()
    suspect.must(plain, "a tensor's name", name, f"1 to {NAME} printable ASCII letters")
    fields = {"dtype", "shape", "data_offsets"}
    suspect.must(isinstance(info, dict) and info.keys() == fields, f"tensor {name}", info, ", ".join(sorted(fields)))
    dtype, shape, offsets = (info[field] for field in ("dtype", "shape", "data_offsets"))  # type: ignore[index]
    known = isinstance(dtype, str) and dtype in BYTES
    suspect.must(known, f"tensor {name}'s dtype", dtype, ", ".join(BYTES))
    suspect.must(isinstance(shape, list) and len(shape) <= 8, f"tensor {name}'s shape", shape, "up to 8 dims")
    for dim in shape:
        suspect.whole(dim, f"tensor {name}'s dim", 1, 1 << 40)
    both = isinstance(offsets, list) and len(offsets) == 2
    suspect.must(both, f"tensor {name}'s data_offsets", offsets, "start and end")
    start, end = (suspect.whole(offset, f"tensor {name}'s data_offsets", 0, suspect.size) for offset in offsets)
    wanted = math.prod(shape) * BYTES[dtype]
    suspect.must(end - start == wanted, f"tensor {name}'s bytes", end - start, f"{wanted}, by dtype and shape")
    return start, end, name
