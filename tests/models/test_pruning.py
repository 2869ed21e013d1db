"""Pruning: what acts least goes, what is kept keeps its place, and what never acted is never missed."""

from dataclasses import replace

import pytest
import torch

from models.calibration import importance, influence
from models.pruning import cut, everything, narrowed, prune
from models.shapes import Shape, build, shape_of
from tests.models.conftest import TINY

IDS = torch.arange(24).reshape(2, 12) + 3
WIDE = replace(TINY, heads=8)


def teacher(layers=2):
    return build(replace(WIDE, layers=layers), seed=0)


def tied_in_value(model):
    """A head that is the embeddings but for its size, which the last norm makes good: tying them changes nothing."""
    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.embed_tokens.weight / 50)
    return model


def test_the_importance_of_a_channel_or_head_is_how_much_it_acts():
    model = teacher()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[5] = 0
        model.model.layers[0].self_attn.v_proj.weight[16:] = 0
    scores = importance(model, [IDS])
    assert {name: tuple(score.shape) for name, score in scores.items()} == {
        "hidden": (32,), "ffn": (2, 64), "heads": (2, 8)
    }  # fmt: skip
    assert scores["ffn"][1, 5] == 0 and (scores["ffn"][0] > 0).all()
    assert (scores["heads"][0, 4:] == 0).all() and (scores["heads"][0, :4] > 0).all()


def test_a_silent_layer_has_no_influence():
    model = teacher(3)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.zero_()
        model.model.layers[1].self_attn.o_proj.weight.zero_()
    first, silent, last = influence(model, [IDS, IDS])
    assert abs(silent) < 1e-6 < min(first, last)


def test_measuring_leaves_the_model_as_it_was():
    model = teacher()
    with torch.no_grad():
        before = model(IDS).logits
        importance(model, [IDS]), influence(model, [IDS])
        assert torch.equal(model(IDS).logits, before)


@pytest.mark.parametrize("rounds", [1, 3])
def test_pruning_what_never_acts_changes_no_logit(rounds):
    """FFN channels, two heads of each group, and a layer that all write nothing."""
    model = tied_in_value(teacher(3))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.up_proj.weight[40:] = 0
            for head in (0, 2, 5, 6):
                layer.self_attn.o_proj.weight[:, 16 * head : 16 * head + 16] = 0
        model.model.layers[1].mlp.down_proj.weight.zero_()
        model.model.layers[1].self_attn.o_proj.weight.zero_()
    heads = torch.ones(3, 8)
    heads[:, (0, 2, 5, 6)] = 0
    scores = importance(model, [IDS]) | {"heads": heads, "layers": influence(model, [IDS])}
    target = replace(WIDE, ffn=40, heads=4, layers=2)
    student = cut(model, narrowed(everything(shape_of(model.config)), scores, target))
    assert shape_of(student.config) == replace(target, tied=True)
    with torch.no_grad():
        torch.testing.assert_close(student(IDS).logits, model(IDS).logits)
    without_heads, mapping = prune(model, [IDS], target=replace(target, heads=8), rounds=rounds)
    assert [row["from"] for row in mapping[1:]] == [0, 2] and mapping[1]["ffn"] == list(range(40))
    with torch.no_grad():
        torch.testing.assert_close(without_heads(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_the_map_names_the_teachers_own_channels_after_any_number_of_rounds(rounds):
    model = teacher(3)
    student, mapping = prune(model, [IDS], target=replace(WIDE, hidden=16, ffn=48, heads=4, layers=2), rounds=rounds)
    assert shape_of(student.config) == replace(WIDE, hidden=16, ffn=48, heads=4, layers=2, tied=True)
    hidden = mapping[0]["hidden"]
    assert len(hidden) == len(set(hidden)) == 16
    for row in mapping[1:]:
        ours, theirs = student.model.layers[row["layer"]], model.model.layers[row["from"]]
        assert torch.equal(ours.mlp.down_proj.weight, theirs.mlp.down_proj.weight[hidden][:, row["ffn"]])
        assert [sum(head // 4 == group for head in row["heads"]) for group in (0, 1)] == [2, 2]
        q_HKD = theirs.self_attn.q_proj.weight.view(8, 16, 32)
        assert torch.equal(ours.self_attn.q_proj.weight.view(4, 16, 16), q_HKD[row["heads"]][:, :, hidden])
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    both = embedding + head * embedding.norm() / head.norm()
    torch.testing.assert_close(student.lm_head.weight, both[:, hidden] / 2)


def test_mini_has_its_published_size():
    base = Shape(131_392, 4096, 14336, 48, 32, 8, 128, tied=False, rope_theta=8e6, context=32_768)
    kept = everything(base)
    scores = {"hidden": torch.rand(4096), "ffn": torch.rand(48, 14336), "heads": torch.rand(48, 32)}
    scores |= {"layers": [0.0] * 48}
    mini = cut(build(base, seed=0, device="meta"), narrowed(kept, scores, replace(base, hidden=1792, ffn=4608)))
    assert sum(weight.numel() for weight in mini.parameters()) == 2_305_517_312


@pytest.mark.parametrize("target", [{"hidden": 64}, {"layers": 3}, {"heads": 3}])
def test_a_student_that_the_teacher_does_not_hold_is_refused(target):
    with pytest.raises(ValueError, match=r"exceeds the teacher|prune\.heads"):
        prune(teacher(), [IDS], target=replace(WIDE, **target))
