"""Knows how much a set of texts says: variety within, nearness to seeds, reach over organic text, copies of it."""

import hashlib
import heapq
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from corpus import near

DIMENSIONS = 4096  # of the hashed vectors
UNITS = 10_000  # of a set, for distinct-n falls with size
CHARACTERS = 2000  # of a text
ROUNDS = 8  # of k-means
_FINE = 1000  # vectors are whole numbers up to this, so that every sum is exact, in any order and on any machine


class Nearness(BaseModel):
    """When two texts say the same: dedup's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    bands: int
    rows: int
    shingle: int
    similarity: float


def distinct(texts: Sequence[str], n: int) -> float:
    """Share of different n-grams among all n-grams of the first UNITS units (Li 2016, arXiv 1510.03055)."""
    grams, left = [], UNITS
    for text in texts:
        units = near.units(text).split()[:left]
        grams += _grams(units, n)
        left -= len(units)
    return len(set(grams)) / max(len(grams), 1)


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU-4 of each text against all others (arXiv 1802.01886), n > 1 smoothed by one; 1.0 where all are alike.

    No brevity penalty: among many references one has about the same length.
    """
    if len(texts) < 2:
        return 0.0
    units, scores = [near.units(text).split() for text in texts], np.zeros(len(texts))
    for n in (1, 2, 3, 4):
        counts = [Counter(_grams(words, n)) for words in units]
        best: dict[tuple, tuple[int, int, int]] = {}  # n-gram → most often in one text, which, most often in another
        for owner, count in enumerate(counts):
            for gram, times in count.items():
                first, whose, second = best.get(gram, (0, -1, 0))
                best[gram] = (times, owner, first) if times > first else (first, whose, max(second, times))
        for row, count in enumerate(counts):
            found = sum(min(k, best[gram][2 if best[gram][1] == row else 0]) for gram, k in count.items())
            share = (found + (n > 1)) / max(count.total() + (n > 1), 1)
            scores[row] += math.log(share) if share else -math.inf
    return float(np.exp(scores / 4).mean())


class Space:
    """Hashed tf-idf vectors of units and unit pairs, weighted and clustered by the organic texts given."""

    def __init__(self, organic: Sequence[str], *, clusters: int) -> None:
        present = np.stack([self._counts(text) > 0 for text in organic]).sum(axis=0)
        self._weights = np.rint(16 * np.log((len(organic) + 1) / (present + 1)) + 16)
        vectors = self.vectors(organic)
        chosen = [0]
        while len(chosen) < min(clusters, len(organic)):  # the text farthest from all chosen ones
            chosen.append(int((vectors @ vectors[chosen].T).max(axis=1).argmin()))
        self.centres = vectors[chosen]
        for _ in range(ROUNDS):
            nearest = self._nearest(vectors)
            sums = [vectors[nearest == cluster].sum(axis=0, dtype=np.float64) for cluster in range(len(chosen))]
            self.centres = np.stack([_unit(total) if total.any() else self.centres[k] for k, total in enumerate(sums)])

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Whole numbers float32 [texts, DIMENSIONS], of length about _FINE."""
        return np.stack([_unit(self._counts(text) * self._weights) for text in texts])

    def covered(self, texts: Sequence[str]) -> float:
        """Share of the clusters that are the nearest of at least one text."""
        return len(set(self._nearest(self.vectors(texts)).tolist())) / len(self.centres)

    def relevance(self, texts: Sequence[str], seeds: Sequence[str]) -> tuple[float, float]:
        """Mean cosine of each text and its own seed, and how often no other seed is nearer."""
        likeness = self.vectors(texts) @ self.vectors(seeds).T
        own = np.diag(likeness)
        return float(own.mean(dtype=np.float64)) / _FINE**2, float((own >= likeness.max(axis=1)).mean())

    def _nearest(self, vectors: np.ndarray) -> np.ndarray:
        return (vectors @ self.centres.T).argmax(axis=1)

    def _counts(self, text: str) -> np.ndarray:
        units = near.units(text).split()
        places = [zlib.crc32(" ".join(gram).encode()) % DIMENSIONS for n in (1, 2) for gram in _grams(units, n)]
        return np.bincount(places, minlength=DIMENSIONS).astype(np.float64)


def compared(
    made: Sequence[dict], organic: Callable[[], Iterable[dict]], *, size: int, clusters: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Figures per source and language of made documents (with their `seed`), and of organic ones beside them.

    Of each set `size` documents, drawn by their ids and cut to CHARACTERS; `organic` is read once per language.
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for lang in sorted({document["lang"] for document in made}):
        sets = {"organic": _drawn((row for row in organic() if row["lang"] == lang), size)}
        for source in sorted({document["source"] for document in made}):
            sets[source] = _drawn((row for row in made if (row["source"], row["lang"]) == (source, lang)), size)
        texts = {source: [row["text"][:CHARACTERS] for row in rows] for source, rows in sets.items() if rows}
        space = Space(texts["organic"], clusters=clusters) if "organic" in texts else None
        for source, said in texts.items():
            seeds = [row["seed"] for row in sets[source] if "seed" in row]
            table.setdefault(source, {})[lang] = quality(said, seeds, space)
    return table


def shares(made: Iterable[dict], organic: Iterable[dict]) -> dict[str, dict[str, float]]:
    """Per language the characters made, and their share of made and organic text together."""
    ours, theirs = Counter[str](), Counter[str]()
    for count, documents in ((ours, made), (theirs, organic)):
        for document in documents:
            count[document["lang"]] += len(document["text"])
    share = {lang: round(ours[lang] / (ours[lang] + theirs[lang]), 4) for lang in sorted(ours)}
    return {"characters": dict(sorted(ours.items())), "synthetic_share": share}


def quality(texts: Sequence[str], seeds: Sequence[str], space: Space | None) -> dict[str, float]:
    """The figures of one set: variety, and in a space also reach and, with a seed per text, relevance."""
    figures = {f"distinct_{n}": distinct(texts, n) for n in (1, 2, 3)} | {"self_bleu": self_bleu(texts)}
    if space and texts:
        figures["clusters_covered"] = space.covered(texts)
    if space and seeds:
        figures["clusters_covered_by_seeds"] = space.covered(seeds)
        figures["relevance"], figures["own_seed_is_nearest"] = space.relevance(texts, seeds)
    return {"texts": len(texts), **{name: round(value, 4) for name, value in figures.items()}}


def copies(texts: Sequence[str], known: Iterable[list[str]], *, near_as: Nearness) -> list[str]:
    """For each text "", or copy_of_known, or copy_of_earlier if an earlier text without objection says the same.

    known: texts in batches; nothing of them is kept, only the new texts' bands are in memory.
    """

    def marks_of(some: Sequence[str]) -> np.ndarray:
        return near.signatures(
            [near.units(text) for text in some], hashes=near_as.bands * near_as.rows, shingle=near_as.shingle
        )

    def alike(mark: np.ndarray) -> set[int]:
        found = {
            row
            for band, part in enumerate(np.split(mark, near_as.bands))
            for row in owners.get((band, part.tobytes()), ())
        }
        return {row for row in found if (marks[row] == mark).mean() >= near_as.similarity}

    if not texts:
        return []
    marks, reasons = marks_of(texts), [""] * len(texts)
    owners: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for row, mark in enumerate(marks):
        for band, part in enumerate(np.split(mark, near_as.bands)):
            owners[band, part.tobytes()].append(row)
    for batch in known:
        for row in {row for mark in marks_of(batch) for row in alike(mark)}:
            reasons[row] = "copy_of_known"
    for row, mark in enumerate(marks):
        if not reasons[row] and any(other < row and not reasons[other] for other in alike(mark)):
            reasons[row] = "copy_of_earlier"
    return reasons


def _drawn(documents: Iterable[dict], size: int) -> list[dict]:
    """The `size` documents whose ids have the smallest hashes, so that their order is no matter."""
    return heapq.nsmallest(size, documents, key=lambda row: hashlib.sha256(row["id"].encode()).digest())


def _grams(units: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(units[start:] for start in range(n)), strict=False))


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.rint(vector * (_FINE / max(math.sqrt(float(vector @ vector)), 1e-9))).astype(np.float32)
