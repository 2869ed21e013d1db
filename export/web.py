"""Knows transformers.js: a quantized graph in the folder that a browser page or Node opens."""

import tempfile
from pathlib import Path
from typing import Any

from export import checkpoint, onnx
from export.checkpoint import Parent
from export.gguf import Card

FILES = {"int4": ("q4", "model_q4.onnx"), "int8": ("q8", "model_quantized.onnx")}  # transformers.js' dtype, file


def make(parent: Parent, card: Card, precision: str, out: Path, *, blocks: onnx.Blocks) -> dict[str, Any]:
    """Writes onnxruntime-genai's "int4" or "int8" graph as one file under onnx/, beside a config that names it.

    One file holds at most 2 GB; a page's WebAssembly holds 4 GB with the cache.
    """
    dtype, file = FILES[precision]
    (out / "onnx").mkdir()
    with tempfile.TemporaryDirectory() as folder:
        notes = onnx.make(parent, card, precision, Path(folder), blocks=blocks)
        _adapt(Path(folder, "model.onnx"), out / "onnx" / file, parent)
    special: dict[str, Any] = {"bos_token_id": parent.bos, "pad_token_id": parent.pad}
    special["eos_token_id"] = sorted(parent.stops.values())
    shape = {"head_dim": parent.head_dim, "rope_theta": parent.rope_theta}
    config = parent.config | shape | special | {"transformers.js_config": {"dtype": dtype}}
    checkpoint.write_json(out / "config.json", config)
    checkpoint.write_json(out / "generation_config.json", parent.generation | special)
    checkpoint.write_tokenizer(parent, out)
    return notes


def _adapt(source: Path, target: Path, parent: Parent) -> None:
    """transformers.js sizes the empty cache by the graph, where a name counts as 0; WebAssembly's kernels never round
    activations (accuracy level 0), so what checks the file elsewhere must not either."""
    import onnx as library

    model = library.load(source)
    for value in [*model.graph.input, *model.graph.output]:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == "kv_cache_dim":
                size.dim_value = parent.head_dim
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 0
    library.save(model, target)
