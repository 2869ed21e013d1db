"""Knows how to measure predictions: log-likelihoods, bits per byte, divergence from a parent, rates with intervals."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from evals.subject import Subject, SubjectError


def windows(ids: Sequence[int], *, bos: int, context: int) -> Iterator[tuple[list[int], list[int]]]:
    """Cuts a document into (inputs, targets) of ≤ `context` tokens, BOS first; every token is a target exactly once."""
    for start in range(0, len(ids), context):
        targets = list(ids[start : start + context])
        yield [bos, *targets[:-1]], targets


def continuation(logits: np.ndarray, targets: Sequence[int]) -> float:
    """Nats of `targets` [T] under the logits [T, V] before them; exponentials in float32, their sums in float64."""
    top = logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(logits, np.asarray(targets)[:, None], axis=-1)
    nats = (chosen - top)[:, 0].astype(np.float64) - np.log(np.exp(logits - top).sum(axis=-1, dtype=np.float64))
    return float(nats.sum())


def bits_per_byte(subject: Subject, texts: Sequence[str]) -> tuple[float, int]:
    """Bits per UTF-8 byte of whole documents (tokenizers can be compared), and the bytes; there must be some text."""
    nats = [
        continuation(subject.logits(inputs), targets)
        for text in texts
        for inputs, targets in windows(subject.encode(text), bos=subject.bos, context=subject.context)
    ]
    size = sum(len(text.encode()) for text in texts)
    return -math.fsum(nats) / math.log(2) / size, size


def divergence(subject: Subject, parent: Subject, texts: Iterable[str], *, max_positions: int) -> dict[str, float]:
    """KL(parent ‖ subject) over the first `max_positions` (mean, 99.9 % quantile), and the share of equal choices."""
    losses: list[float] = []
    same = 0
    for text in texts:
        ids = subject.encode(text)
        if (subject.bos, ids) != (parent.bos, parent.encode(text)):
            raise SubjectError(f"{subject.name} and {parent.name} cut {text[:30]!r} differently; not its parent")
        for inputs, _ in windows(ids, bos=subject.bos, context=min(subject.context, parent.context)):
            if left := inputs[: max_positions - len(losses)]:
                theirs, ours = parent.logits(left), subject.logits(left)
                if theirs.shape != ours.shape:
                    raise SubjectError(f"{subject.name}: logits {ours.shape}, not {theirs.shape}; not its parent")
                losses += kl_divergence(theirs, ours)
                same += int((theirs.argmax(axis=-1) == ours.argmax(axis=-1)).sum())
    n, high = len(losses), float(np.quantile(losses, 0.999))
    return {"kl_parent": math.fsum(losses) / n, "kl_parent_p999": high, "top1_parent": same / n, "n_positions": n}


def kl_divergence(parent: np.ndarray, subject: np.ndarray) -> list[float]:
    """KL(parent ‖ subject) in nats of every row of two logits [T, V], in float64; rounding below zero is cut off."""
    nats = []
    for pair in zip(parent, subject, strict=True):  # row by row: bounds the float64 copies
        p, q = (row - row.max() - np.log(np.exp(row - row.max()).sum()) for row in np.asarray(pair, np.float64))
        nats.append(max(0.0, float((np.exp(p) * (p - q)).sum())))
    return nats


def rate(flags: Sequence[bool]) -> dict[str, float]:
    """The share of true flags as {value, low, high, n}: 95 % Wilson score interval (Wilson 1927), [0, 1] for none."""
    n, z = len(flags), 1.959963984540054
    if n == 0:
        return {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}
    share, spread = sum(flags) / n, z * z / n
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    low, high = ((share + spread / 2 + side) / (1 + spread) for side in (-half, half))
    return {"value": share, "low": low if any(flags) else 0.0, "high": 1.0 if all(flags) else high, "n": n}


def paired(ours: str, theirs: str) -> dict[str, float]:
    """The difference of two shares of right answers ("1", else "0") to the same questions: {value, low, high, n}.

    95 % interval for matched pairs (Agresti & Min 2005: a Wald interval after half an answer more in each of the four
    cells), so that questions which both answer alike do not widen it.
    """
    n, z = len(ours), 1.959963984540054
    if n == 0 or n != len(theirs):
        raise ValueError(f"{n} and {len(theirs)} marks are not of the same questions; evaluate both again")
    won, lost = (sum(pair == kind for pair in zip(ours, theirs, strict=True)) for kind in (("1", "0"), ("0", "1")))
    middle = (won - lost) / (n + 2)
    half = z * math.sqrt((won + lost + 1) / (n + 2) - middle**2) / math.sqrt(n + 2)
    return {"value": (won - lost) / n, "low": middle - half, "high": middle + half, "n": n}
