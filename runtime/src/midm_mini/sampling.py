"""Knows how the next token is chosen and how tokens become text that is safe to show."""

import codecs
from collections.abc import Sequence

import numpy as np

from midm_mini.backend import Chooser


def sampler(*, temperature: float, top_p: float, seed: int | None) -> Chooser:
    """A function from logits [V] to a token id; temperature 0 is greedy. Raises ValueError on values out of range."""
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature={temperature}: must be 0 (greedy) or a positive number")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p}: must lie in (0, 1]")
    if temperature == 0:
        return greedy
    random = np.random.default_rng(seed)
    return lambda logits: _nucleus(logits / temperature, top_p, random.random())


def greedy(logits: np.ndarray) -> int:
    """The best token, the first of several."""
    return int(logits.argmax())


def _nucleus(scores: np.ndarray, top_p: float, point: float) -> int:
    """The token at `point` in [0, 1) of the smallest set of best tokens that holds `top_p` (arXiv 1904.09751)."""
    weights = np.exp(scores - scores.max())
    order = _best(weights, top_p * weights.sum(dtype=np.float64)) if top_p < 1 else np.arange(len(weights))
    mass = np.cumsum(weights[order], dtype=np.float64)
    return int(order[np.searchsorted(mass[:-1], point * mass[-1], side="right")])


def _best(weights: np.ndarray, wanted: float) -> np.ndarray:
    """The fewest tokens, best first, that weigh `wanted`; sorting 1,024 costs a tenth of sorting a real vocabulary."""
    for count in (min(1024, len(weights)), len(weights)):
        best = np.argpartition(-weights, count - 1)[:count]
        best = best[np.argsort(-weights[best], kind="stable")]
        mass = np.cumsum(weights[best], dtype=np.float64)
        if mass[-1] >= wanted:
            break
    return best[: int(np.searchsorted(mass, wanted)) + 1]


class TextFlow:
    """Bytes in, showable text out: no half character and nothing that may turn out to open a stop string."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.stopped, self._stop, self._held = False, stop, ""
        self._open = b""  # the beginning of a character

    def push(self, data: bytes) -> str:
        """The text that became safe; after a stop string `stopped` is true and nothing follows."""
        data = self._open + data
        text, read = codecs.utf_8_decode(data, "replace", False)  # only truly invalid bytes become U+FFFD
        self._open, text = data[read:], self._held + text
        if not self._stop:
            return text
        found = [at for at in map(text.find, self._stop) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        held = max((n for stop in self._stop for n in range(len(stop)) if text.endswith(stop[:n])), default=0)
        safe = len(text) - held
        self._held = text[safe:]
        return text[:safe]

    def rest(self) -> str:
        """What was held back; the bytes of an unfinished last character are dropped."""
        text, self._held = self._held, ""
        return text
