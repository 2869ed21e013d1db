"""Knows how a model is trained: one loop for every phase, resumable at any kill, the objective passed in."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models import checkpoints, kernels
from models.meter import Meter
from models.optimizers import optimizers_of
from models.shapes import shape_of

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

Batch = dict[str, "torch.Tensor"]
BatchAt = Callable[[int, int], Batch]  # (step, examples) → the batch of that step
Loss = tuple["torch.Tensor", "torch.Tensor"]  # summed over targets, and how many they are
Objective = Callable[["LlamaForCausalLM", Batch], Loss]
BAD_STEPS_ALLOWED = 3
MICRO_TOKENS = {"cpu": 8_192, "cuda": 65_536}  # execution, not identity: results differ by rounding only


@dataclass(frozen=True)
class Plan:
    """What is learnt, in numbers that change the result: steps, examples per step, rates, schedule."""

    steps: int
    batch: int  # examples per step
    context: int  # tokens per example, at most
    optimizer: Literal["muon", "adamw"]
    schedule: Literal["wsd", "cosine"]
    learning_rate: float
    warmup: float  # fraction of steps
    decay: float  # fraction of steps, wsd only
    weight_decay: float
    clip: float
    save_every: int
    log_every: int

    def rate(self, step: int) -> float:
        """Learning rate of `step`: linear warm-up, then warmup–stable–decay or cosine, both to 5 % of the peak."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.schedule == "cosine":
            done = (step - warm) / max(1, self.steps - warm)
            return self.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
        cooling = max(1, round(self.decay * self.steps))
        return self.learning_rate * max(0.05, min(1.0, (self.steps - step) / cooling))


def fit(
    model: "LlamaForCausalLM", objective: Objective, batch_at: BatchAt, *, plan: Plan, state: Path,
    on_step: Callable[..., None], probe: Callable[["LlamaForCausalLM", int], dict[str, float]],
) -> list[dict[str, float]]:  # fmt: skip
    """Trains `model` in place and returns its curve: at most 60 points {tokens, loss} (nats per counted token).

    `objective(model, batch)` returns the summed loss and how many targets it counts; `batch_at(step, size)` the
    examples of a step, so that a resumed run sees exactly what an uninterrupted one sees. `state` keeps two whole
    generations. On CPU the weights after kill and resume are bit-identical to an uninterrupted run.
    Raises ArithmeticError after three consecutive steps with a non-finite loss or gradient.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.utils import set_seed

    set_seed(0)
    target = kernels.device()
    accelerator = Accelerator(cpu=target.type == "cpu", mixed_precision="bf16" if target.type == "cuda" else "no")
    kernels.accelerate(model)
    on_step(0, kernels=kernels.kernels(), device=str(target))
    optimizers = optimizers_of(model, plan)
    learner, *optimizers = accelerator.prepare(_learner(model, objective), *optimizers)
    progress = _Progress.resume(model, optimizers, state, target)
    meter = Meter(plan.steps, plan.context, shape_of(model.config), accelerator.num_processes)
    micro = max(2, MICRO_TOKENS[target.type] // plan.context // 2 * 2)  # even: the pairs of a preference stay together
    for step in range(progress.step, plan.steps):
        batch = _share(batch_at(step, plan.batch), accelerator)
        starts = range(0, len(batch["ids"]), micro)
        parts = [{name: rows[at : at + micro] for name, rows in batch.items()} for at in starts]
        rate = plan.rate(step)
        loss, norm = _one_step(learner, optimizers, parts, rate=rate, clip=plan.clip, accelerator=accelerator)
        progress.add(step, int(batch["ids"].numel()) * accelerator.num_processes, loss, norm)
        last = step + 1 == plan.steps
        if last or step % plan.log_every == 0:
            curve = {"train/loss": progress.mean_loss(), "train/lr": rate, "train/grad_norm": norm}
            on_step(step + 1, **curve, **{"train/tokens": progress.tokens}, **meter.read(step, progress.tokens))
        if last or (step + 1) % plan.save_every == 0:
            if accelerator.is_main_process:
                progress.save(model, optimizers, state, step + 1)
            with torch.no_grad():
                on_step(step + 1, **probe(model, step + 1))
    return progress.thinned()


def _learner(model: "LlamaForCausalLM", objective: Objective) -> "torch.nn.Module":
    import torch

    class Learner(torch.nn.Module):
        """Objective and model as one module, so that gradients of any objective are reduced across ranks."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: Batch) -> Any:
            return objective(self.model, batch)

    return Learner()


def _share(batch: Batch, ranks: Any) -> Batch:
    """The rows of a batch that fall to this rank, on its device."""
    rows = len(batch["ids"]) // ranks.num_processes
    own = slice(ranks.process_index * rows, (ranks.process_index + 1) * rows)
    return {name: tensor[own].to(ranks.device) for name, tensor in batch.items()}


def _one_step(
    learner: "torch.nn.Module", optimizers: list[Any], parts: list[Batch], *, rate: float, clip: float, accelerator: Any
) -> tuple[float, float]:
    """Loss and gradient norm of one update. Sums are differentiated and divided once, by what the whole step counted
    on all ranks, so that neither accumulation nor ranks can change the denominator."""
    import torch

    for optimizer in optimizers:
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = rate
    total = torch.zeros(2, device=accelerator.device)
    for part in parts:
        loss, count = learner(part)
        accelerator.backward(loss)
        total += torch.stack([loss.detach().float(), count.float()])
    summed, counted = accelerator.reduce(total, "sum").tolist()
    for weight in learner.parameters():
        if weight.grad is not None:
            weight.grad.mul_(accelerator.num_processes / max(1.0, counted))
    norm = accelerator.clip_grad_norm_(learner.parameters(), clip)
    mean, size = summed / max(1.0, counted), float(norm)
    if math.isfinite(mean) and math.isfinite(size):
        for optimizer in optimizers:
            optimizer.step()
    return mean, size


class _Progress:
    """Where the run stands: step, tokens, curve, and how they are saved and found again."""

    def __init__(self) -> None:
        self.step, self.tokens, self.bad = 0, 0, 0
        self.curve: list[list[float]] = []

    @classmethod
    def resume(cls, model: Any, optimizers: list[Any], folder: Path, device: Any) -> "_Progress":
        progress, found = cls(), checkpoints.newest_state(folder)
        if found is not None:
            tensors, facts = found
            progress.step, progress.tokens, progress.curve = facts["step"], facts["tokens"], facts["curve"]
            model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")}, strict=False)
            for number, optimizer in enumerate(optimizers):
                _restore(optimizer, f"optimizer{number}.", tensors, device)
            print(f"resumed at step {progress.step} from {folder}", flush=True)
        return progress

    def add(self, step: int, tokens: int, loss: float, norm: float) -> None:
        self.step, self.tokens = step + 1, self.tokens + tokens
        finite = math.isfinite(loss) and math.isfinite(norm)
        self.bad = 0 if finite else self.bad + 1
        if finite:
            self.curve.append([self.tokens, loss])
        elif self.bad >= BAD_STEPS_ALLOWED:
            found = f"step {step}: loss {loss}, gradient norm {norm} for {self.bad} steps running"
            raise ArithmeticError(f"{found}; lower the learning rate")

    def mean_loss(self, window: int = 20) -> float:
        recent = [loss for _, loss in self.curve[-window:]]
        return sum(recent) / max(1, len(recent))

    def save(self, model: Any, optimizers: list[Any], folder: Path, step: int) -> None:
        tied = model.config.tie_word_embeddings
        tensors = {f"model.{k}": v for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")}
        for number, optimizer in enumerate(optimizers):
            for index, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer{number}.{index}.{key}": value for key, value in values.items()}
        facts = {"step": step, "tokens": self.tokens, "curve": self.curve}
        checkpoints.save_state(folder, step, tensors=tensors, facts=facts)

    def thinned(self, points: int = 60) -> list[dict[str, float]]:
        """At most `points` means over equal stretches of the curve, rounded to what a picture shows."""
        stride = max(1, -(-len(self.curve) // points))
        stretches = [self.curve[i : i + stride] for i in range(0, len(self.curve), stride)]
        return [{"tokens": s[-1][0], "loss": round(sum(loss for _, loss in s) / len(s), 5)} for s in stretches]


def _restore(optimizer: Any, prefix: str, tensors: dict[str, "torch.Tensor"], device: Any) -> None:
    saved = optimizer.state_dict()
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, key = name[len(prefix) :].split(".", 1)
            saved["state"].setdefault(int(index), {})[key] = tensor.clone()
    optimizer.load_state_dict(saved)
