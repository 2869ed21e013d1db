"""Muon takes torch's own step, in the arithmetic of the training: bf16 where that is fast, else float32."""

from dataclasses import replace

import pytest
import torch

from models.optimizers import optimizers_of
from models.shapes import build
from tests.models.conftest import TINY
from tests.models.test_fit import PLAN

NAME = "model.layers.0.mlp.up_proj.weight"


def stepped(monkeypatch, precision: str) -> torch.Tensor:
    monkeypatch.setenv("OPENMIDM_PRECISION", precision)
    model = build(TINY, seed=0).double() if precision == "exact" else build(TINY, seed=0)
    torch.manual_seed(0)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape).to(weight)
    before = model.get_parameter(NAME).detach().clone()
    for each in optimizers_of(model, replace(PLAN, optimizer="muon", weight_decay=0.0)):
        each.step()
    return (model.get_parameter(NAME).detach() - before).double()


@pytest.mark.parametrize(("precision", "least", "most"), [("no", 0.0, 1e-5), ("bf16", 1e-4, 0.02)])
def test_muon_rounds_as_the_training_does(monkeypatch, precision, least, most):
    """Beside the same step in double precision."""
    exact, found = stepped(monkeypatch, "exact"), stepped(monkeypatch, precision)
    assert least <= float((found - exact).norm() / exact.norm()) <= most
