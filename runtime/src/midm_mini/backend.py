"""Knows the seam between the front and the inference libraries: what every backend can do."""

import operator
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Protocol

import numpy as np

from midm_mini.format import MidmError

SMALL = 20_000_000  # bytes of weights: below, threads mostly wait for each other (30 s instead of 2 on a busy machine)
TRIES = 5  # steps at each number of threads; the median counts, for the first wakes them
DEFAULT_CONTEXT = 4096  # tokens: the cache of a real Mini takes 192 KiB per token, 32,768 of them would be 6 GiB


Chooser = Callable[[np.ndarray], int]  # from float32 [V] to a token


class Backend(Protocol):
    """One opened artifact, for one thread at a time; the caller has checked the ids and closes it once.

    `bos` is None for a model without one, `ends` says whether a token ends a reply, both as the artifact states them.
    `encode` adds no BOS and sees control tokens only if `special`; `token_bytes` may be part of a character;
    `start` reads a prompt, of which it keeps what its cache already holds from before, and `step` one token more: both
    give float32 [V] for the next token, valid until the next call; `logits` gives float32 [T, V] over `ids` alone, row
    t for the token after ids[t]; `hidden` the last layer's normed states [T, H], or a MidmError where nothing has them.
    `write` is `written`, or what says the same sooner.
    """

    context: int
    vocab_size: int
    bos: int | None
    details: dict[str, str]

    def ends(self, token: int) -> bool: ...
    def encode(self, text: str, *, special: bool) -> list[int]: ...
    def token_bytes(self, token: int) -> bytes: ...
    def start(self, ids: Sequence[int]) -> np.ndarray: ...
    def step(self, token: int) -> np.ndarray: ...
    def write(self, ids: Sequence[int], choose: Chooser) -> Iterator[int]: ...
    def logits(self, ids: Sequence[int]) -> np.ndarray: ...
    def hidden(self, ids: Sequence[int]) -> np.ndarray: ...
    def close(self) -> None: ...


def written(backend: Backend, ids: Sequence[int], choose: Chooser) -> Iterator[int]:
    """The tokens that `choose` takes after `ids` and what it took before, without an end."""
    scores = backend.start(ids)
    while True:
        yield (token := choose(scores))
        scores = backend.step(token)


def pick_context(wanted: int | None, *, trained: int) -> int:
    """Context in tokens: what was asked for, else the trained one up to DEFAULT_CONTEXT; raises MidmError beyond it."""
    if wanted is not None and not 0 < wanted <= trained:
        raise MidmError(f"context={wanted}: this model was trained for 1 to {trained} tokens; ask for at most that")
    return wanted or min(trained, DEFAULT_CONTEXT)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Trial:
    """Finds the fastest number of threads while a reply is written: a few steps at each, then the fastest stays.

    A small model begins with one thread and tries half and all cores, a large one begins with all and tries half.
    """

    def __init__(self, weight_bytes: int) -> None:
        some = [1, cores() // 2, cores()] if weight_bytes < SMALL else [cores(), cores() // 2]
        self._seconds: dict[int, list[float]] = {count: [] for count in some if count}
        self.first = self.threads = some[0]  # those of the next step

    def add(self, seconds: float) -> bool:
        """Notes what a step with `threads` took and names those of the next; true once no more need be tried."""
        self._seconds[self.threads].append(seconds)
        rest = [count for count, tried in self._seconds.items() if len(tried) < TRIES]
        medians = {count: sorted(tried)[len(tried) // 2] for count, tried in self._seconds.items() if tried}
        self.threads = rest[0] if rest else min(medians, key=medians.__getitem__)
        return not rest


def kept(cached: list[int], ids: Sequence[int]) -> int:
    """How many of `ids` need not be read again by a cache that begins with `cached`; the last must, for its logits."""
    return sum(takewhile(bool, map(operator.eq, cached, ids[:-1])))
