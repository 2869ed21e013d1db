"""The shared grid: nearest levels, exact products, gradients that reach the weights, training that repairs rounding."""

import copy
import itertools

import pytest
import torch

from models import quantization
from models.calibration import felt
from models.distillation import Distillation
from models.quantization import OnGrid, best_scales, fitted, shared_out, sort_channels
from models.shapes import Shape, build

SHAPE = Shape(
    hidden=64, ffn=96, layers=2, heads=2, kv_heads=1, head_dim=32, vocab_rows=128, tied=True, rope_theta=1e4, context=32
)


@pytest.fixture
def model():
    return build(SHAPE, seed=0)


def batch(seed):
    ids = torch.randint(3, 128, (4, 33), generator=torch.Generator().manual_seed(seed))
    return {"ids": ids[:, :-1], "targets": ids[:, 1:]}


def inputs(columns, seed=0):
    """Inputs that go together, as a layer's do: [512, columns], of a fifth as many independent ones and some noise."""
    draw = torch.Generator().manual_seed(seed)
    few, mixing = torch.randn(512, columns // 5, generator=draw), torch.randn(columns // 5, columns, generator=draw)
    return few @ mixing + 0.3 * torch.randn(512, columns, generator=draw)


def rounded(weight, scales, bits):
    """Nearest levels times their scales, spelled out."""
    wide = scales.float().repeat_interleave(32, dim=1)
    return (weight / wide).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * wide


@pytest.mark.parametrize("bits", [4, 5, 8])
def test_every_value_is_a_float16_times_a_level_exactly(bits):
    weight = torch.randn(16, 96, generator=torch.Generator().manual_seed(bits))
    found, scales = fitted(weight, torch.eye(96), bits)
    wide = scales.double().repeat_interleave(32, dim=1)
    levels = found.double() / wide
    assert scales.dtype == torch.float16 and torch.equal(levels.round() * wide, found.double())
    assert levels.round().min() >= -(2 ** (bits - 1)) and levels.round().max() <= 2 ** (bits - 1) - 1
    assert torch.equal(rounded(found, scales, bits), found), "what is on the grid stays"


def test_inputs_that_do_not_go_together_leave_plain_rounding_by_scales_that_are_better_than_the_best_tried():
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(2))
    found, scales = fitted(weight, torch.eye(64), 4)
    tried = torch.stack([best_scales(weight[:, :32], 4), best_scales(weight[:, 32:], 4)], -1)
    torch.testing.assert_close(scales, tried, rtol=0.1, atol=0)
    lost, plainly = ((values - weight).square().sum(-1) for values in (found, rounded(weight, tried, 4)))
    assert (lost <= plainly).all() and lost.sum() < 0.99 * plainly.sum()


def test_no_level_can_be_moved_for_the_better_when_all_have_had_their_turns(monkeypatch):
    weight, given = torch.randn(32, 96, generator=torch.Generator().manual_seed(3)), inputs(96)
    gram = given.T @ given
    damped = gram + quantization.DAMPING * gram.diagonal().mean() * torch.eye(96)

    def lost(found):
        return (((found - weight) @ damped) * (found - weight)).sum(-1)

    monkeypatch.setattr(quantization, "ROUNDS", 0)
    swept, _ = fitted(weight, gram, 4)
    monkeypatch.setattr(quantization, "ROUNDS", 30)
    found, scales = fitted(weight, gram, 4)
    assert lost(found).sum() < 0.9 * lost(swept).sum()
    for column, step in itertools.product(range(96), (-1, 1)):
        other, scale = found.clone(), scales[:, column // 32].float()
        other[:, column] += step * scale
        legal = ((other[:, column] / scale).round() >= -8) & ((other[:, column] / scale).round() <= 7)
        assert (lost(other) >= lost(found) * (1 - 1e-5))[legal].all()


def test_scales_lose_less_than_llama_cpp_s_own_q4_0_and_a_block_of_zeros_is_one():
    import gguf

    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    weight[3, 32:64] = 0
    found, _ = fitted(weight, torch.eye(256), 4)
    kind = gguf.GGMLQuantizationType.Q4_0
    plain = torch.from_numpy(gguf.dequantize(gguf.quantize(weight.numpy(), kind), kind))
    assert (found - weight).square().sum() < 0.95 * (plain - weight).square().sum()
    assert not found[3, 32:64].any()


def test_later_columns_make_good_what_rounding_earlier_ones_did_to_outputs():
    weight, given, fresh = torch.randn(32, 96, generator=torch.Generator().manual_seed(3)), inputs(96), inputs(96)[::2]

    def lost(found):
        return float(((found - weight) @ fresh.T).square().mean())

    plain, _ = fitted(weight, torch.eye(96), 4)
    found, _ = fitted(weight, given.T @ given, 4)
    assert lost(found) < 0.5 * lost(plain)


def test_rows_that_blocks_do_not_fill_are_refused():
    with pytest.raises(ValueError, match="rows of 48"):
        fitted(torch.zeros(2, 48), torch.eye(48), 4)


def test_the_objective_sees_the_grid_and_its_gradient_reaches_the_weights(model):
    seen = {}

    def objective(student, given):
        seen.update({name: weight.detach().clone() for name, weight in student.state_dict(keep_vars=True).items()})
        logits = student(input_ids=given["ids"]).logits
        return logits.float().logsumexp(-1).sum(), given["targets"].new_tensor(given["targets"].numel())

    on_grid = OnGrid(objective, model, [batch(7)["ids"]], bits=5.0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.01)  # as a step of training would, beside the grid
    before = copy.deepcopy(model.state_dict())
    loss, _ = on_grid(model, batch(0))
    loss.backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items()), "left as they were"
    on_grid.settle(model)
    for name, weight in model.state_dict().items():
        assert torch.allclose(seen[name], weight, rtol=0, atol=1e-7), name
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], model.model.layers[0].mlp.up_proj.weight)


def test_a_little_training_to_be_itself_takes_away_part_of_what_the_grid_cost(model):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(1 if "norm" in name else 4)  # as sure of itself as a trained model is
    teacher = copy.deepcopy(model)
    plain = {"divergence": "forward_kl", "temperature": 1.0, "ce_weight": 0.0}
    from_itself = Distillation(teacher, model, **plain)
    on_grid = OnGrid(from_itself, model, [batch(7)["ids"]], bits=4.5)

    def divergence():
        with torch.no_grad():
            loss, count = on_grid(model, batch(99))
        return float(loss / count)

    start, optimizer = divergence(), torch.optim.Adam(model.parameters())
    for step in range(80):
        optimizer.param_groups[0]["lr"] = 5e-4 * (1 - step / 80)
        optimizer.zero_grad()
        loss, count = on_grid(model, batch(step))
        (loss / count).backward()
        optimizer.step()
    trained = divergence()
    on_grid.settle(model)
    with torch.no_grad():
        loss, count = from_itself(model, batch(99))
    assert trained < 0.95 * start and float(loss / count) == pytest.approx(trained, rel=1e-3)


def test_bits_stay_within_what_is_allowed_scales_counted(model):
    for allowed in (4.5, 4.8, 5.1):
        on_grid = OnGrid(lambda *_: None, copy.deepcopy(model), [batch(7)["ids"]], bits=allowed)
        assert allowed - 0.2 < on_grid.bits_per_weight <= allowed


def test_the_matrix_whose_rounding_costs_most_for_its_size_gets_the_bits():
    lost, sizes = {"dear": 64.0, "large": 64.0, "cheap": 1.0}, {"dear": 8, "large": 112, "cheap": 8}
    assert shared_out(lost, sizes, 4) == dict.fromkeys(sizes, 4)
    assert shared_out(lost, sizes, 4 + 8 / 128) == {"dear": 5, "large": 4, "cheap": 4}
    assert shared_out(lost, sizes, 4 + 144 / 128) == {"dear": 8, "large": 5, "cheap": 4}


def test_channels_in_another_order_are_the_same_model_with_the_greatest_first(model):
    with torch.no_grad():
        model.model.norm.weight.copy_(torch.linspace(0.1, 3, SHAPE.hidden))  # the last are largest to the head
    before, ids = copy.deepcopy(model), [batch(3)["ids"]]
    sort_channels(model, ids)
    torch.testing.assert_close(model(input_ids=ids[0]).logits, before(input_ids=ids[0]).logits, rtol=1e-4, atol=1e-5)
    assert not torch.equal(model.model.norm.weight, before.model.norm.weight)
    sizes = felt(model, ids).inputs["model.embed_tokens.weight"].diagonal()
    assert (sizes.diff() <= 1e-6 * sizes.max()).all()


def test_a_position_counts_by_the_square_of_the_gradient_behind_it(model):
    ids = batch(5)["ids"][:1]
    with torch.no_grad():
        model.lm_head.weight[:] = 0  # one logit alone depends on anything
        model.lm_head.weight[3] = torch.randn(SHAPE.hidden, generator=torch.Generator().manual_seed(0))
    name, seen = "model.layers.1.mlp.down_proj.weight", []
    module = model.get_submodule(name.removesuffix(".weight"))
    module.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()[0]))
    module.register_full_backward_hook(lambda _, __, given: seen.append(given[0][0].detach()))
    gram = felt(model, [ids]).inputs[name]
    rows, weights = seen[0].double(), seen[1].double().square().sum(-1)
    assert weights.max() > 2 * weights.min()
    torch.testing.assert_close(gram.double(), (rows.T * weights) @ rows / weights.sum(), rtol=1e-4, atol=1e-8)


def test_gradients_foretell_what_a_small_error_of_a_matrix_costs_its_own_position(model):
    """Before attention errors of several positions add up, which is not foretold: v_proj here costs thrice as much."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(1 if "norm" in name else 4)  # as sure of itself as a trained model is
    batches = [batch(seed)["ids"] for seed in range(16)]
    outputs, grams, _ = felt(model, batches)
    for name in ("model.layers.1.mlp.down_proj.weight", "model.layers.1.self_attn.o_proj.weight"):
        weight, other = model.get_parameter(name), copy.deepcopy(model)
        error = 0.02 * weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            other.get_parameter(name).add_(error)
            ours, theirs = (it(input_ids=torch.cat(batches)).logits.log_softmax(-1) for it in (other, model))
        kl = (theirs.exp() * (theirs - ours)).sum(-1).mean()
        foretold = outputs[name] @ ((error @ grams[name]) * error).sum(-1) / 2
        assert float(foretold) == pytest.approx(float(kl), rel=0.5), name
