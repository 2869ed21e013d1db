"""Induction heads: they find what followed a word before, and keep doing so through steps, growth and pruning."""

import copy
from dataclasses import replace

import pytest
import torch

from models import checkpoints, growth, induction, pruning
from models.optimizers import optimizers_of
from models.shapes import Shape, build
from tests.models.test_fit import PLAN

SHAPE = Shape(
    vocab_rows=2048, hidden=320, ffn=64, layers=4, heads=4, kv_heads=2, head_dim=64, tied=False, rope_theta=1e4,
    context=128,
)  # fmt: skip


@pytest.fixture(scope="module")
def induced():
    model = build(SHAPE, seed=0)
    induction.induce(model, seed=0)
    return model


def said_twice(rows=16, places=24):
    half = torch.randint(3, 2048, (rows, places), generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.zeros(rows, 1, dtype=half.dtype), half, half], 1)


def found(model, heads=slice(0, 2)):
    """Of the attention of some heads in each layer: the share at the token before, and at what followed it earlier."""
    ids, places = said_twice(), 24
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(ids, output_attentions=True).attentions
    second = range(places + 1, ids.shape[1])
    before = [torch.stack([a[:, heads, i, i - 1] for i in second]).mean().item() for a in attentions]
    followed = [torch.stack([a[:, heads, i, i - places + 1] for i in second]).mean().item() for a in attentions]
    return before, followed


def test_a_fresh_model_finds_what_followed_the_same_token_and_others_do_not(induced):
    before, followed = found(induced)
    assert before[0] > 0.99 and followed[1] > 0.85
    assert max(before[2:]) < 0.1 and max(followed[2:]) < 0.1
    before, followed = found(induced, heads=slice(2, 4))
    assert max(before) < 0.1 and max(followed) < 0.1


def test_what_followed_is_among_the_likeliest_tokens(induced):
    ids = said_twice()
    with torch.no_grad():
        logits = induced(ids[:, :-1]).logits[:, 25:]
    rank = (logits > logits.gather(-1, ids[:, 26:, None])).sum(-1)
    assert (rank < 10).float().mean() > 0.5  # by lot 0.005


@pytest.mark.parametrize("optimizer", ["muon", "muon_polar", "adamw"])
def test_steps_move_all_but_what_is_held(optimizer):
    model = build(SHAPE, seed=0)
    induction.induce(model, seed=0)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    made = optimizers_of(model, replace(PLAN, optimizer=optimizer, weight_decay=0.1))
    for _ in range(2):
        for weight in model.parameters():
            weight.grad = torch.randn_like(weight)
        for each in made:
            each.step()
    places = dict(induction.held(model.config))
    for name, weight in model.named_parameters():
        stayed = weight == before[name]
        if name in places:
            assert stayed[places[name]].all()
            stayed[places[name]] = False
        assert not stayed.all() and stayed.float().mean() < 0.01, name


def test_models_that_were_not_induced_or_let_go_are_free(tmp_path):
    model = build(SHAPE, seed=0)
    assert list(induction.held(model.config)) == []
    induction.induce(model, seed=0)
    induction.free(model.config)
    assert list(induction.held(model.config)) == [] and induction.channels(model.config) == 0
    model.save_pretrained(tmp_path)
    assert "induction" not in (tmp_path / "config.json").read_text()


def test_growth_and_a_longer_context_carry_the_heads_along(induced, tmp_path):
    grown, _ = growth.depth_up(induced, layers=6, method="overlap", writes="shared")
    assert grown.config.induction == {"before": [0], "match": [1, 3]}
    longer = growth.with_context(grown, context=512, rope_theta=40000.0)
    before, followed = found(longer)
    assert before[0] > 0.99 and followed[1] > 0.85 and followed[3] > 0.6  # untrained, the first ones' finds disturb
    longer.save_pretrained(tmp_path)
    assert checkpoints.load(tmp_path).config.induction == {"before": [0], "match": [1, 3]}


def test_pruning_keeps_the_heads_and_their_constant(induced):
    ids = said_twice()
    target = replace(SHAPE, hidden=256, layers=3, heads=2, tied=True)
    student, mapping = pruning.prune(induced, [ids], target=target, rounds=2)
    assert mapping[0]["hidden"][:2] == [0, 1] and all(row["heads"][0] in (0, 1) for row in mapping[1:3])
    assert student.config.induction == {"before": [0], "match": [1]}
    assert torch.equal(student.lm_head.weight[:, :2], induced.model.embed_tokens.weight[:, :2])
    before, followed = found(student, heads=slice(0, 1))
    assert before[0] > 0.95 and followed[1] > 0.5


@pytest.mark.parametrize(
    "change", [{"tied": True}, {"layers": 1}, {"kv_heads": 1}, {"head_dim": 16}, {"context": 2048}]
)
def test_a_shape_that_cannot_have_them_is_told(change):
    model = build(replace(SHAPE, **change), seed=0)
    with pytest.raises(ValueError, match="induction heads want"):
        induction.induce(model, seed=0)


def test_shards_are_refused(induced):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        sharded = torch.distributed.fsdp.fully_shard(copy.deepcopy(induced))
        with pytest.raises(ValueError, match="cannot be held where weights are sharded"):
            optimizers_of(sharded, PLAN)
    finally:
        torch.distributed.destroy_process_group()
