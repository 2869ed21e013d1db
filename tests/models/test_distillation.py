"""Learning from a teacher equals its plain definition, in value and gradient, in chunks of any size."""

import copy
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from models import distillation, fused, kernels
from models.batches import IGNORED
from models.distillation import CachedDistillation, Distillation
from models.pruning import prune
from models.shapes import build, shape_of
from tests.house import ROOT
from tests.models.conftest import TINY

NUMBERS = {"temperature": 2.0, "ce_weight": 0.3}


@pytest.fixture
def batch():
    ids = torch.randint(3, 120, (3, 17), generator=torch.Generator().manual_seed(0))
    targets = ids[:, 1:].clone()
    targets[0, :5] = IGNORED
    return {"ids": ids[:, :-1], "targets": targets}


@pytest.fixture
def teacher():
    """Sharper than a fresh model, so that divergences are far from nothing."""
    other = build(TINY, seed=9)
    with torch.no_grad():
        other.lm_head.weight.mul_(20)
    return other


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd"])
@pytest.mark.parametrize("chunk", [4, 1024])
def test_distillation_equals_the_dense_definition(tiny, teacher, batch, divergence, chunk, monkeypatch):
    monkeypatch.setitem(kernels.CHUNK, "cpu", chunk)
    objective = Distillation(teacher, tiny, divergence=divergence, **NUMBERS)
    keep = batch["targets"] != IGNORED
    student = tiny(batch["ids"]).logits[keep]
    with torch.no_grad():
        taught = teacher(batch["ids"]).logits[keep]
    p, q = (log_softmax(x / 2.0, -1) for x in (taught, student))
    middle = ((p.exp() + q.exp()) / 2).log()
    gap = {
        "forward_kl": (p.exp() * (p - q)).sum(),
        "reverse_kl": (q.exp() * (q - p)).sum(),
        "jsd": 0.5 * ((p.exp() * (p - middle)).sum() + (q.exp() * (q - middle)).sum()),
    }[divergence]
    plain = 0.7 * 2.0**2 * gap + 0.3 * cross_entropy(student, batch["targets"][keep], reduction="sum")
    loss, count = objective(tiny, batch)
    assert int(count) == 43
    torch.testing.assert_close(loss, plain, rtol=1e-4, atol=1e-5)
    ours, dense = gradients(tiny, objective(tiny, batch)[0]), gradients(tiny, plain)
    torch.testing.assert_close(ours, dense, rtol=1e-3, atol=1e-5)


LIGER = """
import torch
from models.distillation import Distillation
from models.shapes import build, shape_of
from tests.models.conftest import TINY

teacher, student = build(TINY, seed=9), build(TINY, seed=0)
draw = torch.Generator().manual_seed(0)
taught, hidden = (torch.randn(5, TINY.hidden, generator=draw) for _ in "ab")
for divergence in ("forward_kl", "reverse_kl", "jsd"):
    objective = Distillation(teacher, student, divergence=divergence, temperature=2.0, ce_weight=0.0)
    found = []
    for loss_of in (objective._chunked, objective._fused):
        own, head = hidden.clone().requires_grad_(), student.lm_head.weight.detach().clone().requires_grad_()
        loss = loss_of(own, taught, torch.zeros(5, dtype=int), head, teacher.lm_head.weight * 20)
        loss.backward()
        found.append([loss, own.grad, head.grad])
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.slow
def test_liger_has_the_same_three_divergences():
    """Its Triton kernels run on any machine in the interpreter, which has to be asked for before they are imported."""
    done = subprocess.run([sys.executable, "-c", LIGER], env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=ROOT)
    assert done.returncode == 0


def test_a_batch_without_targets_costs_nothing_and_moves_nothing(tiny, teacher, batch):
    empty = batch | {"targets": torch.full_like(batch["targets"], IGNORED)}
    loss, count = Distillation(teacher, tiny, divergence="jsd", **NUMBERS)(tiny, empty)
    assert float(loss.detach()) == int(count) == 0 and not gradients(tiny, loss).any()


def test_a_chunks_gradient_is_the_numerical_one(monkeypatch):
    monkeypatch.setitem(kernels.CHUNK, "cpu", 2)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # a numerical slope needs doubles
    draw = torch.Generator().manual_seed(0)
    hidden, head, taught = (torch.randn(n, 3, generator=draw, dtype=torch.float64) for n in (5, 7, 5))

    fixed = head.clone()

    def loss_of(logits, taught):
        return distillation.divergence_sum(taught @ fixed.T, logits, "jsd") * 3

    given = hidden.requires_grad_(), head.requires_grad_()
    assert torch.autograd.gradcheck(lambda h, w: fused.chunked(loss_of, h, w, taught) ** 2, given)


def test_draws_that_are_the_whole_distribution_give_forward_kl(tiny, teacher, batch):
    with torch.no_grad():
        shares = (teacher(batch["ids"]).logits / 2.0).softmax(-1)
    drawn = torch.arange(TINY.vocab_rows).expand(shares.shape)
    cached = CachedDistillation(teacher, tiny, **NUMBERS)(tiny, batch | {"drawn": drawn, "shares": shares})
    live = Distillation(teacher, tiny, divergence="forward_kl", **NUMBERS)(tiny, batch)
    kept = shares[batch["targets"] != IGNORED]
    entropy = -(kept * kept.clamp_min(1e-30).log()).sum()
    torch.testing.assert_close(cached[0], live[0] + 0.7 * 4.0 * entropy, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(gradients(tiny, cached[0]), gradients(tiny, live[0]), rtol=1e-3, atol=1e-5)


def test_draws_that_are_the_text_itself_give_its_cross_entropy(tiny, batch):
    target = batch["targets"].clamp(min=0)
    taught = {"drawn": target[..., None], "shares": torch.ones(*target.shape, 1)}
    loss, _ = CachedDistillation(tiny, tiny, temperature=1.0, ce_weight=0.0)(tiny, batch | taught)
    plain = cross_entropy(tiny(batch["ids"]).logits.flatten(0, 1), batch["targets"].flatten(), reduction="sum")
    torch.testing.assert_close(loss, plain)


def test_a_model_is_at_no_distance_from_itself():
    logits = torch.randn(5, 11)
    for kind in ("forward_kl", "reverse_kl", "jsd"):
        assert abs(float(distillation.divergence_sum(logits, logits, kind))) < 1e-5


def test_jensen_shannon_is_bounded_by_ln_2():
    far = torch.tensor([[100.0, -100.0]]), torch.tensor([[-100.0, 100.0]])
    assert float(distillation.divergence_sum(*far, "jsd")) == pytest.approx(math.log(2), rel=1e-4)


def test_the_whole_logits_never_stand_in_memory(tiny, teacher, batch, monkeypatch):
    monkeypatch.setitem(kernels.CHUNK, "cpu", 8)
    seen, plain = [], distillation.divergence_sum
    monkeypatch.setattr(distillation, "divergence_sum", lambda *a: seen.append(len(a[1])) or plain(*a))
    Distillation(teacher, tiny, divergence="jsd", temperature=1.0, ce_weight=0.0)(tiny, batch)[0].backward()
    assert seen == [8, 8, 8, 8, 8, 3]  # once each: nothing is computed again on the way back


def test_teacher_and_student_of_different_vocabularies_are_refused_before_any_work(tiny):
    other = build(replace(TINY, vocab_rows=192), seed=0)
    with pytest.raises(ValueError, match="192 vocabulary rows, student 128"):
        Distillation(other, tiny, divergence="forward_kl", **NUMBERS)
    with pytest.raises(ValueError, match="192 vocabulary rows, student 128"):
        CachedDistillation(other, tiny, **NUMBERS)


def test_hidden_states_are_compared_channel_by_channel_whatever_their_scale(tiny, batch):
    numbers = {"divergence": "forward_kl", "temperature": 1.0, "ce_weight": 0.0}
    own = list(range(TINY.hidden))

    def distance(teacher, channels):
        with_layers = Distillation(teacher, tiny, layers_weight=1.0, channels=channels, **numbers)
        loss, count = with_layers(tiny, batch)
        return float((loss - Distillation(teacher, tiny, **numbers)(tiny, batch)[0]) / count)

    same, other = copy.deepcopy(tiny), build(TINY, seed=9)
    assert distance(same, own) == pytest.approx(0, abs=1e-5)
    assert 0.5 < distance(same, own[::-1]) < 3 and 0.5 < distance(other, own) < 3


def test_channels_that_pruning_kept_are_nearer_than_channels_by_lot(batch):
    base = build(replace(TINY, layers=4, tied=True), seed=9)
    student, mapping = prune(base, [batch["ids"]], target=replace(shape_of(base.config), hidden=24, ffn=64, tied=True))
    numbers = {"divergence": "forward_kl", "temperature": 1.0, "ce_weight": 0.0}

    def loss(channels):
        objective = Distillation(base, student, layers_weight=1.0, channels=channels, **numbers)
        return float(objective(student, batch)[0])

    kept = mapping[0]["hidden"]
    assert loss(kept) < loss(kept[::-1])


def test_the_layers_gradient_reaches_the_lower_layers_only(batch):
    tiny, teacher = (build(replace(TINY, layers=4), seed=seed) for seed in (0, 9))
    numbers = {"divergence": "forward_kl", "temperature": 1.0, "ce_weight": 0.0}
    own = list(range(TINY.hidden))
    plain = Distillation(teacher, tiny, **numbers)(tiny, batch)[0]
    layers = Distillation(teacher, tiny, layers_weight=1.0, channels=own, **numbers)(tiny, batch)[0]
    tiny.zero_grad()
    (layers - plain).backward()
    heights = [float(layer.mlp.down_proj.weight.grad.norm()) for layer in tiny.model.layers]
    assert heights[0] > 1e-3 and heights[-1] == pytest.approx(0, abs=1e-4)
