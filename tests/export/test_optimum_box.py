"""Optimum's box appears whole or not at all, and its silent wrong rope base is caught by the gate."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from export import checkpoint, gguf, optimum_box, verify, worker
from models import reference
from tests.export.parents import CARD, sentences

LIMITS = {"mean_kl": 1e-6, "tail_kl": 1e-5, "logit_gap": 1e-3, "top1": 0.99, "greedy": 0.99}


def gate(bundle: Path, parent: checkpoint.Parent) -> verify.Verdict:
    texts = list(sentences(40, seed=4))
    asked = {"card": CARD, "reference": reference.logits(parent.folder), "texts": texts, "longest": 48}
    return verify.verify(bundle, parent=parent, **asked, **LIMITS)


@pytest.mark.slow
def test_plain_onnx_equals_the_parent_within_1e_3_and_its_bytes_repeat(
    parent: checkpoint.Parent, card: gguf.Card, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        optimum_box.make(parent, card, "fp32", tmp_path / name)
    verdict = gate(tmp_path / "first", parent)
    assert verdict.logit_gap < 1e-3
    assert verdict.positions > 300
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    generation = json.loads((tmp_path / "first" / "generation_config.json").read_text(encoding="utf-8"))
    assert set(generation["eos_token_id"]) == set(parent.stops.values())
    assert generation["pad_token_id"] == parent.ids["<pad>"]
    assert {"model.onnx", "config.json", "generation_config.json", "tokenizer.json"} <= set(files)
    assert [(tmp_path / "first" / name).read_bytes() for name in files] == [
        (tmp_path / "second" / name).read_bytes() for name in files
    ]


@pytest.mark.slow
def test_a_lost_rope_theta_which_old_transformers_takes_without_a_word_is_caught(
    parent: checkpoint.Parent, card: gguf.Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = optimum_box.adapt

    def forgets(parent: checkpoint.Parent, folder: Path) -> None:
        real(parent, folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        del config["rope_theta"]
        checkpoint.write_json(folder / "config.json", config)

    monkeypatch.setattr(optimum_box, "adapt", forgets)
    optimum_box.make(parent, card, "fp32", tmp_path)
    with pytest.raises(verify.ArtifactRefused, match=r"rope base: the artifact says 10000.0"):
        gate(tmp_path, parent)


def test_a_box_that_cannot_be_installed_leaves_nothing_behind(tmp_path: Path) -> None:
    requirements = tmp_path / "none.txt"
    requirements.write_text(f"{tmp_path}/no-such-wheel-1.0-py3-none-any.whl\n")
    with pytest.raises(worker.ToolError, match=r"none.txt"):
        optimum_box.box(tmp_path / "boxes", requirements)
    assert list((tmp_path / "boxes").iterdir()) == []


def test_two_makers_at_once_install_one_box_and_a_killed_one_s_draft_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes, requirements, installs = tmp_path / "boxes", tmp_path / "1.txt", []

    def slowly(requirements: Path, target: Path) -> None:
        installs.append(target)
        time.sleep(0.2)
        target.mkdir()

    monkeypatch.setattr(optimum_box, "_install", slowly)
    requirements.write_text("a==1\n")
    (boxes / ".killed" / "box").mkdir(parents=True)
    with ThreadPoolExecutor(2) as makers:
        homes = list(makers.map(lambda _: optimum_box.box(boxes, requirements), range(2)))
    assert len(installs) == 1
    assert list(boxes.iterdir()) == [homes[0]] == [homes[1]]
    (boxes / ".killed").mkdir()
    optimum_box.box(boxes, requirements)
    assert list(boxes.iterdir()) == [homes[0]], "a box that is whole is no reason to keep another's draft"


def test_other_requirements_get_another_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimum_box, "_install", lambda requirements, target: target.mkdir())
    first, second = tmp_path / "1.txt", tmp_path / "2.txt"
    first.write_text("a==1\n")
    second.write_text("a==2\n")
    boxes = tmp_path / "boxes"
    assert optimum_box.box(boxes, first) != optimum_box.box(boxes, second)
    assert optimum_box.box(boxes, first) == optimum_box.box(boxes, first)
    assert len(list(boxes.iterdir())) == 2


def test_the_adapted_copy_states_rope_theta_at_top_level(parent: checkpoint.Parent, tmp_path: Path) -> None:
    optimum_box.adapt(parent, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["rope_theta"] == parent.rope_theta
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_constants_that_lie_beside_a_large_graph_are_drawn_in_and_its_weights_stay(tmp_path: Path) -> None:
    table, weight = (np.arange(n, dtype=np.float32) for n in (600, 700))
    constant = helper.make_node("Constant", [], ["table"], value=numpy_helper.from_array(table))
    out = helper.make_tensor_value_info("out", 1, [1300])
    nodes = [constant, helper.make_node("Concat", ["table", "weight"], ["out"], axis=0)]
    graph = helper.make_graph(nodes, "g", [], [out], [numpy_helper.from_array(weight, "weight")])
    file = tmp_path / "model.onnx"
    beside = {"save_as_external_data": True, "location": "model.onnx_data", "convert_attribute": True}
    onnx.save(helper.make_model(graph), file, **beside, size_threshold=1024)
    before = onnx.load(file, load_external_data=False).graph
    assert uses_external_data(before.node[0].attribute[0].t) and uses_external_data(before.initializer[0])
    optimum_box.draw_in(file)
    after = onnx.load(file, load_external_data=False).graph
    assert np.array_equal(numpy_helper.to_array(after.node[0].attribute[0].t), table)
    assert after.initializer[0] == before.initializer[0]
    assert np.array_equal(numpy_helper.to_array(onnx.load(file).graph.initializer[0]), weight)


def test_a_tool_s_last_words_reach_the_user() -> None:
    with pytest.raises(worker.ToolError, match="No module named"):
        worker.run("no_such_tool_at_all", [])
