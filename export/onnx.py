"""Knows onnxruntime-genai folders: the builder's settings as data, one call, and the folder put right afterwards."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export import checkpoint, grid, worker
from export.checkpoint import Parent
from export.gguf import Card

MATRICES = {  # the builder's name → ours
    "attn/qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn/o_proj": ("self_attn.o_proj",),
    **{f"mlp/{name}": (f"mlp.{name}",) for name in ("gate_proj", "up_proj", "down_proj")},
}


@dataclass(frozen=True)
class Blocks:
    """How weights are rounded where nothing else says so: columns that share a scale, with a zero point or without."""

    block_size: int
    symmetric: bool


def make(parent: Parent, card: Card, precision: str, out: Path, *, blocks: Blocks) -> dict[str, Any]:
    """Builds a CPU folder with "int4" or "int8" blocks and an int8 head, shared with the embedding where tied.

    int8 is spelled as upgrades of int4, the only way the builder shares its tied rows. "grid" takes a parent on the
    shared grid, whose scales and levels replace what the builder rounded, bit for bit.
    """
    held = grid.read(parent) if precision == "grid" else None
    blocks = Blocks(grid.BLOCK, symmetric=True) if held else blocks
    # Of the builder's methods k_quant lost least at 4 bits (KL 0.34; rtn 0.49, default 0.63); it has zero points.
    layers = range(parent.config["num_hidden_layers"] if precision == "int8" else 0)
    names = [f"/model/layers.{layer}/{matrix}/MatMul" for layer in layers for matrix in MATRICES]
    upgraded: list[dict[str, str]] = [{"preset": "last_matmul"}, *({"name": name} for name in names)]
    method = "k_quant" if precision == "int4" and not blocks.symmetric else "rtn"
    weights: dict[str, Any] = {"type": "int4", "method": method, "accuracy_level": 4, **asdict(blocks)}
    weights |= {"op_types": ["MatMul", "Gather"] if parent.config.get("tie_word_embeddings") else ["MatMul"]}
    weights |= {"overrides": [{"match": match, "type": "int8"} for match in upgraded]}
    policy = json.dumps({"quant_config": {"weights": weights}})
    arguments: list[str | Path] = ["-m", card.basename, "-i", parent.folder, "-o", out, "-p", "int4", "-e", "cpu"]
    arguments += ["--builder_config_version", "2", "--target_options", policy, "--extra_options", "hf_token=false"]
    with tempfile.TemporaryDirectory() as cache:
        worker.run("onnxruntime_genai.models.builder", [*arguments, "-c", cache])
    checkpoint.write_tokenizer(parent, out)
    settings = checkpoint.read_json(out / "genai_config.json")
    settings["model"] |= {"eos_token_id": sorted(parent.stops.values()), "pad_token_id": parent.pad}
    checkpoint.write_json(out / "genai_config.json", settings)
    return {}
