"""Knows how to measure predictions: log-likelihoods, bits per byte, divergence from a parent, rates with intervals."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

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


def document_nats(subject: Subject, texts: Sequence[str]) -> list[float]:
    """Nats that each whole document costs the subject."""
    cut = (windows(subject.encode(text), bos=subject.bos, context=subject.context) for text in texts)
    return [
        -math.fsum(continuation(subject.logits(inputs), targets) for inputs, targets in document) for document in cut
    ]


def weighed(subject: Subject, texts: Sequence[str]) -> dict[str, Any]:
    """{bpb, n_bytes} of whole documents, and {nats, bytes} of each: the pairs of a comparison."""
    nats, sizes = document_nats(subject, texts), [len(text.encode()) for text in texts]
    bits = math.fsum(nats) / math.log(2) / sum(sizes)
    return {"bpb": bits, "n_bytes": sum(sizes), "nats": [round(cost, 4) for cost in nats], "bytes": sizes}


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


def marked(flags: Sequence[bool]) -> dict[str, Any]:
    """`rate` and the flags themselves as `marks`, "1" or "0" each, so that subjects can be paired."""
    return rate(flags) | {"marks": "".join("01"[flag] for flag in flags)}


def paired(ours: str, theirs: str) -> dict[str, float]:
    """The difference of two shares of marks ("1" or "0") on the same items, with its interval (see `difference`)."""
    return difference([int(mark) for mark in ours], [int(mark) for mark in theirs], [1.0] * len(theirs))


def difference(
    ours: Sequence[float], theirs: Sequence[float], sizes: Sequence[float], *, resamples: int = 10_000, seed: int = 0
) -> dict[str, float]:
    """Σ(ours − theirs) / Σ sizes over items that both were asked: {value, low, high, n}.

    sizes: ones for marks, bits of a byte (bytes · ln 2) for nats, `theirs` for a change relative to it. The 95 %
    interval is the percentile one of a paired bootstrap (Efron 1979): items are drawn with replacement, together with
    both their values. It has no width where no item tells the two apart, and is too narrow for less than some 20 items.
    """
    n = len(ours)
    if n == 0 or not n == len(theirs) == len(sizes):
        raise ValueError(f"{n} and {len(theirs)} results are not of the same items; evaluate both again")
    gaps, weights = np.subtract(ours, theirs, dtype=np.float64), np.asarray(sizes, np.float64)
    generator, drawn = np.random.default_rng(seed), np.empty(resamples)
    for start in range(0, resamples, 500):  # bounds memory; the same draws whatever the size of the part
        items = generator.integers(0, n, (min(500, resamples - start), n))
        drawn[start : start + 500] = gaps[items].sum(axis=1) / weights[items].sum(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"value": float(gaps.sum() / weights.sum()), "low": float(low), "high": float(high), "n": n}
