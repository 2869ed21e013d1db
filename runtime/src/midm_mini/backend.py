"""Knows the seam between the front and the inference libraries: what every backend can do."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from midm_mini.format import MidmError

DEFAULT_CONTEXT = 4096  # tokens: the cache of a real Mini takes 192 KiB per token, 32,768 of them would be 6 GiB


class Backend(Protocol):
    """One opened artifact, for one thread at a time; the caller has checked the ids and closes it once.

    `bos` is None for a model without one, `ends` says whether a token ends a reply, both as the artifact states them.
    `encode` adds no BOS and sees control tokens only if `special`; `token_bytes` may be part of a character;
    `start` forgets everything and reads a prompt, `step` one token more, both give float32 [V] for the next token;
    `logits` gives float32 [T, V] over `ids` alone, row t for the token after ids[t].
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
    def logits(self, ids: Sequence[int]) -> np.ndarray: ...
    def close(self) -> None: ...


def pick_context(wanted: int | None, *, trained: int) -> int:
    """Context in tokens: what was asked for, else the trained one up to DEFAULT_CONTEXT; raises MidmError beyond it."""
    if wanted is not None and not 0 < wanted <= trained:
        raise MidmError(f"context={wanted}: this model was trained for 1 to {trained} tokens; ask for at most that")
    return wanted or min(trained, DEFAULT_CONTEXT)
