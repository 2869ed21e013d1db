"""The merge stage on tiny models: its mapping says what went in, how, and how well each does on held-out text."""

import hashlib
import json

import pytest
import torch

from models import checkpoints
from models.shapes import build
from pipelines import merge
from pipelines._journal import Journal
from tests import token_folder
from tests.models.conftest import TINY
from tests.models.test_chat import saved_tokenizer

PARAMS = merge.Params(method="linear", weights=merge.Weights(base=1.0, tuned=3.0), context=32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("merge")
    saved_tokenizer(root)
    for seed, name in enumerate(("base", "tuned")):
        checkpoints.save(build(TINY, seed=seed), root / name, tokenizer=root)
    token_folder.write(root / "tokens", tokens=3000, period=101, vocabulary=128)
    return root


def run(place, house, **change):
    (house / "out").mkdir(parents=True)
    call = {name: place / name for name in ("base", "tuned", "tokens")} | {"out": house / "out"}
    merge.main(**call, params=PARAMS.model_copy(update=change), journal=Journal.offline("merge", house))
    return json.loads((house / "out/merge.json").read_text())


@pytest.mark.parametrize("method", ["linear", "slerp", "task_arithmetic"])
def test_the_mapping_names_method_inputs_weights_rules_and_losses(place, tmp_path, method):
    said = run(place, tmp_path, method=method)
    file = place / "tuned/model.safetensors"
    assert said["method"] == method and sum(said["tensors"].values()) == len(build(TINY, seed=0).state_dict())
    assert said["inputs"]["tuned"]["weight"] == 3.0 and said["inputs"]["base"]["weight"] == 1.0
    assert said["inputs"]["tuned"]["sha256"] == {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
    assert [*said["losses"]] == ["base", "tuned", "merged"]
    assert len({losses["ko"] for losses in said["losses"].values()}) == 3
    assert json.loads((tmp_path / "reports/merge.json").read_text()).items() >= said.items()


def test_the_result_is_an_ordinary_folder_of_what_the_rule_makes(place, tmp_path):
    run(place, tmp_path)
    base, tuned, made = (checkpoints.load(p).state_dict() for p in (place / "base", place / "tuned", tmp_path / "out"))
    for name, tensor in made.items():
        torch.testing.assert_close(tensor, base[name] / 4 + tuned[name] * 3 / 4)
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (place / "tuned/tokenizer.json").read_bytes()


def test_all_the_weight_on_the_tuned_one_changes_nothing(place, tmp_path):
    said = run(place, tmp_path, weights=merge.Weights(base=0.0, tuned=1.0))
    assert said["losses"]["merged"] == said["losses"]["tuned"] != said["losses"]["base"]
