"""Knows the artifacts by name: what makes each, and the precision asked of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from export import gguf, onnx, optimum_box, quantizing, web
from export.checkpoint import Parent

if TYPE_CHECKING:
    import numpy as np


class Setting(NamedTuple):
    """A maker and the precision asked of it; `needs`: the keyword of what it is given besides."""

    maker: Callable[..., dict[str, Any]]
    precision: str
    needs: str = ""


SETTINGS = {
    "gguf-f16": Setting(gguf.make, "F16"),
    "gguf-q8_0": Setting(gguf.make, "Q8_0"),
    "gguf-q6_k": Setting(gguf.make, "Q6_K", "importance"),
    "gguf-q5_k_m": Setting(gguf.make, "Q5_K_M", "importance"),
    "gguf-q4_k_m": Setting(gguf.make, "Q4_K_M", "importance"),
    "gguf-iq4_xs": Setting(gguf.make, "IQ4_XS", "importance"),
    "gguf-q4_0": Setting(gguf.make, "Q4_0"),  # of a parent on the shared grid (qad), as onnx-grid is
    "onnx-int8": Setting(onnx.make, "int8", "blocks"),
    "onnx-int4": Setting(onnx.make, "int4", "blocks"),
    "onnx-grid": Setting(onnx.make, "grid", "blocks"),
    "onnx-optimum": Setting(optimum_box.make, "fp32"),
    "onnx-web-int4": Setting(web.make, "int4", "blocks"),
}
NAMES = ", ".join([*SETTINGS, "or a size as gguf-1600mb"])


def kind(name: str) -> str:
    """The kind of artifact whose limits hold for `name`: itself, of a size such as "gguf-1600mb" the smallest one."""
    return "gguf-iq4_xs" if quantizing.SIZE.fullmatch(_precision(name)) else name


def make(
    name: str, parent: Parent, card: gguf.Card, out: Path, *,
    importance: Callable[[], "Mapping[str, np.ndarray]"], blocks: onnx.Blocks,
) -> dict[str, Any]:  # fmt: skip
    """Makes the artifact `name` in the folder `out`; returns the maker's notes. `importance` is asked only if used."""
    maker, precision, needs = SETTINGS.get(name) or Setting(gguf.make, _precision(name), "importance")
    given = {"importance": importance, "blocks": lambda: blocks}
    return maker(parent, card, precision, out, **({needs: given[needs]()} if needs else {}))


def _precision(name: str) -> str:
    return name.removeprefix("gguf-").upper()
