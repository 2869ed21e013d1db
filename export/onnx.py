"""Knows onnxruntime-genai folders: the builder's settings as data, one call, and the folder put right afterwards."""

import itertools
import json
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export import checkpoint, grid, worker
from export.checkpoint import Parent
from export.gguf import Card

if TYPE_CHECKING:
    import numpy as np

MATRICES = ("attn.qkv_proj", "attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


@dataclass(frozen=True)
class Blocks:
    """How weights are rounded where nothing else says so: columns that share a scale, with a zero point or without."""

    block_size: int
    symmetric: bool


def make(parent: Parent, card: Card, precision: str, out: Path, *, blocks: Blocks) -> dict[str, Any]:
    """Builds a CPU folder with "int4" or "int8" blocks and an int8 head, shared with the embedding where tied.

    int8 is spelled as upgrades of int4, the only way the builder shares its tied rows. "grid" takes a parent on the
    shared grid, whose scales and levels replace what the builder rounded: nothing is rounded again.
    """
    held = grid.read(parent) if precision == "grid" else None
    blocks = Blocks(grid.BLOCK, symmetric=True) if held else blocks
    # Of the builder's methods k_quant lost least at 4 bits (KL 0.34; rtn 0.49, default 0.63); it has zero points.
    method = "k_quant" if precision == "int4" and not blocks.symmetric else "rtn"
    weights: dict[str, Any] = {"type": "int4", "method": method, "accuracy_level": 4, **asdict(blocks)}
    weights |= {"op_types": ["MatMul", "Gather"] if parent.config.get("tie_word_embeddings") else ["MatMul"]}
    weights |= {"overrides": [{"match": it, "type": "int8"} for it in _eight_bits(parent, precision, held)]}
    policy = json.dumps({"quant_config": {"weights": weights}})
    arguments: list[str | Path] = ["-m", card.basename, "-i", parent.folder, "-o", out, "-p", "int4", "-e", "cpu"]
    arguments += ["--builder_config_version", "2", "--target_options", policy, "--extra_options", "hf_token=false"]
    with tempfile.TemporaryDirectory() as cache:
        worker.run("onnxruntime_genai.models.builder", [*arguments, "-c", cache])
    if held:
        _put_on_grid(parent, held, out / "model.onnx")
    checkpoint.write_tokenizer(parent, out)
    settings = checkpoint.read_json(out / "genai_config.json")
    settings["model"] |= {"eos_token_id": sorted(parent.stops.values()), "pad_token_id": parent.pad}
    checkpoint.write_json(out / "genai_config.json", settings)
    return {}


def _eight_bits(parent: Parent, precision: str, held: grid.Grid | None) -> list[dict[str, str]]:
    """The products of eight bits, in the builder's words: the head, all of int8, of the grid what four cannot hold."""
    layers = range(parent.config["num_hidden_layers"] if precision == "int8" else 0)
    names = {"lm_head", *(f"model.layers.{layer}.{matrix}" for layer in layers for matrix in MATRICES)}
    if held:
        names = {_builders_name(parent, name) for name, bits in held.bits.items() if bits > 4} - {""}
    paths = {name: "/" + re.sub(r"\.(?!\d)", "/", name) + "/MatMul" for name in sorted(names)}
    return [{"preset": "last_matmul"} if name == "lm_head" else {"name": path} for name, path in paths.items()]


def packed(levels: "np.ndarray", bits: int) -> "np.ndarray":
    """MatMulNBits' bytes of int8 levels [rows, blocks, 32]: unsigned around the middle, two 4-bit neighbours in one."""
    codes = (levels.astype("int16") + 2 ** (bits - 1)).astype("uint8")
    return codes if bits == 8 else codes[..., 0::2] | codes[..., 1::2] << 4


def _put_on_grid(parent: Parent, held: grid.Grid, file: Path) -> None:
    """Replaces the levels and scales of every matrix in the graph by the grid's own."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(file)
    slots = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = checkpoint.tensors(parent)
    for name, rows in itertools.groupby(weights, lambda row: _builders_name(parent, row[0])):
        if name:
            bits, parts = zip(*((held.bits[own], held.split(own, weight)) for own, weight in rows), strict=True)
            scales, levels = (np.concatenate(part) for part in zip(*parts, strict=True))
            wide = 4 if max(bits) == 4 else 8
            values = {f"weight_Q{wide}G{grid.BLOCK}": packed(levels, wide), "weight_scale": scales.astype(np.float32)}
            for kind, value in values.items():
                slot = slots[f"{name}.MatMul.{kind}"]
                slot.CopyFrom(numpy_helper.from_array(value, slot.name))
    data = file.with_name(f"{file.name}.data")
    data.unlink()  # else onnx would append to it
    onnx.save(model, file, save_as_external_data=True, location=data.name)


def _builders_name(parent: Parent, name: str) -> str:
    """What the builder calls the matrix that one of our tensors is (a part of); "" for what it does not quantize."""
    if "norm" in name or ("embed_tokens" in name and not parent.config.get("tie_word_embeddings")):
        return ""
    if ".layers." not in name:
        return "lm_head"
    return re.sub(r"self_attn\.[qkv]_proj", "attn.qkv_proj", name).replace("self_attn", "attn").removesuffix(".weight")
