"""Knows how fluent, good and abusive a text is, and of what kind: small hashed n-gram models, read with numpy alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

LONGEST, WINDOWS = 4096, 8  # characters scored of a document: all, or this many in windows spread over it
ORDERS = 5  # character n-grams of 1 to 5; the models say which they read
CHUNK = 1 << 16  # characters handled at once: temporaries stay in the cache
_PAD = "\0" * (ORDERS - 1)  # before each document, so that no n-gram reaches into another one
MIX = np.uint32(0x9E3779B1)
_STEP = np.uint32(0x85EBCA6B)
_ENDS = np.frombuffer(".!?…".encode("utf-32-le"), np.uint32)
CLASSES = 0x5CB0  # kinds of characters that the models tell apart


class Scores(NamedTuple):
    """One entry per text: floats [n] and labels; an empty text scores 0 and "" everywhere."""

    perplexity: np.ndarray  # per character of the folded text (`classes`)
    quality: np.ndarray  # probability of a register worth learning from, against mess
    toxicity: np.ndarray  # mean over characters of the probability that their sentence is abusive
    domain: list[str]
    register: list[str]
    kind: list[str]


class Grams(NamedTuple):
    """N-grams of some texts laid end to end: those of order n that end at position i are `codes[n - 1][i]`."""

    codes: list[np.ndarray]  # per order uint32 [positions], a rolling hash
    starts: np.ndarray  # [texts], first position of each text
    lengths: np.ndarray  # [texts], characters
    segments: np.ndarray  # [segments], first position of each sentence or line
    owners: np.ndarray  # [segments], the text that a segment belongs to


@dataclass(frozen=True)
class Head:
    """A linear model: what a text's n-grams weigh, summed and divided by characters ** `power`."""

    weights: np.ndarray  # int8 [buckets, outputs]
    scale: np.ndarray  # float64 [outputs], of one unit of weight
    bias: np.ndarray  # float64 [outputs]
    orders: tuple[int, ...]
    power: float  # 1: the mean n-gram decides; 0.5: longer texts are surer

    @cached_property
    def _weights(self) -> np.ndarray:
        return self.weights.astype(np.float32)  # sums stay below 2^24, so they are exact

    def score(self, codes: list[np.ndarray], starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Scores [spans, outputs] of the spans [start, end) of positions; sums are of integers, so exact."""
        bounds = np.concatenate(([0], np.stack([starts, ends], axis=1).ravel()))
        total, ones = np.zeros((len(starts), len(self.scale))), np.ones(ends[-1], np.float32)
        for order in self.orders:
            places = bucket(codes[order - 1][: ends[-1]], len(self.weights))
            total += (csr_matrix((ones, places, bounds), shape=(len(bounds) - 1, len(self.weights))) @ self._weights)[
                1::2
            ]
        return total * self.scale / (np.maximum(ends - starts, 1) ** self.power)[:, None] + self.bias


@dataclass(frozen=True)
class LanguageModel:
    """A back-off model as in ARPA files: an n-gram found has its cost, one not found the cost of backing off to n-1.

    Costs are tenths of a bit. A cell holds a fingerprint of the n-gram (16 bits), its cost (8), its back-off cost (8).
    """

    unigrams: np.ndarray  # uint32 [classes], as cells without fingerprint
    cells: np.ndarray  # uint32 [buckets]

    def cost(self, classes_: np.ndarray, codes: list[np.ndarray]) -> np.ndarray:
        """Cost of each character after those before it, int32 [positions]."""
        found = self.unigrams.take(classes_, mode="clip")
        cost = (found >> 8 & 255).astype(np.int32)
        for order in range(2, ORDERS + 1):
            back_off = np.concatenate(([0], found[:-1] & 255))
            code = codes[order - 1]
            found = self.cells.take(bucket(code, len(self.cells)))
            hit = (found >> 16) == fingerprint(code)
            cost = np.where(hit, found >> 8 & 255, cost + back_off).astype(np.int32)
            found = np.where(hit, found, 0)
        return cost


@dataclass(frozen=True)
class Judges:
    """All models of a folder; scores of a text are a function of the text alone, whatever else is in the batch."""

    language_model: LanguageModel
    document: Head  # outputs: quality, then the labels of domain, register and kind
    sentence: Head  # output: abuse
    program: Head  # output: code, against prose
    labels: dict[str, list[str]]  # domain, register, kind → their labels, in the order of the outputs

    def scores(self, texts: list[str]) -> Scores:
        """Scores of texts, in their order."""
        parts = [self._score(chunk) for chunk in chunks(texts)]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [np.zeros(0)] * 6
        names = [list(map(str, column)) for column in columns[3:]]
        perplexity, quality, toxicity = (column.astype(np.float64).round(6) for column in columns[:3])
        return Scores(perplexity, quality, toxicity, *names)

    def code(self, texts: list[str]) -> np.ndarray:
        """Probability [n] that a text is program code and not prose about it."""
        parts = [np.zeros(0)]
        for chunk in chunks(texts):
            grams, _ = read(chunk)
            parts.append(sigmoid(self.program.score(grams.codes, grams.starts, grams.starts + grams.lengths)[:, 0]))
        return np.concatenate(parts)

    def _score(self, texts: list[str]) -> list[np.ndarray]:
        grams, folded = read(texts)
        ends, some = grams.starts + grams.lengths, grams.lengths > 0
        costs = self.language_model.cost(folded, grams.codes)
        bits = np.add.reduceat(costs, np.stack([grams.starts, ends], axis=1).ravel())[::2] / 10
        outputs = self.document.score(grams.codes, grams.starts, ends)
        names, first = [], 1
        for labels in self.labels.values():
            best = outputs[:, first : first + len(labels)].argmax(axis=1)
            names.append(np.where(some, np.array(labels)[best], ""))
            first += len(labels)
        toxicity = self._toxicity(grams)
        numbers = 2 ** (bits / np.maximum(grams.lengths, 1)), sigmoid(outputs[:, 0]), toxicity
        return [*(np.where(some, number, 0.0) for number in numbers), *names]

    def _toxicity(self, grams: Grams) -> np.ndarray:
        limits = (grams.starts + grams.lengths)[grams.owners]
        ends = np.minimum(np.append(grams.segments[1:], limits[-1]), limits)
        abuse = sigmoid(self.sentence.score(grams.codes, grams.segments, ends)[:, 0]) * (ends - grams.segments)
        first = np.searchsorted(grams.owners, np.arange(len(grams.starts)))
        return np.add.reduceat(abuse, first) / np.maximum(grams.lengths, 1)


def load(folder: Path) -> Judges:
    """The judges that `corpus.learning` wrote into a folder: .npy files and judges.json."""
    try:
        card = json.loads((folder / "judges.json").read_text(encoding="utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in card["arrays"]}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: no readable judges ({error}); run `python -m corpus.learning`") from error
    heads = {
        name: Head(
            arrays[name],
            np.array(card[name]["scale"]),
            np.array(card[name]["bias"]),
            tuple(card[name]["orders"]),
            card[name]["power"],
        )
        for name in ("document", "sentence", "program")
    }
    return Judges(LanguageModel(arrays["unigrams"], arrays["cells"]), labels=card["labels"], **heads)


def chunks(texts: list[str]) -> Iterator[list[str]]:
    """Texts as they are scored, in groups of about CHUNK characters."""
    group, size = [], 0
    for text in map(excerpt, texts):
        group.append(text)
        size += len(text)
        if size >= CHUNK:
            yield group
            group, size = [], 0
    if group:
        yield group


def excerpt(text: str) -> str:
    """The text itself, or WINDOWS windows spread evenly over a text longer than LONGEST characters, one per line."""
    if len(text) <= LONGEST:
        return text
    width = LONGEST // WINDOWS - 1
    return "\n".join(text[at : at + width] for at in ((len(text) - width) * n // (WINDOWS - 1) for n in range(WINDOWS)))


def read(texts: list[str]) -> tuple[Grams, np.ndarray]:
    """The n-grams of texts, and the class of the character at each position."""
    points = np.frombuffer((_PAD + _PAD.join(texts) + _PAD).encode("utf-32-le", "replace"), np.uint32)
    lengths = np.array([len(text) for text in texts], np.int64)
    starts = np.cumsum(lengths + len(_PAD)) - lengths
    folded = classes().take(points, mode="clip")
    codes = [(folded + np.uint32(1)) * MIX]
    for _ in range(ORDERS - 1):
        codes.append(codes[0].copy())
        codes[-1][1:] += codes[-2][:-1] * _STEP
    line = points == 10
    ended = np.isin(points[:-1], _ENDS) & (points[1:] == 32)
    breaks = np.flatnonzero(line[:-1] | ended) + 1
    owners = np.searchsorted(starts, breaks, side="right") - 1
    inside = (owners >= 0) & (breaks < (starts + lengths)[owners])
    segments = np.concatenate([starts, breaks[inside]])
    order = np.argsort(segments, kind="stable")
    owner = np.concatenate([np.arange(len(texts)), owners[inside]])
    return Grams(codes, starts, lengths, segments[order], owner[order]), folded


def bucket(codes: np.ndarray, buckets: int) -> np.ndarray:
    """The row of a table of `buckets` (a power of two) rows that each n-gram shares."""
    return ((codes * _STEP) >> np.uint32(33 - buckets.bit_length())).astype(np.intp)


def fingerprint(codes: np.ndarray) -> np.ndarray:
    """16 bits that tell an n-gram from the others in its bucket."""
    return codes & np.uint32(0xFFFF)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Probability of log-odds."""
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


@cache
def classes() -> np.ndarray:
    """Code point → class, uint32 below CLASSES: case, digits and rare scripts folded, Hangul kept."""
    table = np.full(0x110000, CLASSES - 1, np.uint32)
    table[:0x3000] = np.arange(0x3000)
    for first, last, stands_for in ("090", "Àɏà", "ͰϿα", "Ѐӿа", "؀ۿا", "─⟿■"):
        table[ord(first) : ord(last) + 1] = ord(stands_for)
    table[ord("A") : ord("Z") + 1] = np.arange(ord("a"), ord("z") + 1)
    table[0xAC00:0xD7A4] = np.arange(0x3000, 0x5BA4)
    table[0x3000:0x3040] = np.arange(0x5C00, 0x5C40)  # 「」《》
    table[0x3131:0x318F] = np.arange(0x5C40, 0x5C9E)  # ㅋㅋ
    for number, ends in enumerate(("ぁヿ", "㐀鿿", "🀀🿿", "��", "！ﾟ")):
        table[ord(ends[0]) : ord(ends[1]) + 1] = 0x5CA0 + number
    return table
