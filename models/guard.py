"""Knows which updates must not happen: batches that teach nothing, losses out of line, weights that were damaged.

Loss and gradient norm are judged as in OLMo-core's SkipStepOptimizer: 6 sigma above the mean of the last 128 steps.
"""

import math
from collections import deque
from collections.abc import Iterable
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

from models import parallel

if TYPE_CHECKING:
    import torch

WINDOW, LEAST, SIGMAS = 128, 64, 6.0  # steps looked back on, steps needed, height of a spike
# Sigma is never taken smaller: a model that has nearly learnt its text has a sigma of nothing. A loss that rises by
# less than 0.3 nats, or a norm below 2.5 times the mean, is never a spike.
LEAST_LOSS_SIGMA, LEAST_NORM_SIGMA = 0.05, 0.25  # nats; share of the mean norm
REPEATED, USEFUL = 0.9, 64  # share of one id that is no text (prose: < 0.1), and targets needed to say so


class Guard:
    """What the accepted updates looked like, and the verdict on the next one: a reason to skip it, or nothing."""

    def __init__(self) -> None:
        self.losses, self.norms = deque[float](maxlen=WINDOW), deque[float](maxlen=WINDOW)

    def update_fault(self, loss: float, norm: float) -> str:
        """Why an update of mean `loss` (nats) and gradient norm `norm` is to be skipped; "" if it is sound."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return f"loss {loss}, gradient norm {norm}"
        if len(self.losses) < LEAST:
            return ""
        loss_limit = fmean(self.losses) + SIGMAS * max(pstdev(self.losses), LEAST_LOSS_SIGMA)
        norm_mean = fmean(self.norms)
        norm_limit = norm_mean + SIGMAS * max(pstdev(self.norms), LEAST_NORM_SIGMA * norm_mean)
        if loss > loss_limit:
            return f"loss {loss:.4g} above {loss_limit:.4g}, {SIGMAS:g} sigma over the last {len(self.losses)} steps"
        if norm > norm_limit:
            return f"gradient norm {norm:.4g} above {norm_limit:.4g}, {SIGMAS:g} sigma"
        return ""

    def accept(self, loss: float, norm: float) -> None:
        """Remembers an update that was made."""
        self.losses.append(loss)
        self.norms.append(norm)

    def recall(self, losses: Iterable[float], norms: Iterable[float]) -> None:
        """Takes up the memory of a saved state."""
        self.losses, self.norms = deque(losses, maxlen=WINDOW), deque(norms, maxlen=WINDOW)


def batch_fault(targets: "torch.Tensor") -> str:
    """Why a batch teaches nothing: no counted target (IGNORED < 0), or nearly all of them one id; "" if it does."""
    counted = targets[targets >= 0]
    if not len(counted):
        return "no target counts"
    if len(counted) < USEFUL:
        return ""
    times, token = (int(found) for found in counted.bincount().max(0))
    return f"token {token} is {times} of {len(counted)} targets" if times >= REPEATED * len(counted) else ""


class Seal:
    """A checksum of the weights between two updates: nobody may write there, so any other sum is damage.

    Sums of 64-bit words, which one flipped bit always changes. Two passes over 7.2 M weights take 2.4 ms of a step.
    Of weights in shards each rank seals its own.
    """

    def __init__(self, weights: Iterable["torch.Tensor"]) -> None:
        self.weights = list(weights)
        self.close()

    def close(self) -> None:
        """Takes the sum of the weights as they are now."""
        self.sums = [_sum(weight) for weight in self.weights]

    def broken(self) -> "torch.Tensor":
        """How many tensors are not what they were when the seal was closed."""
        import torch

        now = torch.stack([_sum(weight) for weight in self.weights])
        return (now != torch.stack(self.sums)).sum()


def _sum(weight: "torch.Tensor") -> "torch.Tensor":
    import torch

    bits = parallel.own(weight.detach()).contiguous().flatten()
    return bits.view(torch.int64 if bits.nbytes % 8 == 0 else torch.uint8).sum()
