"""Adapters alone learn, and what is merged says what model and adapters said together."""

import copy
from dataclasses import replace

import pytest
import torch

from models import checkpoints, lora, parallel
from models.fit import fit
from models.objectives import next_token
from models.optimizers import optimizers_of
from models.shapes import build
from tests.models.conftest import TINY, heard
from tests.models.test_chat import saved_tokenizer
from tests.models.test_fit import PLAN

ADAPTER = {"rank": 4, "alpha": 8, "targets": ["q_proj", "o_proj", "down_proj"], "seed": 3}
IDS = torch.arange(3, 35)[None]
BATCH = {"ids": IDS, "targets": IDS + 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny model before, the same with adapters after a few steps, and what their config says."""
    before = heard(build(TINY, seed=0))
    model = copy.deepcopy(before)
    config = lora.add(model, **ADAPTER)
    calls = {"on_step": lambda step, **curve: None, "probe": lambda model, step: {}}
    fit(model, next_token, lambda step, size: BATCH, plan=PLAN, state=tmp_path_factory.mktemp("state"), **calls)
    return before, model, config


def test_a_model_with_new_adapters_is_what_it_was():
    model = build(TINY, seed=0)
    plain = model(IDS).logits
    lora.add(model, **ADAPTER)
    torch.testing.assert_close(model(IDS).logits, plain, rtol=0, atol=0)


def test_only_adapters_learn(trained):
    before, model, _ = trained
    after = {name.replace(".base_layer", ""): weight for name, weight in model.state_dict().items()}
    assert all(torch.equal(weight, after[name]) for name, weight in before.state_dict().items())
    factors = [weight for name, weight in after.items() if "lora_B" in name]
    assert len(factors) == 3 * TINY.layers and all(weight.abs().max() > 0 for weight in factors)
    loss, other = next_token(model, BATCH)[0], next_token(before, BATCH)[0]
    assert loss.item() < other.item() - 1


def test_the_merged_model_says_what_model_and_adapters_say(trained):
    before, model, config = trained
    weights = lora.merged(model.state_dict(), config)
    assert weights.keys() == before.state_dict().keys()
    plain = copy.deepcopy(before)
    plain.load_state_dict(weights)
    torch.testing.assert_close(plain(IDS).logits, model(IDS).logits, rtol=1e-4, atol=1e-5)
    assert (plain(IDS).logits - before(IDS).logits).abs().max() > 0.1


def test_the_saved_adapter_is_one_that_peft_reads_beside_the_model_it_was_trained_on(trained, tmp_path):
    from peft import PeftModel

    before, model, config = trained
    lora.save(model.state_dict(), config, tmp_path / "adapter")
    read = PeftModel.from_pretrained(copy.deepcopy(before), tmp_path / "adapter")
    torch.testing.assert_close(read(IDS).logits, model(IDS).logits, rtol=1e-5, atol=1e-6)
    theirs = read.merge_and_unload().state_dict()
    for name, weight in lora.merged(model.state_dict(), config).items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_what_a_stage_saves_is_an_ordinary_folder(trained, tmp_path, tied):
    model = build(replace(TINY, tied=tied), seed=0)
    plain = copy.deepcopy(model)
    config = lora.add(model, **ADAPTER)
    weights = lora.merged(parallel.weights(model), config)
    checkpoints.save(model, tmp_path / "out", tokenizer=saved_tokenizer(tmp_path), weights=weights)
    read = checkpoints.load(tmp_path / "out")
    assert read.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(read(IDS).logits, plain(IDS).logits)


def test_adamw_moves_the_factors_whatever_moves_matrices():
    model = build(TINY, seed=0)
    lora.add(model, **ADAPTER)
    (only,) = optimizers_of(model, PLAN.__class__(**(vars(PLAN) | {"optimizer": "muon"})))
    assert (
        type(only).__name__ == "AdamW"
        and sum(len(group["params"]) for group in only.param_groups) == 2 * 3 * TINY.layers
    )
