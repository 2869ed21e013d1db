"""Knows when two documents say the same: exact copies by fingerprint, near copies by MinHash over Korean units."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from corpus.engine import quiet_daft

REASONS = ("duplicate",)  # the true label of planted copies
# Korean words carry particles and uncertain spacing, so a unit is one syllable there; elsewhere it is a whole word.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_UNIT = re.compile(r"[가-힣]|[^\W가-힣_]+")


@dataclass(frozen=True)
class Cluster:
    """Documents that say the same; `kept` has the smallest id, `copies` maps the others to their reason."""

    kept: str
    copies: dict[str, str]


def units(text: str) -> str:
    """The text as its space-separated units: syllables, words and numbers in lower case, without punctuation."""
    return " ".join(_UNIT.findall(text.casefold()))


def fingerprints(texts: list[str]) -> np.ndarray:
    """Numbers uint64 [documents] that equal texts share."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8")


def signatures(texts: list[str], *, hashes: int, shingle: int) -> np.ndarray:
    """MinHash signatures uint32 [documents, hashes] of texts given as units; `shingle` units make one element."""
    import pyarrow as pa

    series = quiet_daft().Series.from_arrow(pa.array(texts, pa.large_string()))  # no plan: on Ray it would travel
    column = series.minhash(num_hashes=hashes, ngram_size=shingle, seed=1, hash_function="xxhash").to_arrow()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, hashes)


def clusters(
    ids: Sequence[str], prints: np.ndarray, marks: np.ndarray, *, bands: int, similarity: float
) -> Iterator[Cluster]:
    """Connected groups of documents that share a band of `marks` and whose signatures agree in at least `similarity`.

    `prints` [documents], `marks` [documents, hashes] (may be a file mapped into memory: one band is read at a time,
    then the rows that share it). Every pair inside a band is compared, so the groups do not depend on the order of
    documents, and what is left after removing the copies holds no two documents that would be joined again. Sorted by
    the kept id.
    """
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    parents = np.arange(len(order))  # of places in `order`, so that the smallest id is a group's root
    by_print = prints[order]
    _, first, same = np.unique(by_print, return_index=True, return_inverse=True)
    parents[:] = first[same]  # equal texts meet at once, and only one of them is compared
    single = np.flatnonzero(parents == np.arange(len(order)))
    for meeting in _candidates(marks, order[single], bands):
        _join_alike(single[meeting], marks[order[single[meeting]]], parents, similarity)
    members: dict[int, list[int]] = defaultdict(list)
    for place in np.flatnonzero(parents != np.arange(len(order))).tolist():
        root = _root(parents, place)
        members[root] = [*(members[root] or [root]), place]
    for root, group in sorted(members.items()):
        exact = [by_print[place] in by_print[group[:index]] for index, place in enumerate(group)]
        reasons = ("exact_duplicate" if copy else "near_duplicate" for copy in exact[1:])
        yield Cluster(ids[order[root]], dict(zip((ids[order[place]] for place in group[1:]), reasons, strict=True)))


def judgement(groups: list[Cluster], labels: dict[str, str]) -> dict:
    """Agreement with planted copies (`labels`: id → label): a cluster may drop as many as it holds labelled copies.

    Which member stays does not matter, for all say the same. Clusters with an unlabelled member do not count.
    """
    planted = sum(label in REASONS for label in labels.values())
    marks = [[labels.get(name, "") for name in (group.kept, *group.copies)] for group in groups]
    dropped = sum(len(row) - 1 for row in marks if all(row))
    found = sum(min(len(row) - 1, sum(mark in REASONS for mark in row)) for row in marks if all(row))
    shares = {"precision": found / dropped if dropped else None, "recall": found / planted if planted else None}
    return {"planted": planted, **shares}


def _candidates(marks: np.ndarray, rows: np.ndarray, bands: int) -> Iterator[np.ndarray]:
    """Groups of two or more places in `rows`, ascending, that agree in a whole band."""
    width = marks.shape[1] // bands
    for start in range(0, width * bands, width):
        codes = np.zeros(len(rows), dtype=np.uint64)
        for column in np.array(marks[:, start : start + width])[rows].T:  # hashed: a false meeting is told by comparing
            codes = (codes ^ column) * _MULTIPLIER
            codes ^= codes >> np.uint64(29)
        by_code = np.argsort(codes, kind="stable")
        bounds = np.flatnonzero(np.diff(codes[by_code], prepend=codes[by_code[:1]] + np.uint64(1)))
        sizes = np.diff(np.append(bounds, len(rows)))
        for bound, size in zip(bounds[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
            yield by_code[bound : bound + size]


def _join_alike(places: np.ndarray, marks: np.ndarray, parents: np.ndarray, similarity: float) -> None:
    for index, place in enumerate(places[:-1]):
        root = _root(parents, place)
        rest = np.array([at for at in range(index + 1, len(places)) if _root(parents, places[at]) != root], int)
        for other in places[rest[(marks[rest] == marks[index]).mean(axis=1) >= similarity]]:
            low, high = sorted((_root(parents, place), _root(parents, other)))
            parents[high] = low


def _root(parents: np.ndarray, row: int) -> int:
    while parents[row] != row:
        parents[row] = row = parents[parents[row]]  # left to right: the path is halved before the step
    return int(row)
