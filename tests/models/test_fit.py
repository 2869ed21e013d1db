"""One loop: it learns, forgets nothing when killed, counts every target once, and stops at nonsense."""

from dataclasses import replace

import pytest
import torch

from models import fit as loop
from models.batches import Packed, TokenShard
from models.fit import Plan, fit
from models.objectives import next_token
from models.shapes import build
from tests.models.conftest import TINY

PLAN = Plan(
    steps=12,
    batch=4,
    context=32,
    optimizer="muon",
    schedule="wsd",
    learning_rate=0.01,
    warmup=0.1,
    decay=0.5,
    weight_decay=0.1,
    clip=1.0,
    save_every=4,
    log_every=4,
)


class Killed(Exception):
    """Stands for a SIGKILL between two steps."""


def run(tokens, state, plan=PLAN, *, dies_at=None, objective=next_token, seen=None):
    model = build(TINY, seed=0)
    packed = Packed(TokenShard.open(tokens, "phase1"), 32, seed=1)

    def batch_at(step, size):
        if step == dies_at:
            raise Killed
        return packed.batch(step, size)

    def on_step(n, **curve):
        if seen is not None:
            seen.append((n, curve))

    curve = fit(model, objective, batch_at, plan=plan, state=state, on_step=on_step, probe=lambda model, step: {})
    return model, curve


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_killed_run_resumes_and_ends_bit_identical(tokens, tmp_path, optimizer):
    plan = replace(PLAN, optimizer=optimizer)
    whole, curve = run(tokens, tmp_path / "whole", plan)
    with pytest.raises(Killed):
        run(tokens, tmp_path / "killed", plan, dies_at=7)
    resumed, again = run(tokens, tmp_path / "killed", plan)
    assert same(whole, resumed) and curve == again


def test_a_run_that_learns_lowers_its_loss(tokens, tmp_path):
    _, curve = run(tokens, tmp_path, replace(PLAN, steps=60))
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"]
    assert curve[-1]["tokens"] == 60 * 4 * 32


def test_accumulation_changes_nothing_but_rounding(tokens, tmp_path, monkeypatch):
    def ragged(model, batch):
        batch = {"ids": batch["ids"], "targets": batch["targets"].clone()}
        batch["targets"][:, ::3] = -100
        return next_token(model, batch)

    plan = replace(PLAN, steps=3, optimizer="adamw")
    whole, _ = run(tokens, tmp_path / "a", plan, objective=ragged)
    monkeypatch.setattr(loop, "MICRO_TOKENS", {"cpu": 64})
    parts, _ = run(tokens, tmp_path / "b", plan, objective=ragged)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_half_written_state_is_never_read(tokens, tmp_path):
    with pytest.raises(Killed):
        run(tokens, tmp_path, dies_at=5)
    (tmp_path / ".draft-1").mkdir()
    (tmp_path / ".draft-1/state.safetensors").write_bytes(b"half")
    whole, _ = run(tokens, tmp_path / "other")
    resumed, _ = run(tokens, tmp_path)
    assert same(whole, resumed)


def test_only_the_newest_two_states_are_kept(tokens, tmp_path):
    run(tokens, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000008", "step-00000012"]


def test_a_loss_that_is_not_a_number_never_reaches_the_weights_and_stops_the_run(tokens, tmp_path):
    def broken(model, batch):
        loss, count = next_token(model, batch)
        return loss * float("nan"), count

    with pytest.raises(ArithmeticError, match="3 steps running"):
        run(tokens, tmp_path, objective=broken)


def test_the_curves_have_the_names_that_the_house_promises(tokens, tmp_path):
    seen = []
    run(tokens, tmp_path, seen=seen)
    names = set().union(*(curve for _, curve in seen))
    assert {"train/loss", "train/lr", "train/grad_norm", "train/tokens", "perf/tokens_per_s", "perf/mfu"} <= names
    assert seen[0][1]["kernels"] == "torch"


@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
def test_the_rate_warms_up_and_cools_to_a_twentieth(schedule):
    plan = replace(PLAN, steps=100, schedule=schedule, decay=0.2)
    assert plan.rate(0) == pytest.approx(0.001) and plan.rate(10) == pytest.approx(0.01, rel=0.01)
    assert plan.rate(99) <= 0.1 * plan.rate(10)
    if schedule == "wsd":
        assert plan.rate(70) == plan.rate(20) == 0.01
