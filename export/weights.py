"""Knows how far the weights stored in an artifact lie from its parent's: each is read back, row by row."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from midm_mini.format import artifact_format, graph_file

from export import checkpoint
from export.checkpoint import Parent
from export.facts import gguf_file, graph_of

if TYPE_CHECKING:
    import numpy as np

ROWS = 8192  # read at once
# Largest error of a row, as a share of its size. n bits round a block of 32 by at most sqrt(32/12) / 2^(n-1) of it,
# when all of it is one outlier; a tenth more for scales that are rounded too. Floats round each weight by its last bit.
ALLOWED = {32: 1e-6, 16: 2e-3, 8: 0.015, 6: 0.056, 5: 0.112, 4: 0.225, 3: 0.449}
# A block's scale in GGUF is a half float, in steps of 2^-24 where it is small, times whole numbers up to these (two in
# K-quants). What half a step explains is no error: a row that decayed to 4e-5 has no finer scale.
WHOLE = {"Q8_0": 127, "Q6_K": 127 * 32, "Q5_K": 63 * 31, "Q4_K": 63 * 15, "IQ4_XS": 32 * 127, "Q3_K": 32 * 4, "Q4_0": 8}
RUN = 16  # weights that share a scale, at least: K-quants have runs of 16 or 32, the others of 32
GGUF_NAMES = {
    **{"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"},
    **{"self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up"},
    **{"mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"},
    **{"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"},
    "lm_head.weight": "output.weight",
}
QKV = ("q_proj", "k_proj", "v_proj")


class Stored(NamedTuple):
    """A matrix of an artifact (a norm is one row): its bits, its rows [n, columns] as float32 in the parent's order,
    what a weight may be off because its scale cannot be written more finely, and whether outliers may be clipped."""

    bits: int
    rows: Callable[[slice], "np.ndarray"]
    step: float = 0.0
    clips: bool = False


class Distance(NamedTuple):
    """The worst row of a matrix: its error as a share of its size, and what its bits allow."""

    name: str
    error: float
    allowed: float


def distances(bundle: Path, parent: Parent) -> Iterator[Distance]:
    """Yields the distance of every matrix; one that the artifact does not hold under a known name is infinitely far.

    A plain ONNX graph may hold a matrix in other forms, which then is left to the logits.
    """
    import numpy as np

    kind = artifact_format(bundle)
    held = _of_gguf(bundle, parent) if kind == "gguf" else _of_onnx(bundle, parent)
    for name, weight in checkpoint.tensors(parent):
        weight = np.atleast_2d(weight)
        if kind == "onnx" and name not in held:
            continue
        if name not in held:
            yield Distance(name, float("inf"), 0)
            continue
        least, worst = 1e-3 * float(_size(weight[:ROWS]).mean()), 0.0
        for start in range(0, len(weight), ROWS):
            block = weight[start : start + ROWS]
            found = held[name].rows(slice(start, start + len(block)))
            aim = _clipped(block, found) if held[name].clips else block
            away = _size(found - aim) - held[name].step
            worst = float(np.maximum(worst, (away / np.maximum(_size(block), least)).max()))  # NaN stays NaN
        yield Distance(name, worst, ALLOWED[held[name].bits])


def _size(rows: "np.ndarray") -> "np.ndarray":
    """Root mean square of each row."""
    import numpy as np

    return np.sqrt(np.mean(np.square(rows, dtype=np.float64), -1))


def _clipped(block: "np.ndarray", found: "np.ndarray") -> "np.ndarray":
    """The weights that a quantizer with an importance matrix aims at: an outlier whose inputs are small it clips, so
    that its neighbours come nearer. Such a one lies beyond all that is stored of its run, by no more than itself."""
    import numpy as np

    runs = found.reshape(len(found), -1, RUN)
    low, high = (np.repeat(edge(runs, -1), RUN, -1) for edge in (np.min, np.max))
    clipped = ((block < low) | (block > high)) & (np.abs(found) >= np.abs(block) / 2)
    return np.where(clipped, found, block)


def _of_gguf(bundle: Path, parent: Parent) -> dict[str, Stored]:
    tensors = {tensor.name: tensor for tensor in gguf_file(next(bundle.glob("*.gguf"))).tensors}
    held = {}
    for name in checkpoint.names(parent.config):
        layer, _, part = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
        tensor = tensors.get(GGUF_NAMES.get(name) or f"blk.{layer}.{GGUF_NAMES.get(part, '')}.weight")
        if tensor is not None:
            bits = int("".join(filter(str.isdigit, tensor.tensor_type.name.split("_")[0])))
            rows = _gguf_rows(tensor, parent.head_dim if part.endswith(QKV[:2]) else 0)
            held[name] = Stored(bits, rows, 2.0**-25 * WHOLE.get(tensor.tensor_type.name, 0), clips=bits < 8)
    return held


def _gguf_rows(tensor: Any, head_dim: int) -> Callable[[slice], "np.ndarray"]:
    """Rows of a tensor; of a rotated one with each head's pairs put apart again, first halves first."""
    import gguf
    import numpy as np

    def rows(asked: slice) -> np.ndarray:
        return gguf.quants.dequantize(np.atleast_2d(tensor.data)[asked], tensor.tensor_type)

    def apart(asked: slice) -> np.ndarray:
        whole = rows(slice(None))
        at = np.arange(len(whole))
        head, place = at // head_dim * head_dim, at % head_dim
        return whole[head + place % (head_dim // 2) * 2 + place // (head_dim // 2)][asked]

    return apart if head_dim else rows


def _of_onnx(bundle: Path, parent: Parent) -> dict[str, Stored]:
    import numpy as np
    from onnx import numpy_helper

    graph = graph_of(graph_file(bundle), weights=True)
    arrays, held = {tensor.name: tensor for tensor in graph.initializer}, dict[str, Stored]()
    for name, tensor in arrays.items():
        known = "model.norm.weight" if name.endswith("final_norm_layernorm.weight") else name
        if known in parent.shapes:
            held[known] = Stored(32, np.atleast_2d(numpy_helper.to_array(tensor)).__getitem__)
    for node in graph.node:
        if node.op_type not in ("MatMul", "MatMulNBits") or node.input[1] not in arrays:
            continue
        inputs = [numpy_helper.to_array(arrays[name]) for name in node.input[1:] if name in arrays]
        about = {row.name: row.i for row in node.attribute}
        stem = node.name.removeprefix("/").split("/MatMul")[0].replace("/", ".").replace(".attn.", ".self_attn.")
        start = 0
        for name in [stem.replace("qkv_proj", part) for part in QKV] if "qkv_proj" in stem else [stem]:
            name = _tied(f"{name}.weight", parent)
            if name in parent.shapes:
                held[name] = _onnx_rows(inputs, about, start)
                start += parent.shapes[name][0]
    return held


def _tied(name: str, parent: Parent) -> str:
    """A tied head is the embedding."""
    return "model.embed_tokens.weight" if name == "lm_head.weight" and name not in parent.shapes else name


def _onnx_rows(inputs: "list[np.ndarray]", about: dict[str, int], start: int) -> Stored:
    """A MatMul's matrix [columns, rows], or MatMulNBits' blocks [rows, blocks, bytes], scales and zero points."""
    import numpy as np

    if "bits" not in about:
        return Stored(32, lambda asked: inputs[0].T[start:][asked])
    bits, count = about["bits"], len(inputs[0])
    levels, scales = inputs[0].reshape(count, -1), inputs[1].reshape(count, -1)
    blocks = scales.shape[1]

    def numbers(packed: np.ndarray) -> np.ndarray:
        if bits == 8:
            return packed.astype(np.float32)
        return np.stack([packed & 15, packed >> 4], -1).reshape(len(packed), -1).astype(np.float32)

    def rows(asked: slice) -> np.ndarray:
        place = slice(start + asked.start, start + asked.stop)
        found = numbers(levels[place]).reshape(-1, blocks, about["block_size"])
        zeros: Any = 2 ** (bits - 1)
        if len(inputs) > 2:
            zeros = numbers(inputs[2].reshape(count, -1)[place])[:, :blocks, None]
        return ((found - zeros) * scales[place][..., None]).reshape(len(found), -1)[:, : about["K"]]

    return Stored(bits, rows)
