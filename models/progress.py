"""Knows where a training stands: step, curve, what was skipped; how it is saved, found again, and taken back."""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from models import parallel, states
from models.guard import Guard, Seal

if TYPE_CHECKING:
    import torch

BAD_STEPS_ALLOWED = 3
FULL = (errno.ENOSPC, errno.EDQUOT)


class Seen(NamedTuple):
    """What a step showed: mean loss in nats, gradient norm, tensors that are damaged, ranks that are to stop."""

    loss: float
    norm: float
    broken: float = 0.0
    stopped: float = 0.0


class Progress:
    """Where the run stands. Everything that decides the next step is saved in one unit and restored in one."""

    def __init__(
        self, model: Any, optimizers: list[Any], *, folder: Path, identity: Mapping[str, str],
        on_step: Callable[..., None],
    ) -> None:  # fmt: skip
        self.model, self.optimizers, self.folder, self.identity = model, optimizers, folder, identity
        self.on_step = on_step
        self.step, self.cursor, self.tokens, self.bad, self.saved_at = 0, 0, 0, 0, -1  # cursor: the next batch
        self.curve: list[list[float]] = []
        self.counts = {"train/skipped": 0, "train/rolled_back": 0, "train/passed_over": 0}
        self.guard, self.seal = Guard(), Seal(model.parameters())
        self.past: dict[int, int] = {}  # step of a state that was taken up again → batch at which training went on
        self.damaged_at = set[int]()
        self.told = False

    def begin(self) -> None:
        """Takes up the newest good state; without one, saves where it begins, for there must be a way back."""
        found = self._load()
        self._agree()
        if found:
            print(f"resumed at step {self.step} from {self.folder}", flush=True)
        else:
            self.save_if_there_is_room()

    def add(self, tokens: int, seen: Seen) -> None:
        """Counts an update that was made."""
        self.step, self.cursor, self.tokens, self.bad = self.step + 1, self.cursor + 1, self.tokens + tokens, 0
        self.seal.close()
        self.guard.accept(seen.loss, seen.norm)
        self.curve.append([self.tokens, seen.loss])

    def skip(self, seen: Seen | None, fault: str, *, most: int) -> None:
        """Passes a batch by for `fault`, of which it tells; the third unsound update in a row rolls back.

        A batch that was never tried (`seen` is None) says nothing about the weights and rolls nothing back.
        """
        where = f"step {self.step}, batch {self.cursor}"
        print(f"{where}: update skipped: {fault}", flush=True)
        self.cursor += 1
        self._count("train/skipped", 1)
        if self.counts["train/skipped"] > most:
            raise ArithmeticError(f"{where}: {fault}; more batches were skipped than there are steps: look at the data")
        self.bad += seen is not None
        if self.bad >= BAD_STEPS_ALLOWED:
            self._pass_over(f"{where}: {fault}, for {self.bad} steps running")

    def do_again(self) -> None:
        """Weights changed by themselves: back to the newest state, and from there the same steps once more."""
        at = self.cursor
        if at in self.damaged_at:
            raise ArithmeticError(f"batch {at}: weights changed between two updates, twice; test this machine's memory")
        self.damaged_at.add(at)
        self._go_back(f"batch {at}: weights changed between two updates")
        self.cursor = self.past.get(self.step, self.cursor)
        self._count("train/rolled_back", 1)

    def mean_loss(self, window: int = 20) -> float:
        """Mean of the newest losses, in nats."""
        recent = [loss for _, loss in self.curve[-window:]]
        return sum(recent) / max(1, len(recent))

    def save(self) -> None:
        """Saves this step, once, from the first rank; ArithmeticError when the weights are not what was learnt."""
        if self.seal.broken():
            raise ArithmeticError(f"step {self.step}: weights changed since the update; run the same command again")
        if self.saved_at != self.step:
            tensors = self._tensors()  # all ranks gather
            if parallel.ranks().is_main_process:
                states.save(self.folder, self.step, tensors=tensors, facts=self._facts(), identity=self.identity)
        self.saved_at = self.step

    def save_if_there_is_room(self) -> None:
        """A full disk costs nothing but the newest state: training goes on, and the next save tries again."""
        try:
            self.save()
        except OSError as error:
            if error.errno not in FULL:
                raise
            if not self.told:
                print(f"step {self.step} not saved: {error.strerror}; training goes on", flush=True)
            self.told = True

    def thinned(self, points: int = 60) -> list[dict[str, float]]:
        """At most `points` means over equal stretches of the curve, rounded to what a picture shows."""
        stride = max(1, -(-len(self.curve) // points))
        stretches = [self.curve[i : i + stride] for i in range(0, len(self.curve), stride)]
        return [{"tokens": s[-1][0], "loss": round(sum(loss for _, loss in s) / len(s), 5)} for s in stretches]

    def _pass_over(self, trouble: str) -> None:
        """Back to the newest state, and on with the batch after the bad ones (as PaLM did, arXiv 2204.02311, §5.1)."""
        onward = self.cursor
        self._go_back(trouble)
        if self.step in self.past:
            again = f"the state of step {self.step} was taken up again before"
            raise ArithmeticError(f"{trouble}; {again}: lower the learning rate, or look at these batches")
        self._count("train/rolled_back", 1)
        self._count("train/passed_over", onward - self.cursor)
        self.past[self.step] = self.cursor = onward

    def _go_back(self, trouble: str) -> None:
        """Restores the newest state; what has been counted stays counted."""
        counts, found = self.counts, self._load()
        self._agree()
        if not found:
            raise ArithmeticError(f"{trouble}, and no state in {self.folder} to go back to; lower the learning rate")
        print(f"{trouble}; back to the state of step {self.step}", flush=True)
        self.counts, self.bad = counts, 0

    def _agree(self) -> None:
        """Waits for the other ranks: all go on from one step, whatever a shared file system shows to each."""
        if len(steps := set(parallel.of_all_ranks(self.step))) > 1:
            raise ValueError(f"{self.folder}: ranks see states of steps {sorted(steps)}; run the same command again")

    def _count(self, name: str, more: int) -> None:
        self.counts = self.counts | {name: self.counts[name] + more}
        self.on_step(self.step, **{name: self.counts[name]})

    def _tensors(self) -> dict[str, "torch.Tensor"]:
        import torch

        tensors = {f"model.{name}": weight for name, weight in parallel.weights(self.model).items()}
        for number, optimizer in enumerate(self.optimizers):
            for index, values in optimizer.state_dict()["state"].items():
                named = {f"optimizer{number}.{index}.{key}": value for key, value in values.items()}
                tensors |= parallel.gathered(named)
        tensors["random.cpu"] = torch.get_rng_state()
        if self.model.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        return tensors

    def _facts(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in ("step", "cursor", "tokens", "curve", "counts")}
        return facts | {"losses": list(self.guard.losses), "norms": list(self.guard.norms)}

    def _load(self) -> bool:
        import torch

        found = states.newest(self.folder, identity=self.identity)
        if found is None:
            return False
        tensors, facts = found
        for name in ("step", "cursor", "tokens", "curve", "counts"):
            setattr(self, name, facts[name])
        self.guard.recall(facts["losses"], facts["norms"])
        weights = {k: w for k, w in self.model.state_dict().items() if f"model.{k}" in tensors}
        own = {k: parallel.shared_out(tensors[f"model.{k}"], like=weight) for k, weight in weights.items()}
        self.model.load_state_dict(own, strict=False)
        for number, optimizer in enumerate(self.optimizers):
            _restore(optimizer, f"optimizer{number}.", tensors)
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])
        self.seal.close()
        self.saved_at = self.step
        return True


def _restore(optimizer: Any, prefix: str, tensors: dict[str, "torch.Tensor"]) -> None:
    saved = optimizer.state_dict()
    saved["state"] = {}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, key = name[len(prefix) :].split(".", 1)
            own = parallel.shared_out(tensor, like=weights[int(index)])
            saved["state"].setdefault(int(index), {})[key] = own.clone()
    optimizer.load_state_dict(saved)
