"""Logits equal a Llama written out plainly below, with every option; and saving, loading, saving changes no byte."""

from dataclasses import replace
from hashlib import sha256

import pytest
import torch

from models import checkpoints, objectives, reference
from models.shapes import build, shape_of
from tests.models.conftest import TINY

OPTIONS = {
    "as it is": {},
    "one KV head": {"kv_heads": 1},
    "a KV head for each head": {"kv_heads": 4},
    "heads × head_dim > hidden": {"head_dim": 24},
    "heads × head_dim < hidden": {"heads": 2, "head_dim": 8},
    "tied": {"tied": True},
    "extended theta": {"rope_theta": 8e6, "context": 64},
    "three layers": {"layers": 3},
}
CLOSE = dict(rtol=1e-5, atol=1e-5)
IDS = torch.randint(3, 120, (2, 24), generator=torch.Generator().manual_seed(0))
LENGTHS = (9, 1, 14)  # documents of one row
POSITIONS = torch.cat([torch.arange(length) for length in LENGTHS]).expand(2, -1)


def plain_llama(model, ids_BT, positions_BT=None):
    """Llama from its equations (Touvron et al. 2023; RoPE: Su et al. 2021), one row after another: logits [B, T, V].

    A position that restarts opens a document, which sees nothing before itself.
    """
    shape, weights = shape_of(model.config), {name: w.double() for name, w in model.state_dict().items()}
    rows = [arrange(ids, None if positions_BT is None else positions_BT[i]) for i, ids in enumerate(ids_BT)]
    return torch.stack([plain_row(shape, weights, *row) for row in rows]).float()


def arrange(ids_T, positions_T):
    positions_T = torch.arange(len(ids_T)) if positions_T is None else positions_T
    document_T = (positions_T == 0).cumsum(0)
    later_TT = torch.ones(len(ids_T), len(ids_T)).triu(1).bool()
    return ids_T, positions_T, later_TT | (document_T[:, None] != document_T[None])


def plain_row(shape, weights, ids_T, positions_T, hidden_TT):
    def norm(x, name):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weights[name]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T

    def turned(x_THd):
        half = shape.head_dim // 2
        speeds = shape.rope_theta ** (-torch.arange(half).double() / half)
        angle = (positions_T[:, None] * speeds)[:, None]
        first, second = x_THd[..., :half], x_THd[..., half:]
        return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], -1)

    x = weights["model.embed_tokens.weight"][ids_T]
    for layer in (f"model.layers.{n}" for n in range(shape.layers)):
        inner = norm(x, f"{layer}.input_layernorm.weight")
        q, k, v = (linear(inner, f"{layer}.self_attn.{p}_proj").view(len(x), -1, shape.head_dim) for p in "qkv")
        k, v = (heads.repeat_interleave(shape.heads // shape.kv_heads, 1) for heads in (turned(k), v))
        scores = torch.einsum("thd,shd->hts", turned(q), k) / shape.head_dim**0.5
        mixed = torch.einsum("hts,shd->thd", scores.masked_fill(hidden_TT, float("-inf")).softmax(-1), v)
        x = x + linear(mixed.flatten(1), f"{layer}.self_attn.o_proj")
        inner = norm(x, f"{layer}.post_attention_layernorm.weight")
        gate, up = linear(inner, f"{layer}.mlp.gate_proj"), linear(inner, f"{layer}.mlp.up_proj")
        x = x + linear(gate * gate.sigmoid() * up, f"{layer}.mlp.down_proj")
    return norm(x, "model.norm.weight") @ weights["lm_head.weight"].T


def lively(options):
    """A model whose every weight matters: ten times the usual spread, norms that are not one."""
    model = build(replace(TINY, **options), seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(
                torch.randn(weight.shape, generator=draw) * (0.2 if weight.ndim == 2 else 0.1) + (weight.ndim < 2)
            )
    return model


def ours(model, ids_BT, positions_BT=None):
    """The path of training: hidden states, then the head."""
    hidden_BTD = model.model(input_ids=ids_BT, position_ids=positions_BT, use_cache=False).last_hidden_state
    return hidden_BTD @ objectives.head_of(model, hidden_BTD).T


@pytest.fixture(params=OPTIONS, scope="module")
def model(request):
    return lively(OPTIONS[request.param]).requires_grad_(False)


def test_logits_are_those_of_the_plain_model(model):
    theirs = plain_llama(model, IDS)
    assert theirs.std() > 0.3
    torch.testing.assert_close(ours(model, IDS), theirs, **CLOSE)
    torch.testing.assert_close(model(IDS).logits, theirs, **CLOSE)


def test_packed_documents_are_those_documents_alone(model):
    """Positions that restart are all that transformers needs to keep documents apart."""
    packed = ours(model, IDS, POSITIONS)
    torch.testing.assert_close(packed, plain_llama(model, IDS, POSITIONS), **CLOSE)
    alone = torch.cat([ours(model, part) for part in IDS.split(LENGTHS, dim=1)], 1)
    torch.testing.assert_close(packed, alone, **CLOSE)
    assert (packed[:, LENGTHS[0] :] - ours(model, IDS)[:, LENGTHS[0] :]).abs().max() > 1e-2, "attention was not cut"


def test_what_was_saved_predicts_the_same_in_the_judge_and_in_the_verification(model, tmp_path):
    model.save_pretrained(tmp_path)
    theirs = plain_llama(model, IDS[:1])[0]
    torch.testing.assert_close(torch.from_numpy(reference.logits(tmp_path)(IDS[0].tolist())), theirs, **CLOSE)
    from evals.torch_subject import TorchSubject
    from models.memory import NOTHING

    judge = TorchSubject.__new__(TorchSubject)  # its tokenizer plays no part in logits
    judge._model, judge._memory = checkpoints.load(tmp_path).eval(), NOTHING
    torch.testing.assert_close(torch.from_numpy(judge.logits(IDS[0].tolist())), theirs, **CLOSE)


def test_save_load_save_changes_no_byte_and_keeps_theta(model, tmp_path):
    model.save_pretrained(tmp_path / "one")
    loaded = checkpoints.load(tmp_path / "one")
    loaded.save_pretrained(tmp_path / "two")
    assert shape_of(loaded.config) == shape_of(checkpoints.load(tmp_path / "two").config) == shape_of(model.config)
    first, second = (
        {f.name: sha256(f.read_bytes()).hexdigest() for f in (tmp_path / n).iterdir()} for n in ("one", "two")
    )
    assert "model.safetensors" in first and "config.json" in first
    assert first == second
