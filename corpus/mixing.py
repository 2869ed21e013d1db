"""Knows the training mixture: what is held out, and what each curriculum phase sees."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

TRAIN, VALIDATION, LEFT_OUT = "train", "validation", "left_out"


def lot(name: str) -> float:
    """A number in [0, 1) that depends on a document's id only, so that its place never changes."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") / 2**64


def places(
    sizes: Iterable[tuple[str, str, int]], *, validation_share: float, validation_characters: int,
    train_characters: Mapping[str, int],
) -> dict[str, str]:  # fmt: skip
    """Where each document (id, language, characters) goes: validation, up to a size; train, up to a size; or left out.

    A language's documents queue in the order of their lots, so neither files nor workers change the outcome. The first
    is held out even when the share is small, so that every language can be measured.
    """
    placed: dict[str, str] = {}
    filled: Counter[tuple[str, str]] = Counter()
    for drawn, name, lang, characters in sorted((lot(name), name, lang, size) for name, lang, size in sizes):
        held_out, taken = filled[lang, VALIDATION], filled[lang, TRAIN]
        if not held_out or (drawn < validation_share and held_out + characters <= validation_characters):
            placed[name] = VALIDATION
        else:
            placed[name] = TRAIN if taken + characters <= train_characters[lang] else LEFT_OUT
        filled[lang, placed[name]] += characters
    return placed
