"""What each of two gloo ranks does under torchrun, and one process without it: `two_ranks NAME,NAME TOKENS OUT`."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from models import parallel
from models.batches import Packed, TokenShard
from models.fit import _learner, _share, fit
from models.objectives import next_token
from models.optimizers import optimizers_of
from models.shapes import build
from tests.models.conftest import TINY
from tests.models.test_fit import PLAN

STEPS = 3


def replicated(tokens, out):
    """fit() itself, as a stage calls it."""
    model, packed = build(TINY, seed=0), Packed(TokenShard.open(tokens, "phase1"), 32, seed=1)
    plan, silent = replace(PLAN, steps=STEPS, optimizer="adamw"), {"on_step": lambda n, **_: None}
    curve = fit(model, next_token, packed.batch, plan=plan, state=out / "state", probe=lambda *_: {}, **silent)
    return model.state_dict() | {"losses": torch.tensor([point["loss"] for point in curve])}


def sharded(tokens, out, optimizer="adamw"):
    """The loop's steps by hand: recomputed, spread over the ranks if there are two, read in the end, and gathered."""
    from accelerate import Accelerator

    ranks = Accelerator(cpu=True)
    model, packed = build(TINY, seed=0), Packed(TokenShard.open(tokens, "phase1"), 32, seed=1)
    learner, plan, losses = _learner(model, next_token), replace(PLAN, optimizer=optimizer), []
    parallel.spread(model, learner, parallel.Layout(ranks.num_processes > 1, recomputed=True, compiled=False))
    optimizers = optimizers_of(model, plan)
    for step in range(STEPS):
        loss, count = learner(_share(packed.batch(step, plan.batch), ranks))
        loss.backward()
        summed, counted = ranks.reduce(torch.stack([loss.detach(), count.float()]), "sum").tolist()
        for weight in learner.parameters():
            weight.grad.mul_(ranks.num_processes / counted)
        norm = torch.nn.utils.clip_grad_norm_(learner.parameters(), plan.clip)
        losses += [summed / counted, float(parallel.whole(norm))]
        for each in optimizers:
            each.step()
            each.zero_grad()
    with torch.no_grad(), parallel.readable(model, learner):
        read, _ = next_token(model, packed.batch(9, 2))
        reply = model.generate(packed.batch(0, 1)["ids"][:, :5], max_new_tokens=4, do_sample=False)
    saved = {name: parallel.whole(tensor) for name, tensor in model.state_dict().items()}
    for name, weight in model.state_dict().items():  # there and back
        assert torch.equal(parallel.whole(parallel.shared_out(saved[name], like=weight)), saved[name]), name
    return saved | {"losses": torch.tensor([*losses, float(read)]), "reply": reply}


def sharded_muon(tokens, out):
    """The same, with hidden matrices moved by Muon, which then orthogonalises sharded matrices."""
    return sharded(tokens, out, "muon")


if __name__ == "__main__":
    for name in sys.argv[1].split(","):
        place = Path(sys.argv[3], name)
        place.mkdir(exist_ok=True)
        tensors = globals()[name](Path(sys.argv[2]), place)
        if os.environ["RANK"] == "0":
            save_file({key: value.contiguous().clone() for key, value in tensors.items()}, place / "result.safetensors")
    torch.distributed.destroy_process_group()
