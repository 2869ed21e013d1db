"""A folder for transformers.js is the parent: the gate lets it out, and its names are those the library looks for."""

import json
from pathlib import Path

import onnx as library
import pytest

from export import checkpoint, gguf, verify, web
from models import reference
from tests.export.parents import BLOCKS, sentences


@pytest.mark.parametrize(("precision", "kl"), [("int8", 1e-3), ("int4", 0.5)])
def test_the_gate_lets_it_out(parent: checkpoint.Parent, card: gguf.Card, tmp_path: Path, precision: str, kl) -> None:
    web.make(parent, card, precision, tmp_path, blocks=BLOCKS)
    dtype, file = web.FILES[precision]
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert config["transformers.js_config"] == {"dtype": dtype} and [*(tmp_path / "onnx").iterdir()] == [
        tmp_path / "onnx" / file
    ]
    stops = json.loads((tmp_path / "generation_config.json").read_text("utf-8"))["eos_token_id"]
    assert stops == config["eos_token_id"] == sorted(parent.stops.values())
    for entry in library.load(tmp_path / "onnx" / file, load_external_data=False).graph.input:
        if entry.name.startswith("past_key_values."):
            assert entry.type.tensor_type.shape.dim[3].dim_value == parent.head_dim  # a name would count as 0
    limits = {"mean_kl": kl, "top1": 0.0, "logit_gap": 9.0}
    texts = list(sentences(40, seed=3))
    logits = reference.logits(parent.folder)
    verify.verify(tmp_path, parent=parent, card=card, reference=logits, texts=texts, longest=32, **limits)
