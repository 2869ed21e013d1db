"""Knows how a model is trained: one loop for every phase, resumable at any kill, the objective passed in."""

import json
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models import kernels, parallel
from models.guard import batch_fault
from models.meter import Meter
from models.optimizers import optimizers_of
from models.progress import Progress, Seen
from models.shapes import shape_of

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

Batch = dict[str, "torch.Tensor"]
BatchAt = Callable[[int, int], Batch]  # (index, examples) → that batch; the index is the step if none is skipped
Loss = tuple["torch.Tensor", "torch.Tensor"]  # summed over targets, and how many they are
Objective = Callable[["LlamaForCausalLM", Batch], Loss]
Signs = Callable[[], list[float]]  # how many weights are damaged, and how many interrupts came
MICRO_TOKENS = {"cpu": 8_192, "cuda": 65_536}  # execution, not identity: results differ by rounding only


@dataclass(frozen=True)
class Plan:
    """What is learnt, in numbers that change the result: steps, examples per step, rates, schedule."""

    steps: int
    batch: int  # examples per step
    context: int  # tokens per example, at most
    optimizer: Literal["muon", "muon_polar", "adamw"]
    schedule: Literal["wsd", "cosine"]
    learning_rate: float
    warmup: float  # fraction of steps
    decay: float  # fraction of steps, wsd only
    weight_decay: float
    clip: float
    save_every: int
    log_every: int
    embedding_rate: float = 1.0  # times the learning rate, for embeddings and head

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
    fingerprints: dict[str, str] | None = None,
) -> list[dict[str, float]]:  # fmt: skip
    """Trains `model` in place and returns its curve: at most 60 points {tokens, loss} (nats per counted token).

    `objective(model, batch)` returns the summed loss and how many targets it counts; `batch_at(step, size)` the
    examples of a step, so that a resumed run sees exactly what an uninterrupted one sees. `state` keeps two whole
    generations, taken up only by a run of the same plan and `fingerprints`. On CPU the weights after kill and resume
    are bit-identical to an uninterrupted run. SIGTERM and Ctrl-C end the step, save, and raise KeyboardInterrupt.
    Unsound updates are skipped (models/guard.py) and the next batch takes their place, so that `batch_at` is asked
    beyond `steps`; after three in a row the newest state is taken up again and training goes on past the batches.
    Under torchrun each rank takes its rows of a batch, and `model` may be left in shards (parallel.weights).
    Raises ArithmeticError when that does not help, MemoryError when two examples do not fit, OSError when the last
    state cannot be saved, and ValueError when ranks cannot share a batch evenly.
    """
    from accelerate.utils import set_seed

    rig = _Rig(model, objective, plan)
    on_step(0, kernels=kernels.kernels(), device=str(kernels.device()), precision=kernels.precision())
    meter = Meter(plan.steps, plan.context, shape_of(model.config), rig.ranks.num_processes)
    set_seed(0)
    identity = (fingerprints or {}) | {"plan": json.dumps(asdict(plan), sort_keys=True)}
    progress = Progress(model, rig.optimizers, folder=state, identity=identity, on_step=on_step)
    progress.begin()

    def look() -> None:
        with rig.readable():
            on_step(progress.step, **probe(model, progress.step))

    if 0 < progress.step < plan.steps:
        look()  # again: the kill may have come between the save and this
    with _interrupts_at_the_end_of_a_step() as interrupts:

        def signs() -> list[float]:
            return [float(progress.seal.broken()), float(len(interrupts))]

        while progress.step < plan.steps:
            step, batch = progress.step, batch_at(progress.cursor, plan.batch)
            fault, seen = batch_fault(batch["targets"]), None
            if not fault:
                seen = rig.gradients(batch, rate=plan.rate(step), signs=signs)
                if seen.broken:
                    progress.do_again()
                    continue
                fault = progress.guard.update_fault(seen.loss, seen.norm)
            if fault or seen is None:
                progress.skip(seen, fault, most=plan.steps)
                continue
            rig.update()
            progress.add(int(batch["ids"].numel()), seen)
            if progress.step == plan.steps or step % plan.log_every == 0:
                curve = {"train/loss": progress.mean_loss(), "train/lr": plan.rate(step), "train/grad_norm": seen.norm}
                on_step(step + 1, **curve, **{"train/tokens": progress.tokens}, **meter.read(step, progress.tokens))
            if seen.stopped:
                progress.save_if_there_is_room()
                raise KeyboardInterrupt
            if progress.step % plan.save_every == 0 and progress.step < plan.steps:
                progress.save_if_there_is_room()
                look()
        progress.save()
        look()
    return progress.thinned()


class _Rig:
    """What steps are made with on this machine: the model as it is laid out, its optimizers, what fits at once."""

    def __init__(self, model: "LlamaForCausalLM", objective: Objective, plan: Plan) -> None:
        from accelerate import Accelerator

        device, ranks, shape = kernels.device(), parallel.ranks().num_processes, shape_of(model.config)
        if plan.batch % ranks:
            shared = f"a step has {plan.batch} examples, which {ranks} ranks cannot share evenly"
            raise ValueError(f"{shared}: take a divisor of {plan.batch}, or change batch_tokens")
        self.ranks: Any = Accelerator(cpu=device.type == "cpu", mixed_precision=kernels.precision())
        self.model, self.clip = model, plan.clip
        self.micro = max(2, MICRO_TOKENS[device.type] // plan.context // 2 * 2)  # even: pairs stay together
        kernels.keep_memory()
        kernels.accelerate(model)
        at_once = plan.context * (self.micro if ranks > 1 else 2)  # alone, `gradients` finds out what fits
        work = plan.steps * plan.batch * plan.context * shape.flops_per_token(plan.context)
        layout = parallel.layout(shape, ranks=ranks, tokens=at_once, optimizer=plan.optimizer, work=work)
        self.learner: Any = _learner(model, objective)
        parallel.spread(model, self.learner, layout)  # before the optimizers: it replaces the parameters
        self.optimizers: list[Any] = list(optimizers_of(model, plan))
        if not layout.sharded:
            self.learner, *self.optimizers = self.ranks.prepare(self.learner, *self.optimizers)

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Inside, the model may be asked between two steps, and what is drawn does not move the training's numbers."""
        import torch

        drawn = torch.random.fork_rng([self.ranks.device] if self.ranks.device.type == "cuda" else [])
        with torch.no_grad(), drawn, parallel.readable(self.model, self.learner):
            yield

    def gradients(self, batch: Batch, *, rate: float, signs: Signs) -> Seen:
        """Clipped gradients of one update, from as many examples at once as memory holds: each failure halves them.

        The failed attempt's gradients are dropped, so that the step still learns from its whole batch, once. `signs`
        are taken after the last backward pass, and summed over the ranks with the loss: all must come to one verdict.
        """
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("times", 1.0)
        own = _share(batch, self.ranks)
        self.micro = min(self.micro, len(own["ids"]))
        while True:
            try:
                starts = range(0, len(own["ids"]), self.micro)
                return self._gradients([{k: v[at : at + self.micro] for k, v in own.items()} for at in starts], signs)
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error) or self.ranks.num_processes > 1:  # other ranks wait in this step
                    raise
                if self.micro <= 2:
                    remedy = "shorten the context, take a smaller model or a device with more memory"
                    raise MemoryError(f"out of memory with {self.micro} examples at once; {remedy}") from error
            self.micro = max(2, self.micro // 4 * 2)
            print(f"out of memory: {self.micro} examples at once from here on, as many per step as before", flush=True)

    def update(self) -> None:
        """Moves the weights along the gradients."""
        for optimizer in self.optimizers:
            optimizer.step()

    def _gradients(self, parts: list[Batch], signs: Signs) -> Seen:
        """Sums are differentiated and divided once, by what the whole step counted on all ranks, so that neither
        accumulation nor ranks can change the denominator."""
        import torch

        for optimizer in self.optimizers:
            optimizer.zero_grad()
        total = torch.zeros(2, device=self.ranks.device)
        for part in parts:
            loss, count = self.learner(part)
            self.ranks.backward(loss)
            total += torch.stack([loss.detach().float(), count.float()])
        told = torch.cat([total, total.new_tensor(signs())])
        summed, counted, broken, stopped = self.ranks.reduce(told, "sum").tolist()
        gradients = [weight.grad for weight in self.learner.parameters() if weight.grad is not None]
        share = self.ranks.num_processes / max(1.0, counted)
        norm = float(parallel.whole(torch.nn.utils.get_total_norm(gradients))) * share
        factor = share * clip_factor(norm, self.clip)  # mean and clipping in one pass
        for gradient in gradients:
            gradient.mul_(factor)
        return Seen(summed / max(1.0, counted), norm, broken, stopped)


def clip_factor(norm: float, clip: float) -> float:
    """What gradients are multiplied by, so that their norm is at most `clip`."""
    return min(1.0, clip / (norm + 1e-6))


@contextmanager
def _interrupts_at_the_end_of_a_step() -> Iterator[list[int]]:
    """The signals that came: a SIGTERM or Ctrl-C waits until the step is whole and saved. A second one does not."""
    came = list[int]()

    def note(number: int, _: Any) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield came
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:  # during the last save
        raise KeyboardInterrupt


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


def _out_of_memory(error: Exception) -> bool:
    words = ("out of memory", "allocate memory", "not enough memory")  # CUDA's, and two of the CPU allocator
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)
