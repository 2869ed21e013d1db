"""Two ranks equal one process, and layouts change no number: replicas, shards, recomputation, compiled layers."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from models import parallel
from models.objectives import next_token
from models.shapes import Shape, build
from tests.models import two_ranks
from tests.models.conftest import TINY
from tests.models.test_fit import PLAN
from tests.models.test_shapes import BASE, MINI

BATCH = {"ids": torch.arange(32).reshape(2, 16) + 3, "targets": torch.arange(32).reshape(2, 16) + 4}


RUNS = ("replicated", "sharded", "sharded_muon", "sharded_polar", "sharded_distillation", "sharded_preference")
ROUNDING = 1e-5
APART = {"sharded_distillation": 1 / 500}  # share of a matrix that may be farther: two of 2,048 were, with AVX2 alone


@pytest.fixture(scope="module")
def of_two(tokens, tmp_path_factory):
    """What rank 0 of two has in the end, by name of the run."""
    out, names = tmp_path_factory.mktemp("ranks"), (*RUNS, "sharded_killed")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "tests.models.two_ranks", ",".join(names), tokens, out]
    paths = {"PYTHONPATH": os.pathsep.join(["runtime/src", *sys.path]), "OPENMIDM_DEVICE": "cpu"}
    paths["OPENMIDM_PRECISION"] = "no"
    done = subprocess.run([*command, *program], env=os.environ | paths, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: load_file(out / name / "result.safetensors") for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_end_where_one_process_ends(of_two, tokens, tmp_path, name):
    """But for APART: where gradients cancel to nothing, Adam, which divides by their size, steps as far as anywhere,
    and the order of a sum says whereto."""
    alone, both = getattr(two_ranks, name)(tokens, tmp_path), of_two[name]
    assert alone.keys() == both.keys()
    torch.testing.assert_close(both.pop("losses"), alone.pop("losses"), rtol=ROUNDING, atol=0)
    for key, tensor in both.items():
        apart = (tensor - alone[key]).abs().double()
        assert apart.max() <= 3 * PLAN.learning_rate, key
        assert (apart > ROUNDING).double().mean() <= APART.get(name, 0), (key, apart.max())


@pytest.mark.slow
def test_a_killed_run_in_shards_resumes_and_ends_bit_identical(of_two):
    whole, resumed = of_two["sharded"], of_two["sharded_killed"]
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items() if name != "losses")


@pytest.mark.parametrize("how", [{"recomputed": True}, {"compiled": True}], ids=str)
def test_a_layout_changes_neither_loss_nor_gradient_nor_names(how, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: called.append(self))
    plain, laid, called = build(TINY, seed=0), build(TINY, seed=0), []
    parallel.spread(laid, laid, parallel.Layout(**({"sharded": False, "recomputed": False, "compiled": False} | how)))
    assert called == (list(laid.model.layers) if "compiled" in how else [])
    for model in (plain, laid):
        next_token(model, BATCH)[0].backward()
    assert list(plain.state_dict()) == list(laid.state_dict())
    for (name, ours), theirs in zip(laid.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad), name


@pytest.mark.parametrize("loaded", ["eval", "train"])
def test_recomputation_really_runs_every_layer_twice(loaded):
    """Also of a loaded model: those are in evaluation mode, in which transformers silently keeps everything."""
    model, calls = getattr(build(TINY, seed=0), loaded)(), []
    model.model.layers[1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))  # the recomputation stops early
    parallel.spread(model, model, parallel.Layout(sharded=False, recomputed=True, compiled=False))
    next_token(model, BATCH)[0].backward()
    assert len(calls) == 2


def test_ranks_that_cannot_share_a_step_evenly_are_told_so_before_any_work(tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "ranks", lambda: SimpleNamespace(num_processes=3))
    with pytest.raises(ValueError, match="a step has 4 examples, which 3 ranks cannot share evenly"):
        two_ranks.replicated(tokens, tmp_path)


def test_the_machine_decides_and_a_switch_overrules_it(monkeypatch):
    asked = {"ranks": 8, "tokens": 8192, "optimizer": "muon"}
    monkeypatch.setenv("OPENMIDM_DEVICE", "cpu")
    assert parallel.layout(TINY, **asked) == parallel.Layout(False, False, False)
    monkeypatch.setenv("OPENMIDM_SHARDED", "1")
    monkeypatch.setenv("OPENMIDM_COMPILED", "1")
    assert parallel.layout(TINY, **asked) == parallel.Layout(True, False, True)
    assert not parallel.layout(TINY, **(asked | {"ranks": 1})).sharded


@pytest.mark.parametrize(
    ("shape", "ranks", "expected"),
    [(MINI, 1, (False, True)), (MINI, 8, (False, True)), (BASE, 8, (True, True)), (BASE, 64, (True, True))],
)
def test_a_card_of_80_gib_holds_mini_whole_and_base_in_shards(shape: Shape, ranks, expected, monkeypatch):
    monkeypatch.setattr(parallel.kernels, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 80 * 2**30))
    found = parallel.layout(shape, ranks=ranks, tokens=65_536, optimizer="muon")
    assert (found.sharded, found.recomputed) == expected


def test_shards_divide_the_states_and_nothing_else():
    one, many = (parallel.memory(BASE, ranks=n, tokens=8192, optimizer="adamw", recomputed=True) for n in (2, 64))
    assert one.states == 32 * many.states == 8 * BASE.parameters()
    assert one.activations == many.activations and one.gathered == many.gathered
