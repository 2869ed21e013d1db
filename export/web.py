"""Knows the layout that transformers.js reads: optimum's plain graph at four bits in onnx/, and the files beside it."""

import io
import logging
import shutil
import tempfile
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from midm_mini.format import WEB_GRAPH

from export import checkpoint, optimum_box
from export.checkpoint import Parent
from export.gguf import Card
from export.onnx import Blocks

INLINE = 1 << 30  # bytes of weights that stay in the graph's own file; protobuf ends at 2 GiB
KEPT = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make(parent: Parent, card: Card, precision: str, out: Path, *, blocks: Blocks) -> dict[str, Any]:
    """Writes `onnx/model_q4.onnx` ("int4"), which `pipeline(…, {dtype: "q4"})` loads, by onnxruntime's own quantizer.

    The layers' products are MatMulNBits; the embedding stays float32, as does a tied head, which shares its rows.
    config.json names the dtype, so that a page need not.
    """
    import onnx
    from onnxruntime.quantization import matmul_nbits_quantizer as quantizers

    logging.getLogger("neural_compressor").setLevel(logging.WARNING)  # it would praise CUDA at every matrix
    graph = out / WEB_GRAPH
    graph.parent.mkdir()
    size: dict[str, Any] = {"bits": int(precision.removeprefix("int")), "accuracy_level": 4, **asdict(blocks)}
    size["is_symmetric"] = size.pop("symmetric")
    way = quantizers.RTNWeightOnlyQuantConfig() if blocks.symmetric else quantizers.KQuantWeightOnlyQuantConfig()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        plain = Path(folder)
        optimum_box.make(parent, card, "fp32", plain)
        quantizer = quantizers.MatMulNBitsQuantizer(onnx.load(plain / "model.onnx"), algo_config=way, **size)
        quantizer.process()
        model = quantizer.model.model
        large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > INLINE
        beside = {"save_as_external_data": True, "location": f"{graph.name}_data"} if large else {}
        onnx.save(model, graph, **beside)  # type: ignore[arg-type]
        for name in KEPT:
            shutil.copyfile(plain / name, out / name)
    config = checkpoint.read_json(out / "config.json")
    config["transformers.js_config"] = {"dtype": "q4", "use_external_data_format": large}
    checkpoint.write_json(out / "config.json", config)
    return {}
