"""One loop: it learns, forgets nothing when killed, counts every target once, and lets no nonsense into the weights."""

import errno
import os
import signal
from dataclasses import replace

import pytest
import torch

from models import fit as loop
from models import states
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


def run(tokens, state, plan=PLAN, *, dies_at=None, objective=next_token, seen=None, spoil=None, probe=None):
    model = build(TINY, seed=0)
    packed = Packed(TokenShard.open(tokens, "phase1"), 32, seed=1)

    def batch_at(step, size):
        if step == dies_at:
            raise Killed
        batch = packed.batch(step, size)
        return spoil(step, batch, model) if spoil else batch

    def on_step(n, **curve):
        if seen is not None:
            seen.append((n, curve))

    probe = probe or (lambda model, step: {})
    curve = fit(model, objective, batch_at, plan=plan, state=state, on_step=on_step, probe=probe)
    return model, curve


def faulty(*steps, factor=float("nan")):
    """An objective and a spoiler: the loss of these steps is multiplied, whichever batch is tried again."""
    now = [0]

    def spoil(step, batch, model):
        now[0] = step
        return batch

    def objective(model, batch):
        loss, count = next_token(model, batch)
        return loss * factor if now[0] in steps else loss, count

    return {"objective": objective, "spoil": spoil}


def last(seen, name):
    return [curve[name] for _, curve in seen if name in curve][-1:]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("optimizer", ["muon", "muon_polar", "adamw"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_killed_run_resumes_and_ends_bit_identical(tokens, tmp_path, monkeypatch, optimizer, precision):
    monkeypatch.setenv("OPENMIDM_PRECISION", precision)
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


def test_a_loss_that_is_never_a_number_stops_the_run_when_going_back_did_not_help(tokens, tmp_path):
    def broken(model, batch):
        loss, count = next_token(model, batch)
        return loss * float("nan"), count

    with pytest.raises(ArithmeticError, match=r"batch 5: loss nan.* 3 steps running; the state of step 0 was taken up"):
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


def test_an_objective_that_draws_numbers_resumes_with_the_same_draws(tokens, tmp_path):
    def sampling(model, batch):
        loss, count = next_token(model, batch)
        return loss * (0.5 + torch.rand(())), count

    def probe(model, step):
        return {"eval/draw": float(torch.rand(()))}

    whole, curve = run(tokens, tmp_path / "whole", objective=sampling, probe=probe)
    with pytest.raises(Killed):
        run(tokens, tmp_path / "killed", objective=sampling, probe=probe, dies_at=7)
    resumed, again = run(tokens, tmp_path / "killed", objective=sampling)
    assert same(whole, resumed) and curve == again


def test_a_clean_run_skips_nothing(tokens, tmp_path):
    seen = []
    run(tokens, tmp_path, replace(PLAN, steps=200, save_every=200), seen=seen)
    assert not last(seen, "train/skipped")


@pytest.mark.parametrize("factor, steps", [(float("nan"), (2, 5, 7)), (1e4, (70, 75))])
def test_an_unsound_update_changes_no_weight_and_no_optimizer_and_is_told(tokens, tmp_path, capsys, factor, steps):
    def untried(step, batch, model):
        return batch | {"targets": torch.full_like(batch["targets"], -100)} if step in steps else batch

    plan, seen = replace(PLAN, steps=80, save_every=80), []
    skipped, curve = run(tokens, tmp_path / "a", plan, seen=seen, **faulty(*steps, factor=factor))
    said = capsys.readouterr().out
    assert last(seen, "train/skipped") == [len(steps)]
    assert all(f"batch {step}: update skipped: loss" in said for step in steps)
    never_tried, again = run(tokens, tmp_path / "b", plan, spoil=untried)
    assert same(skipped, never_tried) and curve == again


def test_three_unsound_updates_in_a_row_go_back_to_the_newest_state_and_on_past_the_batches(tokens, tmp_path):
    seen = []
    model, curve = run(tokens, tmp_path, seen=seen, **faulty(5, 6, 7))
    assert last(seen, "train/skipped") == [3]
    assert last(seen, "train/rolled_back") == [1] and last(seen, "train/passed_over") == [4]
    assert len(curve) == 12  # batches 0 … 3 and 8 … 15

    def skipping(step, batch, model):
        return {name: torch.full_like(rows, -100) for name, rows in batch.items()} if 4 <= step < 8 else batch

    passed_over, _ = run(tokens, tmp_path / "other", spoil=skipping)
    assert same(model, passed_over)


def test_batches_that_teach_nothing_are_passed_by_however_many_they_are(tokens, tmp_path):
    def spoil(step, batch, model):
        if step in (1, 2, 3, 4, 5):
            return batch | {"targets": torch.full_like(batch["targets"], -100)}
        return batch | {"targets": torch.full_like(batch["targets"], 9)} if step in (6, 7, 8) else batch

    seen = []
    _, curve = run(tokens, tmp_path, seen=seen, spoil=spoil)
    assert last(seen, "train/skipped") == [8] and not last(seen, "train/rolled_back") and len(curve) == 12


def test_a_flipped_bit_of_a_weight_costs_time_and_nothing_else(tokens, tmp_path):
    flips, seen = {2: 30, 6: 24, 7: 31}, []

    def spoil(step, batch, model):
        if step in flips:
            bit = flips.pop(step)
            words = model.model.layers[1].mlp.up_proj.weight.data.view(torch.int32)
            words[3, 5] ^= -(2**31) if bit == 31 else 1 << bit
        return batch

    whole, curve = run(tokens, tmp_path / "whole")
    mended, again = run(tokens, tmp_path / "mended", spoil=spoil, seen=seen)
    assert last(seen, "train/rolled_back") == [3]
    assert same(whole, mended) and curve == again


def test_memory_that_flips_again_and_again_ends_the_run(tokens, tmp_path):
    def spoil(step, batch, model):
        if step == 6:
            model.lm_head.weight.data[0, 0] += 1
        return batch

    with pytest.raises(ArithmeticError, match="test this machine's memory"):
        run(tokens, tmp_path, spoil=spoil)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_saves_and_stops_and_the_next_run_goes_on_from_there(tokens, tmp_path, number):
    def spoil(step, batch, model):
        if step == 6:
            os.kill(os.getpid(), number)
        return batch

    whole, curve = run(tokens, tmp_path / "whole")
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run(tokens, tmp_path / "stopped", spoil=spoil)
    assert signal.getsignal(number) is before
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == ["step-00000004", "step-00000007"]
    resumed, again = run(tokens, tmp_path / "stopped")
    assert same(whole, resumed) and curve == again


def test_too_little_memory_makes_parts_smaller_and_the_step_stays_whole(tokens, tmp_path, capsys):
    def greedy(model, batch):
        loss, count = next_token(model, batch)
        if len(batch["ids"]) > 2:
            loss.backward()  # what it leaves behind must be dropped
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        return loss, count

    plan = replace(PLAN, steps=3, optimizer="adamw")
    whole, _ = run(tokens, tmp_path / "whole", plan)
    parts, _ = run(tokens, tmp_path / "parts", plan, objective=greedy)
    assert "2 examples at once" in capsys.readouterr().out
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_memory_too_small_for_a_pair_is_an_error_with_a_remedy_and_other_errors_pass(tokens, tmp_path):
    def hopeless(model, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(MemoryError, match="2 examples at once; shorten the context"):
        run(tokens, tmp_path, objective=hopeless)

    def wrong(model, batch):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        run(tokens, tmp_path, objective=wrong)


def test_a_full_disk_stops_no_training_but_the_last_save_must_succeed(tokens, tmp_path, monkeypatch, capsys):
    real, full_at = states.save, [4, 8]

    def save(folder, step, **state):
        if step in full_at:
            raise OSError(errno.ENOSPC, "No space left on device: make room")
        real(folder, step, **state)

    monkeypatch.setattr(states, "save", save)
    run(tokens, tmp_path)
    assert capsys.readouterr().out.count("not saved") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000000", "step-00000012"]
    full_at.append(12)
    with pytest.raises(OSError, match="make room"):
        run(tokens, tmp_path / "last")


def test_what_the_probe_says_of_the_last_step_is_not_lost_when_it_is_killed(tokens, tmp_path):
    def deadly(model, step):
        if step == 12:
            raise Killed
        return {}

    with pytest.raises(Killed):
        run(tokens, tmp_path, probe=deadly)
    seen = []
    run(tokens, tmp_path, probe=lambda model, step: {"eval/loss_ko": 1.0}, seen=seen)
    assert [n for n, curve in seen if "eval/loss_ko" in curve] == [12]


def test_embeddings_and_head_learn_at_a_rate_of_their_own(tokens, tmp_path):
    before = build(TINY, seed=0).state_dict()
    plans = [replace(PLAN, steps=1, embedding_rate=times) for times in (1.0, 3.0)]
    once, thrice = (run(tokens, tmp_path / str(plan.embedding_rate), plan)[0].state_dict() for plan in plans)
    for name, start in before.items():
        times = 3 if "embed_tokens" in name or "lm_head" in name else 1
        torch.testing.assert_close(thrice[name] - start, times * (once[name] - start), rtol=1e-4, atol=1e-6)


def test_a_state_of_another_plan_is_not_taken_up(tokens, tmp_path):
    run(tokens, tmp_path)
    seen = []
    run(tokens, tmp_path, replace(PLAN, learning_rate=0.02), seen=seen)
    assert [n for n, curve in seen if "train/loss" in curve] == [1, 5, 9, 12]


def test_data_without_any_lesson_ends_the_run(tokens, tmp_path):
    def spoil(step, batch, model):
        return batch | {"targets": torch.full_like(batch["targets"], -100)}

    with pytest.raises(ArithmeticError, match="no target counts; more batches were skipped than there are steps"):
        run(tokens, tmp_path, spoil=spoil)
