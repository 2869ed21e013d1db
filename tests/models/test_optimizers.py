"""Muon's step, torch's own and the one of fewer products: in the arithmetic of the training, bf16 or float32."""

import math
from dataclasses import replace

import pytest
import torch

from models.optimizers import POLAR, ROUNDS, optimizers_of
from models.shapes import build
from tests.models.conftest import TINY
from tests.models.test_fit import PLAN

NAME = "model.layers.0.mlp.up_proj.weight"


def stepped(monkeypatch, precision: str, optimizer: str = "muon") -> torch.Tensor:
    monkeypatch.setenv("OPENMIDM_PRECISION", precision)
    model = build(TINY, seed=0).double() if precision == "exact" else build(TINY, seed=0)
    torch.manual_seed(0)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape).to(weight)
    before = model.get_parameter(NAME).detach().clone()
    for each in optimizers_of(model, replace(PLAN, optimizer=optimizer, weight_decay=0.0)):
        each.step()
    return (model.get_parameter(NAME).detach() - before).double()


@pytest.mark.parametrize("optimizer", ROUNDS)
@pytest.mark.parametrize(("precision", "least", "most"), [("no", 0.0, 1e-5), ("bf16", 1e-4, 0.02)])
def test_muon_rounds_as_the_training_does(monkeypatch, precision, least, most, optimizer):
    """Beside the same step in double precision."""
    exact, found = stepped(monkeypatch, "exact", optimizer), stepped(monkeypatch, precision, optimizer)
    most *= 5 if optimizer == "muon_polar" else 1  # its first polynomial sums terms of 8, -24 and 17 times a matrix
    assert least <= float((found - exact).norm() / exact.norm()) <= most


def test_each_round_is_the_best_of_its_kind():
    """A polynomial errs alike, with signs in turn, at four points of what the one before leaves (Chebyshev)."""
    low, high = 0.01, 1.0
    for a, b, c in POLAR:
        points = torch.logspace(math.log10(low), math.log10(high), 100_001, dtype=torch.float64)
        error = a * points + b * points**3 + c * points**5 - 1
        worst = float(error.abs().max())
        peaks = error[error.abs() > 0.99 * worst].sign()
        assert int((peaks.diff() != 0).sum()) == 3
        low, high = 1 - worst, 1 + worst


def test_three_rounds_turn_a_matrix_as_torchs_four_do(monkeypatch):
    """Momentum and rate included; no singular value farther from 1 than the polynomials leave it."""
    torchs, ours = stepped(monkeypatch, "no"), stepped(monkeypatch, "no", "muon_polar")
    assert torch.nn.functional.cosine_similarity(torchs.flatten(), ours.flatten(), dim=0) > 0.97
    values = torch.linalg.svdvals(ours) / (0.2 * PLAN.rate(0) * max(ours.shape) ** 0.5)
    assert values.min() > 0.72 and values.max() < 1.28
