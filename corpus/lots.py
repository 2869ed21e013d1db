"""Knows lots: numbers that a name alone decides, so that what they draw never depends on order, files or workers."""

import hashlib
from collections.abc import Callable, Iterable

import numpy as np

Lot = Callable[..., int]  # labels → a whole number that they alone decide


def lot(name: str) -> float:
    """A name's lot as a number in [0, 1)."""
    return float(lots([name])[0]) / 2**64


def lots(names: Iterable[str]) -> np.ndarray:
    """The lots of names, uint64 [n]."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def redrawn(drawn: np.ndarray, label: str) -> np.ndarray:
    """New lots, uint64 [n], that lots and a label decide (splitmix64's finalizer, Steele 2014)."""
    mixed = drawn + lots([label])
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
