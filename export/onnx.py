"""Knows onnxruntime-genai folders: the builder's settings as data, one call, and the folder put right afterwards."""

import json
import tempfile
from pathlib import Path
from typing import Any

from export import checkpoint, worker
from export.checkpoint import Parent
from export.gguf import Card

# Of the builder's methods k_quant lost least at 4 bits here (KL 0.34 against 0.49 for rtn, 0.63 for default).
METHODS = {"int4": "k_quant", "int8": "rtn"}
MATRICES = ("attn/qkv_proj", "attn/o_proj", "mlp/gate_proj", "mlp/up_proj", "mlp/down_proj")


def make(parent: Parent, card: Card, precision: str, out: Path) -> dict[str, Any]:
    """Builds a CPU folder with "int4" or "int8" blocks of 32 and an int8 head, shared with the embedding where tied.

    int8 is spelled as upgrades of int4, the only way the builder shares its tied rows.
    """
    layers = range(parent.config["num_hidden_layers"] if precision == "int8" else 0)
    names = [f"/model/layers.{layer}/{matrix}/MatMul" for layer in layers for matrix in MATRICES]
    upgraded: list[dict[str, str]] = [{"preset": "last_matmul"}, *({"name": name} for name in names)]
    weights = {"type": "int4", "method": METHODS[precision], "accuracy_level": 4, "block_size": 32}
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
