"""The browser's folder: what transformers.js looks for lies where it looks, and it is the parent at four bits."""

import json
from pathlib import Path

import numpy as np
import pytest

from export import checkpoint, facts, gguf, onnx, verify, web
from models import reference

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(parent: checkpoint.Parent, card: gguf.Card, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("web")
    web.make(parent, card, "int4", out, blocks=onnx.Blocks(block_size=64, symmetric=False))
    return out


def test_files_lie_where_transformers_js_looks_and_nothing_else_does(folder: Path) -> None:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*web.KEPT, "onnx/model_q4.onnx"}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["transformers.js_config"] == {"dtype": "q4", "use_external_data_format": False}


def test_its_inputs_are_ids_mask_positions_and_a_cache_and_products_of_layers_have_four_bits(folder: Path) -> None:
    import onnx as format

    graph = format.load(folder / "onnx/model_q4.onnx").graph
    names = {entry.name for entry in graph.input}
    caches = {f"past_key_values.{layer}.{kind}" for layer in range(2) for kind in ("key", "value")}
    assert names == {"input_ids", "attention_mask", "position_ids", *caches}
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    sizes = [{it.name: it.i for it in node.attribute} for node in products]
    assert len(products) == 14 and {(size["bits"], size["block_size"]) for size in sizes} == {(4, 64)}


def test_the_wheel_opens_it_with_the_parent_s_ids_stops_and_logits(parent: checkpoint.Parent, folder: Path) -> None:
    import midm_mini

    ids = np.random.RandomState(0).randint(3, len(parent.ids), size=48).tolist()
    with midm_mini.load(folder, threads=1) as artifact:
        found = artifact.logits(ids)
    truth = reference.logits(parent.folder)(ids)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.9, "0.94: four bits of random weights"
    said = facts.read(folder, verify.HARD_TEXTS)
    assert said.ids == verify.parent_ids(parent, verify.HARD_TEXTS) and said.stops == sorted(parent.stops.values())
