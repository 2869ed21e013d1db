"""Knows the layout that transformers.js reads: the genai builder's four-bit graph in onnx/, and the files beside it."""

import tempfile
from pathlib import Path
from typing import Any

from export import checkpoint, onnx
from export.checkpoint import Parent
from export.gguf import Card
from export.onnx import Blocks

GRAPH = "onnx/model_q4.onnx"  # where transformers.js looks for its dtype q4
INLINE = 1 << 30  # bytes of weights that stay in the graph's own file; protobuf ends at 2 GiB


def make(parent: Parent, card: Card, precision: str, out: Path, *, blocks: Blocks) -> dict[str, Any]:
    """Writes `onnx/model_q4.onnx` ("int4"), which transformers.js loads; config.json names the dtype for it.

    The embedding shares the head's bytes (half of the file that optimum's graph gives), for which a page needs ONNX
    Runtime's build for WebAssembly alone: the one for WebGPU has no such kernel.
    """
    import onnx as library

    graph = out / GRAPH
    graph.parent.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        onnx.make(parent, card, precision, Path(folder), blocks=blocks)
        model = library.load(Path(folder, "model.onnx"))
    for value in [*model.graph.input, *model.graph.output]:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == "kv_cache_dim":  # transformers.js sizes the empty cache by this: a name counts as 0
                size.dim_value = parent.head_dim
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":  # WebAssembly never rounds activations: nor may who checks the file
                attribute.i = 0
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > INLINE
    beside = {"save_as_external_data": True, "location": f"{graph.name}_data"} if large else {}
    library.save(model, graph, **beside)  # type: ignore[arg-type]
    special: dict[str, Any] = {"bos_token_id": parent.bos, "pad_token_id": parent.pad}
    special["eos_token_id"] = sorted(parent.stops.values())
    shape = {"head_dim": parent.head_dim, "rope_theta": parent.rope_theta}
    names = {"transformers.js_config": {"dtype": "q4", "use_external_data_format": large}}
    checkpoint.write_json(out / "config.json", parent.config | shape | special | names)
    checkpoint.write_json(out / "generation_config.json", parent.generation | special)
    checkpoint.write_tokenizer(parent, out)
    return {}
