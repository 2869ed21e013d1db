"""Proves that sound files pass quickly, that spoilt safetensors are refused by field, and that none takes long."""

import tracemalloc
from pathlib import Path

import pytest
from midm_mini import MidmError, headers
from midm_mini.format import CHAT_TEMPLATE
from midm_mini.headers import safetensors

from export import checkpoint
from export.checkpoint import CheckpointError, Parent
from tests.runtime import crafted

TENSOR = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
HALVES = {"a": TENSOR | {"shape": [2], "data_offsets": [0, 8]}, "b": TENSOR | {"shape": [2], "data_offsets": [8, 16]}}
SAFETENSORS: dict[str, tuple[bytes, str]] = {  # what is wrong → the file, the field named
    "nothing but a length": (b"\x10" + b"\0" * 7, "the header's length"),
    "a header longer than the file": (crafted.safetensors({"a": TENSOR}, length=1 << 20), "the header's length"),
    "a header of 2^63 bytes": (crafted.safetensors({"a": TENSOR}, length=1 << 63), "the header's length"),
    "a header that is a list": (crafted.safetensors([]), "the header"),
    "a header that is no JSON": (crafted.safetensors("{nothing"), "the header"),
    "a header that starts with blanks": (crafted.safetensors("  {}"), "first byte"),
    "no tensors": (crafted.safetensors({}), "the number of tensors"),
    "a doubled name": (crafted.safetensors('{"a": 1, "a": 2}'), "twice"),
    "a depth of 100,000": (crafted.safetensors('{"a":' + "[" * 100_000), "the header"),
    "notes that are no texts": (crafted.safetensors({"__metadata__": {"x": 1}, "a": TENSOR}), "__metadata__"),
    "an unknown dtype": (crafted.safetensors({"a": TENSOR | {"dtype": "F128"}}), "a's dtype"),
    "a dtype that is a list": (crafted.safetensors({"a": TENSOR | {"dtype": ["F32"]}}), "a's dtype"),
    "a negative dim": (crafted.safetensors({"a": TENSOR | {"shape": [-2, -2]}}), "a's dim"),
    "a dim of 0": (crafted.safetensors({"a": TENSOR | {"shape": [0]}}), "a's dim"),
    "a dim of 1.5": (crafted.safetensors({"a": TENSOR | {"shape": [1.5]}}), "a's dim"),
    "a dim that is true": (crafted.safetensors({"a": TENSOR | {"shape": [True]}}), "a's dim"),
    "dims whose product wraps around": (
        crafted.safetensors({"a": TENSOR | {"shape": [1 << 33, 1 << 31]}}),
        "a's bytes",
    ),
    "a thousand dims": (crafted.safetensors({"a": TENSOR | {"shape": [1] * 1_000}}), "a's shape"),
    "an end before the start": (crafted.safetensors({"a": TENSOR | {"data_offsets": [16, 0]}}), "a's bytes"),
    "an end beyond the file": (crafted.safetensors({"a": TENSOR | {"data_offsets": [0, 1 << 40]}}), "a's data_offsets"),
    "three offsets": (crafted.safetensors({"a": TENSOR | {"data_offsets": [0, 8, 16]}}), "a's data_offsets"),
    "a field besides": (crafted.safetensors({"a": TENSOR | {"code": ""}}), "tensor a"),
    "a tensor that is a number": (crafted.safetensors({"a": 7}), "tensor a"),
    "a name with a control letter": (crafted.safetensors({"a\n": TENSOR}), "a tensor's name"),
    "two tensors over each other": (crafted.safetensors(HALVES | {"b": HALVES["a"]}), "b's data_offsets"),
    "a hole": (crafted.safetensors({"b": HALVES["b"]}), "b's data_offsets"),
    "bytes that belong to none": (crafted.safetensors({"a": TENSOR}, b"\0" * 20), "the file's size"),
    "weights cut short": (crafted.safetensors({"a": TENSOR}, b"\0" * 12), "the file's size"),
}


def test_sound_safetensors_pass(tmp_path: Path) -> None:
    for header in ({"a": TENSOR}, HALVES, {"__metadata__": {"format": "pt"}} | HALVES):
        (tmp_path / "good").write_bytes(crafted.safetensors(header))
        safetensors.check(tmp_path / "good")


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("what", SAFETENSORS)
def test_spoilt_safetensors_are_refused(tmp_path: Path, what: str) -> None:
    content, field = SAFETENSORS[what]
    (file := tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(MidmError, match=field) as caught:
        safetensors.check(file)
    assert str(file) in str(caught.value) and len(str(caught.value)) < 1_000


def test_the_export_checks_weights_before_it_opens_them(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(SAFETENSORS["a hole"][0])
    parent = Parent(tmp_path, {}, {}, {}, "", {}, {}, {}, None, 0)
    with pytest.raises(CheckpointError, match="b's data_offsets"):
        next(checkpoint.tensors(parent))


def test_real_artifacts_pass(artifacts: dict[str, Path], parent: Path) -> None:
    safetensors.check(parent / "model.safetensors")
    for path in artifacts.values():
        assert set(headers.check(path)) == {CHAT_TEMPLATE}


@pytest.mark.parametrize("name", crafted.LARGEST)
def test_the_largest_header_allowed_takes_little_memory(tmp_path: Path, name: str) -> None:
    """Files at the limits, refused at their very end; their seconds are in benchmarks/hostile.py."""
    check, content = crafted.LARGEST[name]
    (tmp_path / name).write_bytes(content())
    tracemalloc.start()
    with pytest.raises(MidmError):
        check(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 << 20
