"""The browser's folder: what transformers.js looks for lies where it looks, and it is the parent at four bits."""

import json
from pathlib import Path

import pytest

from export import checkpoint, gguf, onnx, verify, web
from models import reference
from tests.export.parents import sentences

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(parent: checkpoint.Parent, card: gguf.Card, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("web")
    web.make(parent, card, "int4", out, blocks=onnx.Blocks(block_size=64, symmetric=False))
    return out


def test_files_lie_where_transformers_js_looks_and_nothing_else_does(folder: Path) -> None:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    beside = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert found == {*beside, "onnx/model_q4.onnx"}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["transformers.js_config"] == {"dtype": "q4", "use_external_data_format": False}


def test_its_cache_has_numbers_for_shape_and_no_product_rounds_what_it_multiplies(
    parent: checkpoint.Parent, folder: Path
) -> None:
    import onnx as format

    graph = format.load(folder / "onnx/model_q4.onnx").graph
    shapes = {entry.name: [size.dim_value for size in entry.type.tensor_type.shape.dim] for entry in graph.input}
    caches = {f"past_key_values.{layer}.{kind}" for layer in range(2) for kind in ("key", "value")}
    assert set(shapes) == {"input_ids", "attention_mask", *caches}
    assert all(shapes[name][1::2] == [parent.config["num_key_value_heads"], parent.head_dim] for name in caches)
    sizes = [{it.name: it.i for it in node.attribute} for node in graph.node if node.op_type == "MatMulNBits"]
    assert [size["bits"] for size in sizes].count(4) == len(sizes) - 1  # the head, shared with the embedding, has 8
    assert {(size["accuracy_level"], size["block_size"]) for size in sizes} == {(0, 64)}


def test_the_gate_lets_it_out(parent: checkpoint.Parent, card: gguf.Card, folder: Path) -> None:
    limits = {
        "mean_kl": 0.5,
        "tail_kl": 2.0,
        "logit_gap": 9.0,
        "top1": 0.3,
        "greedy": 0.3,
    }  # random weights: logits are flat
    texts, logits = list(sentences(40, seed=3)), reference.logits(parent.folder)
    verify.verify(folder, parent=parent, card=card, reference=logits, texts=texts, longest=32, **limits)
