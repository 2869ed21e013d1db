"""Depth-up copies and longer context: what is kept, and what came whence."""

from collections import Counter

import pytest
import torch

from models.growth import CHOICES, depth_up, with_context
from models.shapes import Shape, build, shape_of
from tests.models.conftest import TINY, heard

IDS = torch.arange(24).reshape(2, 12) + 3


def seed(layers):
    return build(Shape(**(vars(TINY) | {"layers": layers})), seed=0)


def origins(mapping):
    return [row["from"] for row in mapping]


@pytest.mark.parametrize("method", CHOICES)
def test_every_layer_equals_the_one_that_the_map_names_but_for_what_is_silenced(method):
    model = seed(3)
    grown, mapping = depth_up(model, layers=6, method=method, batches=[IDS])
    assert shape_of(grown.config) == Shape(**(vars(TINY) | {"layers": 6}))
    assert sorted(origins(mapping)) == [0, 0, 1, 1, 2, 2]
    for row in mapping:
        assert row.get("method") == (method if row["copy"] else None)
        ours, theirs = grown.model.layers[row["layer"]], model.model.layers[row["from"]]
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            silent = method == "identity" and row["copy"] and name.endswith(("o_proj.weight", "down_proj.weight"))
            assert torch.equal(a, torch.zeros_like(b) if silent else b)


@pytest.mark.parametrize("method", CHOICES)
def test_growing_by_nothing_changes_nothing(method):
    model = seed(4)
    grown, _ = depth_up(model, layers=4, method=method, batches=[IDS])
    with torch.no_grad():
        assert torch.equal(grown(IDS).logits, model(IDS).logits)


def test_overlap_copies_as_solar_does():
    _, mapping = depth_up(seed(4), layers=6, method="overlap")
    assert origins(mapping) == [0, 1, 2, 1, 2, 3]
    assert [row["copy"] for row in mapping] == [False, False, False, True, True, False]


def test_overlap_gives_the_reference_its_48_layers():
    deep = build(Shape(**(vars(TINY) | {"layers": 32})), seed=0, device="meta")
    _, mapping = depth_up(deep, layers=48, method="overlap")
    assert origins(mapping) == [*range(24), *range(8, 32)]


def test_identity_growth_changes_no_output_and_its_silent_layers_can_learn():
    model = seed(4)
    grown, mapping = depth_up(model, layers=6, method="identity")
    assert origins(mapping) == [0, 1, 1, 2, 3, 3]
    with torch.no_grad():
        torch.testing.assert_close(grown(IDS).logits, model(IDS).logits, atol=1e-5, rtol=0)
    grown(IDS).logits.square().sum().backward()
    assert grown.model.layers[2].self_attn.o_proj.weight.grad.abs().sum() > 0
    assert grown.model.layers[2].mlp.down_proj.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("method", "layers"), [("overlap", 12), ("stack", 24)])
def test_copies_that_share_what_a_layer_wrote_change_outputs_far_less(method, layers):
    model = heard(seed(8))
    whole, shared = (depth_up(model, layers=layers, method=method, writes=writes) for writes in ("whole", "shared"))
    counts = Counter(origins(shared[1]))
    assert max(counts.values()) == layers // 8 + (method == "overlap")
    for row in shared[1]:
        ours, theirs = shared[0].model.layers[row["layer"]], model.model.layers[row["from"]]
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            part = counts[row["from"]] if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
            torch.testing.assert_close(a, b / part)
    with torch.no_grad():
        far, near = (float((it(IDS).logits - model(IDS).logits).square().mean()) for it, _ in (whole, shared))
    assert near < far / 4


def test_copies_that_write_nothing_cannot_share():
    with pytest.raises(ValueError, match=r"upscale\.writes"):
        depth_up(seed(4), layers=6, method="identity", writes="shared")


def test_influence_copies_the_layers_that_change_the_stream_most():
    model = heard(seed(4))
    with torch.no_grad():
        for layer, strength in zip(model.model.layers, (0.0, 40.0, 0.0, 20.0), strict=True):
            layer.mlp.down_proj.weight.mul_(strength)
            layer.self_attn.o_proj.weight.mul_(strength)
    _, mapping = depth_up(model, layers=6, method="influence", batches=[IDS])
    assert origins(mapping) == [0, 1, 1, 2, 3, 3]
    assert all(row["score"] > 0.01 for row in mapping if row["copy"])


def test_angular_repeats_the_run_across_which_the_stream_turns_least():
    model = seed(5)
    with torch.no_grad():
        for layer in (model.model.layers[n] for n in (0, 1, 4)):
            layer.mlp.down_proj.weight.mul_(40)
    _, mapping = depth_up(model, layers=7, method="angular", batches=[IDS])
    assert origins(mapping) == [0, 1, 2, 3, 2, 3, 4]


def test_stack_repeats_the_whole_seed():
    _, mapping = depth_up(seed(2), layers=6, method="stack")
    assert origins(mapping) == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("method", "layers"), [*(("overlap", n) for n in (3, 5, 10)), ("influence", 9), ("identity", 3), ("stack", 6)]
)
def test_impossible_depths_are_refused(method, layers):
    with pytest.raises(ValueError, match=r"upscale\.layers"):
        depth_up(seed(4), layers=layers, method=method, batches=[IDS])


def test_a_longer_context_keeps_the_weights_and_makes_new_rotary_tables():
    model = seed(2)
    longer = with_context(model, context=64, rope_theta=5e5)
    assert shape_of(longer.config).rope_theta == 5e5
    assert longer.model.rotary_emb.inv_freq[-1] != model.model.rotary_emb.inv_freq[-1]
    for a, b in zip(longer.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
