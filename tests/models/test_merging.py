"""Each rule of merging equals its definition, and what cannot be merged is named."""

import math
from dataclasses import replace

import pytest
import torch

from models.merging import check_alike, merged
from models.shapes import build
from tests.models.conftest import TINY


@pytest.fixture
def two():
    """Two tensors of each of two models, all of them random."""
    draw = torch.Generator().manual_seed(0)
    return [{name: torch.randn(4, 6, generator=draw) for name in ("a", "b")} for _ in range(2)]


@pytest.mark.parametrize("method", ["linear", "slerp", "task_arithmetic"])
def test_all_the_weight_on_one_model_gives_that_model(two, method):
    made, _ = merged(two, [0.0, 1.0], method)
    assert all(torch.allclose(made[name], tensor, atol=1e-6) for name, tensor in two[1].items())
    if method != "task_arithmetic":
        assert all(
            torch.allclose(tensor, two[0][name], atol=1e-6)
            for name, tensor in merged(two, [3.0, 0.0], method)[0].items()
        )


def test_linear_is_the_mean_by_weight_whatever_the_weights_sum_to(two):
    made, rules = merged([*two, two[0]], [1.0, 2.0, 1.0], "linear")
    torch.testing.assert_close(made["b"], (two[0]["b"] + two[1]["b"]) / 2)
    assert rules == {"linear": 2}


def test_slerp_keeps_to_the_sphere_and_goes_its_share_of_the_angle(two):
    unit = [{name: tensor / tensor.norm() for name, tensor in model.items()} for model in two]
    made, rules = merged(unit, [3.0, 1.0], "slerp")
    whole = math.acos(float((unit[0]["a"] * unit[1]["a"]).sum()))
    assert float(made["a"].norm()) == pytest.approx(1, abs=1e-5)
    assert math.acos(float((unit[0]["a"] * made["a"]).sum())) == pytest.approx(whole / 4, abs=1e-3)
    assert rules == {"slerp": 2}


def test_slerp_of_colinear_tensors_or_of_zeros_is_a_line(two):
    near = {"a": two[0]["a"] * 3, "b": torch.zeros(4, 6)}
    made, rules = merged([two[0], near], [1.0, 1.0], "slerp")
    torch.testing.assert_close(made["a"], two[0]["a"] * 2)
    torch.testing.assert_close(made["b"], two[0]["b"] / 2)
    assert rules == {"linear": 2} and all(tensor.isfinite().all() for tensor in made.values())


def test_task_arithmetic_adds_what_each_has_learnt(two):
    third = {name: tensor + 1 for name, tensor in two[0].items()}
    made, rules = merged([two[0], two[1], third], [1.0, 0.5, 2.0], "task_arithmetic")
    torch.testing.assert_close(made["a"], two[0]["a"] + 0.5 * (two[1]["a"] - two[0]["a"]) + 2)
    assert rules == {"task_arithmetic": 2}


def test_the_arithmetic_is_float32_and_the_result_of_the_models_type():
    halves = [{"a": torch.full((3,), 1.0).bfloat16()}, {"a": torch.full((3,), 1.0078125).bfloat16()}]
    made, _ = merged(halves, [1.0, 100.0], "linear")
    assert made["a"].dtype == torch.bfloat16 and torch.equal(made["a"], halves[1]["a"])


@pytest.mark.parametrize(
    "weights, method, says",
    [
        ([1.0], "linear", "2 models and 1 weights"),
        ([1.0, -1.0], "linear", "do not sum"),
        ([0.0, 0.0], "slerp", "do not sum"),
    ],
)
def test_weights_that_no_method_can_take_are_refused(two, weights, method, says):
    with pytest.raises(ValueError, match=says):
        merged(two, weights, method)
    with pytest.raises(ValueError, match="these are 3"):
        merged([*two, two[0]], [1.0, 1.0, 1.0], "slerp")


@pytest.mark.parametrize(
    "other, tokenizer, says",
    [
        (replace(TINY, layers=3), "{}", r"only one has model\.layers\.2"),
        (replace(TINY, ffn=48), "{}", r"model\.layers\.0\.mlp\.down_proj\.weight is \[32, 64\] and \[32, 48\]"),
        (replace(TINY, heads=2, kv_heads=1, head_dim=32), "{}", "heads is 4 and 2"),
        (TINY, "{ }", r"tokenizer\.json differs"),
    ],
)
def test_what_is_not_of_one_kind_is_named(tmp_path, other, tokenizer, says):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder, text in zip(folders, ("{}", tokenizer), strict=True):
        folder.mkdir()
        (folder / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=f"one and .*other cannot be merged: {says}"):
        check_alike(folders, [build(TINY, seed=0), build(other, seed=1)])
    check_alike(folders[:1] * 2, [build(TINY, seed=0), build(TINY, seed=1)])
