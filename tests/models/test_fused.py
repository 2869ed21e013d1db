"""Our two operations equal torch's own in value and gradient, and fast products are fast products and no more."""

import pytest
import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from models import fused, kernels
from models.batches import IGNORED
from models.objectives import hidden_states
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
    for a, b in zip(gradients(3 * ours, hidden, head), gradients(3 * plain, hidden, head), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_attention_is_torchs_own_for_any_grouping_and_mask(kv_heads, mask):
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 7, 16, generator=draw, requires_grad=True) for n in (4, kv_heads, kv_heads))
    seen = torch.tril(torch.ones(7, 7, dtype=torch.bool)) & (torch.arange(7)[:, None] < torch.arange(7) + 3)
    added = torch.zeros(1, 1, 7, 7).masked_fill(~seen, -torch.inf)
    given = {None: None, "bool": seen[None, None], "float": added}[mask]
    ours, _ = fused.attention(None, q, k, v, given, scaling=0.3)
    plain = scaled_dot_product_attention(
        q, k, v, attn_mask=given, is_causal=given is None, scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    torch.testing.assert_close(ours, plain)
    for a, b in zip(gradients(ours.sin().sum(), q, k, v), gradients(plain.sin().sum(), q, k, v), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_choice_of_products_is_in_force_inside_and_gone_outside(monkeypatch):
    way = torch.backends.mkldnn.matmul
    before = way.fp32_precision
    monkeypatch.setattr(kernels, "products", lambda: "bf16")
    with kernels.fast_matmul():
        assert way.fp32_precision == "bf16"
        with kernels.exact_matmul():
            assert way.fp32_precision == "ieee"
        assert way.fp32_precision == "bf16"
    assert way.fp32_precision == before


@pytest.mark.parametrize("products", ["ieee", "bf16"])
def test_a_model_on_our_attention_gives_the_hidden_states_of_torchs(monkeypatch, products):
    monkeypatch.setattr(kernels, "products", lambda: products)
    ids = torch.randint(3, 120, (2, 24), generator=torch.Generator().manual_seed(0))
    plain, ours = build(TINY, seed=0), build(TINY, seed=0)
    kernels.accelerate(ours)
    with kernels.fast_matmul(), torch.no_grad():
        found = hidden_states(ours, {"ids": ids})
    expected = hidden_states(plain, {"ids": ids}).detach()
    bound = 1e-5 if products == "ieee" else 0.05  # bf16 keeps eight bits of a factor
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
