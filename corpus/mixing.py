"""Knows the training mixture: what is held out, what each curriculum phase sees, and what would leak a question."""

import hashlib
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

TRAIN, VALIDATION, LEFT_OUT = "train", "validation", "left_out"
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_TOP_BITS = np.uint64(44)  # what is shifted away to leave the 20 bits of the sieve


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


class Contamination:
    """Finds evaluation questions inside documents, whatever the spacing, punctuation, case, form and particles.

    A question counts as found when at least `share` of its windows of `letters` letters occur in one stretch of the
    document no longer than twice the question. Windows of letters, not of words: Korean spacing varies, and particles
    attach (GPT-3's 13-gram rule, arXiv 2005.14165 appendix C, counts words).
    """

    def __init__(self, questions: Mapping[str, str], *, letters: int, share: float) -> None:
        self._letters, self._share = letters, share
        self._windows = {name: np.unique(_windows(text, letters)) for name, text in questions.items()}
        self._owners: dict[int, list[str]] = defaultdict(list)
        for name, windows in self._windows.items():
            for window in windows.tolist():
                self._owners[window].append(name)
        self._sieve = np.zeros(1 << 20, dtype=bool)  # passes over nearly all windows of clean text
        self._sieve[np.array(list(self._owners), dtype=np.uint64) >> _TOP_BITS] = True

    def hits(self, text: str) -> list[tuple[str, float]]:
        """The questions found in a text, each with the share of its windows that were found."""
        windows = _windows(text, self._letters)
        positions: dict[str, list[int]] = defaultdict(list)
        for position in np.flatnonzero(self._sieve[windows >> _TOP_BITS]).tolist():
            for name in self._owners.get(int(windows[position]), ()):
                positions[name].append(position)
        shares = ((name, self._coverage(len(self._windows[name]), windows, at)) for name, at in positions.items())
        return sorted((name, round(share, 4)) for name, share in shares if share >= self._share)

    def _coverage(self, wanted: int, windows: np.ndarray, at: list[int]) -> float:
        """Largest share of a question's `wanted` windows that stand within a stretch of twice its length."""
        if len(at) < self._share * wanted:
            return 0.0
        starts = np.searchsorted(at, np.array(at) - 2 * wanted).tolist()
        return max(len(np.unique(windows[at[start : end + 1]])) for end, start in enumerate(starts)) / wanted


def read_questions(file: Path) -> dict[str, str]:
    """id → question of a questions.jsonl; ValueError names the line that is not a question."""
    questions = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            questions[str(row["id"])] = str(row["question"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{file}:{number}: not a question with id and question; rerun synthesize") from None
    return questions


def _windows(text: str, letters: int) -> np.ndarray:
    """Hashes of all windows of `letters` letters and digits, as uint64 [windows]."""
    # Syllables that write particles never count: one swapped or dropped would spoil `letters` windows.
    bare = re.sub(r"[\W_은는이가을를의에서로으란]+", "", unicodedata.normalize("NFKC", text).casefold())
    points = np.frombuffer(bare.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    codes = np.zeros(max(len(points) - letters + 1, 0), dtype=np.uint64)
    for offset in range(letters):
        codes = codes * _MULTIPLIER + points[offset : offset + len(codes)]
    return codes
