"""The shapes of the paper, and that a config keeps every number."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from models import growth, pruning
from models.optimizers import optimizers_of
from models.parallel import memory
from models.shapes import Shape, build, config_of, rows_for, shape_of, twins_of
from tests.models.conftest import TINY
from tests.models.test_fit import PLAN

PAPER = YAML(typ="safe").load(Path("profiles/paper.yaml"))
SEED = Shape(
    vocab_rows=rows_for(PAPER["tokenizer"]["vocab_size"]),
    tied=False,
    context=PAPER["pretrain"]["context"],
    **PAPER["pretrain"]["shape"],
)
BASE = Shape(**(vars(SEED) | {"layers": PAPER["upscale"]["layers"]}))
MINI = Shape(**(vars(BASE) | {"hidden": PAPER["prune"]["hidden"], "ffn": PAPER["prune"]["ffn"], "tied": True}))


@pytest.mark.parametrize(
    ("shape", "parameters"), [(SEED, 8_055_951_360), (BASE, 11_545_743_360), (MINI, 2_305_517_312)]
)
def test_the_paper_profile_builds_the_published_parameter_counts_on_the_meta_device(shape, parameters):
    model = build(shape, seed=0, device="meta")
    assert sum(weight.numel() for weight in model.parameters()) == parameters == shape.parameters()


def test_every_step_of_the_paper_runs_on_the_meta_device():
    """Build, grow, stretch, prune: 8.06 B → 11.55 B → 2.31 B weights, and the optimizers of each, without a byte."""
    base, mapping = growth.depth_up(build(SEED, seed=0, device="meta"), layers=48, method="overlap")
    assert [row["from"] for row in mapping] == [*range(24), *range(8, 32)]
    stretched = PAPER["extend"]
    base = growth.with_context(base, context=stretched["context"], rope_theta=stretched["rope_theta"])
    draw = torch.Generator().manual_seed(0)
    widths = {"hidden": (4096,), "ffn": (48, 14336), "heads": (48, 32), "layers": (48,)}
    scores = {name: torch.rand(width, generator=draw) for name, width in widths.items()}
    scores["layers"] = scores["layers"].tolist()
    target = replace(shape_of(base.config), hidden=1792, ffn=4608, tied=True)
    mini = pruning.cut(base, pruning.narrowed(pruning.everything(shape_of(base.config)), scores, target))
    found = [sum(weight.numel() for weight in model.parameters()) for model in (base, mini)]
    assert found == [11_545_743_360, 2_305_517_312]
    assert shape_of(mini.config) == replace(MINI, context=32_768, rope_theta=8e6)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("shape", [SEED, BASE, MINI], ids=["seed", "base", "mini"])
def test_the_states_of_the_plan_are_those_of_the_optimizers(shape, optimizer):
    """AdamW holds 16 bytes of a weight, Muon 12: weight, gradient, one or two moments, all float32."""
    groups = {"AdamW": 16, "Muon": 12}
    made = optimizers_of(build(shape, seed=0, device="meta"), replace(PLAN, optimizer=optimizer))
    sizes = {type(each).__name__: sum(w.numel() for g in each.param_groups for w in g["params"]) for each in made}
    assert sum(sizes.values()) == shape.parameters()
    states = memory(shape, ranks=1, tokens=0, optimizer=optimizer, recomputed=True).states
    assert states == sum(groups[name] * size for name, size in sizes.items())


@pytest.mark.parametrize(("tied", "size"), [(False, 1.0), (True, 0.02)])
def test_embeddings_are_of_size_one_unless_they_are_the_head_too(tied, size):
    model = build(replace(TINY, tied=tied), seed=0)
    assert model.model.embed_tokens.weight.std().item() == pytest.approx(size, rel=0.1)
    assert model.lm_head.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_a_word_begins_near_the_same_word_behind_a_space(tmp_path):
    vocabulary = {"a": 3, "Ġ": 4, "ab": 5, "Ġa": 6, "Ġab": 7, "Ġc": 8}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")
    pairs = twins_of(tmp_path)
    assert pairs == [(3, 6), (5, 7)]
    plain, made = (build(replace(TINY, tied=False), seed=0, twins=twins, alike=0.8) for twins in ((), pairs))
    for before, after in ((plain.model.embed_tokens, made.model.embed_tokens), (plain.lm_head, made.lm_head)):
        moved = (before.weight != after.weight).any(1).nonzero().flatten().tolist()
        assert moved == [6, 7]
        assert torch.allclose(after.weight[7], 0.8 * before.weight[5] + 0.6 * before.weight[7])


@pytest.mark.parametrize("optimizer", ["muon", "muon_polar", "adamw"])
def test_hidden_matrices_alone_decay(tiny, optimizer):
    """Steps without a gradient: what still moves is what decays."""
    before = {name: weight.detach().clone() for name, weight in tiny.named_parameters()}
    for weight in tiny.parameters():
        weight.grad = torch.zeros_like(weight)
    for each in optimizers_of(tiny, replace(PLAN, optimizer=optimizer, weight_decay=0.1)):
        each.step()
    moved = {name for name, weight in tiny.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if "proj" in name}


def test_a_config_gives_back_the_shape_it_was_made_of():
    assert shape_of(config_of(TINY)) == TINY


def test_rope_theta_survives_saving_and_loading(tiny, tmp_path):
    from models.checkpoints import load

    tiny.save_pretrained(tmp_path)
    assert shape_of(load(tmp_path).config) == TINY


def test_embedding_rows_are_padded_to_64():
    assert [rows_for(n) for n in (1, 64, 65, 131_384)] == [64, 64, 128, 131_392]
