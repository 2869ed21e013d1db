"""The loss in chunks is the plain loss in value and gradient; bf16 rounds and does nothing else."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from models import kernels
from models.batches import IGNORED, document_sizes, positions
from models.objectives import hidden_states, next_token
from models.shapes import build
from tests.models.conftest import TINY


def gradients(loss, *tensors):
    return torch.autograd.grad(loss, tensors)


@pytest.mark.parametrize("rows", [3, 64])
@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_the_heads_loss_and_gradients_are_those_of_the_plain_definition(monkeypatch, rows, z_loss):
    monkeypatch.setitem(kernels.CHUNK, "cpu", rows)
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(10, 8, generator=draw, requires_grad=True)
    head = torch.randn(20, 8, generator=draw, requires_grad=True)
    target = torch.randint(20, (10,), generator=draw)
    target[2:5] = IGNORED
    logits = hidden @ head.T
    plain = cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
    plain = plain + z_loss * (logits.logsumexp(-1) ** 2)[target >= 0].sum()
    ours = kernels.next_token_loss(hidden, head, target, z_loss)
    torch.testing.assert_close(ours, plain)
    with torch.no_grad():
        torch.testing.assert_close(kernels.next_token_loss(hidden, head, target, z_loss), ours.detach())
    for a, b in zip(gradients(3 * ours, hidden, head), gradients(3 * plain, hidden, head), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_training_in_bf16_rounds_and_does_nothing_else(monkeypatch, precision):
    monkeypatch.setenv("OPENMIDM_PRECISION", precision)
    ids = torch.randint(3, 120, (2, 24), generator=torch.Generator().manual_seed(0))
    plain, ours = build(TINY, seed=0), build(TINY, seed=0)
    kernels.accelerate(ours)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"), torch.no_grad():
        found = hidden_states(ours, {"ids": ids})
    expected = hidden_states(plain, {"ids": ids}).detach()
    bound = 1e-5 if precision == "no" else 0.05  # bf16 keeps eight bits of a factor
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=bound, atol=bound)


def test_documents_with_positions_of_their_own_do_not_see_each_other():
    model = build(TINY, seed=0)
    kernels.accelerate(model)
    ids = torch.randint(3, 120, (1, 20), generator=torch.Generator().manual_seed(0))
    positions = torch.cat([torch.arange(8), torch.arange(12)])[None]
    with torch.no_grad():
        packed = hidden_states(model, {"ids": ids, "positions": positions})
        alone = torch.cat([hidden_states(model, {"ids": part}) for part in (ids[:, :8], ids[:, 8:])], 1)
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)


def test_documents_read_one_by_one_have_the_gradients_of_the_masked_rows():
    """Beside a model whose attention was not exchanged: transformers' own, which masks other documents."""
    plain, ours = build(TINY, seed=0), build(TINY, seed=0)
    kernels.accelerate(ours)
    ids = torch.randint(3, 120, (2, 20), generator=torch.Generator().manual_seed(0))
    ids[0, 0] = ids[0, 7] = ids[0, 8] = ids[1, 5] = 0  # one document of a single token, one cut off before its row
    batch = {"ids": ids, "targets": ids, "positions": positions(ids)}
    assert document_sizes(batch["positions"]).tolist() == [7, 1, 12, 5, 15]
    losses = [next_token(model, batch)[0] for model in (plain, ours)]
    found, expected = (gradients(loss, *m.parameters()) for loss, m in zip(losses, (plain, ours), strict=True))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=0)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
