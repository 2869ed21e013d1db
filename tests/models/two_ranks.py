"""What each of two gloo ranks does under torchrun, and one process without it: `two_ranks NAME,NAME TOKENS OUT`."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file

from models import parallel
from models.batches import Conversations, Packed, TokenShard
from models.distillation import Distillation
from models.fit import fit
from models.objectives import Preference, next_token, reference_likelihoods
from models.shapes import build
from tests.models.conftest import TINY
from tests.models.test_fit import PLAN, Killed

LESSON = {"beta": 0.5, "anchor": 0.5, "likelihood": "per_token"}
IN_SHARDS = {"OPENMIDM_SHARDED": "1", "OPENMIDM_RECOMPUTED": "1"}  # one process has nothing to shard


def trained(
    tokens, out, *, optimizer="adamw", objective_of=lambda _: next_token, shape=TINY, steps=3, dies_at=None, source=None
):
    """fit() itself, as a stage calls it; the model is read in the end, and its weights are gathered."""
    model, packed = build(shape, seed=0), Packed(TokenShard.open(tokens, "phase1"), 32, seed=1)
    plan, found = replace(PLAN, steps=steps, optimizer=optimizer, save_every=2), {}

    def batch_at(step, size):
        if step == dies_at:
            raise Killed
        return (source or packed).batch(step, size)

    def probe(model, step):
        read, _ = next_token(model, packed.batch(9, 2))
        found["reply"] = model.generate(packed.batch(0, 1)["ids"][:, :5], max_new_tokens=4, do_sample=False)
        return {"eval/loss": float(read)}

    def on_step(step, **curve):
        losses.extend(curve[name] for name in ("train/loss", "train/grad_norm", "eval/loss") if name in curve)

    losses = list[float]()
    fit(model, objective_of(model), batch_at, plan=plan, state=out / "state", on_step=on_step, probe=probe)
    return parallel.weights(model) | found | {"losses": torch.tensor(losses)}


def replicated(tokens, out):
    """Every rank holds the whole model."""
    return trained(tokens, out)


@mock.patch.dict(os.environ, IN_SHARDS)
def sharded(tokens, out, **options):
    """The same, recomputed, and spread over the ranks if there are two."""
    return trained(tokens, out, **options)


def sharded_muon(tokens, out):
    """The same, with hidden matrices moved by Muon, which then orthogonalises sharded matrices."""
    return sharded(tokens, out, optimizer="muon")


def sharded_polar(tokens, out):
    """The same by other products."""
    return sharded(tokens, out, optimizer="muon_polar")


def sharded_killed(tokens, out):
    """The same, killed after its first save, and resumed."""
    try:
        sharded(tokens, out, dies_at=2)
    except Killed:
        return sharded(tokens, out) | {"losses": torch.zeros(1)}  # the first ones were told before the kill


def sharded_distillation(tokens, out):
    """The same against a teacher, whose hidden states are compared too."""
    teacher, lesson = build(replace(TINY, layers=4), seed=5), {"divergence": "jsd", "temperature": 2.0}
    lesson |= {"ce_weight": 0.2, "layers_weight": 0.5, "channels": range(TINY.hidden)}
    return sharded(tokens, out, objective_of=lambda student: Distillation(teacher, student, **lesson))


def sharded_preference(tokens, out):
    """The same by preferences, against what ranks found out together, of a model whose head is tied."""
    packed, tied = Packed(TokenShard.open(tokens, "phase1"), 32, seed=1), replace(TINY, tied=True)
    rows = [(window.tolist(), [0] * 9 + [1] * 24) for window in map(packed.window, range(32))]
    before = build(tied, seed=0)
    before.model.norm.weight.data *= 1.1  # not quite the model, or there is nothing to see
    said = {"reference": reference_likelihoods(before, rows, at_once=4)}
    pairs, preference = Conversations(rows, 0, "dpo", group=2, beside=said), Preference(**LESSON)
    return sharded(tokens, out, objective_of=lambda _: preference, shape=tied, source=pairs) | said


if __name__ == "__main__":
    for name in sys.argv[1].split(","):
        place = Path(sys.argv[3], name)
        place.mkdir(exist_ok=True)
        tensors = globals()[name](Path(sys.argv[2]), place)
        if os.environ["RANK"] == "0":
            save_file({key: value.contiguous().clone() for key, value in tensors.items()}, place / "result.safetensors")
    torch.distributed.destroy_process_group()
