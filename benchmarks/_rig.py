"""Knows how a fault is put into an exporter's run, or into the folder that it leaves: the rig and its levers."""

import dataclasses
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import numpy as np

from export import checkpoint, gguf
from export.checkpoint import Parent

CARD = gguf.Card("midm-mini-test", "instruct", "v0.1", "MIT", ("ko", "en"), "midm-base-test")
Weights = dict[str, np.ndarray]


class Rig:
    """One export about to go wrong: its parent and card, what is done to its folder before the gate and after it."""

    def __init__(self, parent: Parent) -> None:
        self.parent, self.card, self._patches = parent, CARD, ExitStack()
        self.spoil, self.late = list[Callable[[Path], object]](), list[Callable[[Path], object]]()
        self.restore = self._patches.close

    def patch(self, owner: object, name: str, value: object) -> None:
        self._patches.enter_context(patch.object(owner, name, value))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()


Inject = Callable[[Rig], object]


def parent(**changes: Any) -> Inject:
    """The exporter sees another parent."""
    return lambda rig: setattr(rig, "parent", dataclasses.replace(rig.parent, **changes))


def config(**changes: Any) -> Inject:
    return lambda rig: parent(config=rig.parent.config | changes)(rig)


def card(**changes: Any) -> Inject:
    return lambda rig: setattr(rig, "card", dataclasses.replace(rig.card, **changes))


def tokenizer(edit: Callable[[dict[str, Any]], object]) -> Inject:
    """The exporter sees a tokenizer.json with one thing edited."""

    def inject(rig: Rig) -> None:
        value = json.loads(json.dumps(rig.parent.tokenizer))
        edit(value)
        parent(tokenizer=value)(rig)

    return inject


def template(edit: Callable[[str], str]) -> Inject:
    return lambda rig: parent(template=edit(rig.parent.template))(rig)


def weights(edit: Callable[[Weights], object]) -> Inject:
    """The exporter reads other weights."""

    def inject(rig: Rig) -> None:
        real = checkpoint.tensors

        def spoilt(given: Parent) -> Any:
            held = dict(real(given))
            edit(held)
            return iter(held.items())

        rig.patch(checkpoint, "tensors", spoilt)

    return inject


def written(method: str, change: Callable[..., Any]) -> Inject:
    """The GGUF writer is told something else; None says nothing."""
    import gguf as format

    real = getattr(format.GGUFWriter, method)

    def inject(rig: Rig) -> None:
        def told(writer: Any, value: Any) -> None:
            if (other := change(value)) is not None:
                real(writer, other)

        rig.patch(format.GGUFWriter, method, told)

    return inject


def folder(spoil: Callable[[Path], object]) -> Inject:
    return lambda rig: rig.spoil.append(spoil)


def afterwards(spoil: Callable[[Path], object]) -> Inject:
    """Done when the manifest is written."""
    return lambda rig: rig.late.append(spoil)


def settings(name: str, edit: Callable[[dict[str, Any]], object]) -> Inject:
    """One value of a JSON file of the folder is wrong."""

    def spoil(bundle: Path) -> None:
        value = json.loads((bundle / name).read_text(encoding="utf-8"))
        edit(value)
        (bundle / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")

    return folder(spoil)


def text(name: str, edit: Callable[[str], str]) -> Callable[[Path], object]:
    def spoil(bundle: Path) -> None:
        content = (bundle / name).read_text(encoding="utf-8")
        assert edit(content) != content
        (bundle / name).write_text(edit(content), encoding="utf-8")

    return spoil


def cut(bundle: Path) -> None:
    """The largest file loses its end."""
    largest = max(bundle.iterdir(), key=lambda file: file.stat().st_size)
    with largest.open("r+b") as stream:
        stream.truncate(largest.stat().st_size - 4096)


class Graph:
    """An ONNX graph: its initializers as arrays, its nodes by type."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self._helper, self._graph = numpy_helper, model.graph
        self._held = {row.name: row for row in model.graph.initializer}
        self.names = list(self._held)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._helper.to_array(self._held[name]).copy()

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        self._held[name].CopyFrom(self._helper.from_array(np.ascontiguousarray(value), name))

    def attribute(self, operator: str, name: str, value: float) -> None:
        """Sets an attribute of every node of a type."""
        from onnx import helper

        for node in self._graph.node:
            if node.op_type == operator:
                kept = [row for row in node.attribute if row.name != name]
                del node.attribute[:]
                node.attribute.extend([*kept, helper.make_attribute(name, value)])

    def constants(self, old: Callable[[np.ndarray], bool], new: Callable[[np.ndarray], np.ndarray]) -> None:
        """Changes the constants that `old` picks; there must be some."""
        found = [row.t for node in self._graph.node if node.op_type == "Constant" for row in node.attribute]
        arrays = [(tensor, self._helper.to_array(tensor)) for tensor in found]
        picked = [(tensor, array) for tensor, array in arrays if old(array)]
        assert picked
        for tensor, array in picked:
            tensor.CopyFrom(self._helper.from_array(new(array).astype(array.dtype), tensor.name))


def graph(edit: Callable[[Graph], object]) -> Inject:
    def spoil(bundle: Path) -> None:
        import onnx

        model = onnx.load(bundle / "model.onnx")
        edit(Graph(model))
        (bundle / "model.onnx.data").unlink(missing_ok=True)
        onnx.save(model, bundle / "model.onnx")

    return folder(spoil)


def change(name: str, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], object]:
    """One tensor (of a dictionary or a graph) becomes another; it must differ."""

    def spoil(held: Any) -> None:
        new = edit(held[name])
        assert new.shape != held[name].shape or (new != held[name]).any(), name
        held[name] = new

    return spoil


def swap(first: str, second: str) -> Callable[[Any], object]:
    def spoil(held: Any) -> None:
        held[first], held[second] = held[second], held[first]

    return spoil


def each(*edits: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda held: [edit(held) for edit in edits]


def set_at(index: Any, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def edit(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[index] = value(array[index]) if callable(value) else value
        return array

    return edit


def inverse_frequencies(theta: float, head_dim: int = 32) -> np.ndarray:
    return theta ** -(np.arange(0, head_dim, 2) / head_dim)


def rotary_tables(theta: float) -> Callable[[Graph], object]:
    angles = np.outer(np.arange(256), inverse_frequencies(theta))
    tables = {"cos_cache": np.cos(angles), "sin_cache": np.sin(angles)}
    return each(*(change(name, lambda old, new=new: new.astype(old.dtype)) for name, new in tables.items()))


def flipped(array: np.ndarray) -> np.ndarray:
    """The highest exponent bit of one weight."""
    bits = array.copy().view(np.uint32)
    bits.flat[bits.size // 2] ^= 1 << 30
    return bits.view(np.float32)


def oddly(array: np.ndarray) -> np.ndarray:
    """The bytes of the transpose in the old shape."""
    return np.ascontiguousarray(array.T).reshape(array.shape)
