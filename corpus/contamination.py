"""Knows which evaluation items stand in a text, however a page has rewritten them.

    sets = read_sets(Path("data/evaluations"), [synthetic, Path("data/sample/safety"), *folders_of_the_caller])
    detector = Contamination(sets.items, letters=16, share=0.7)  # arrays only: picklable, quick to build
    found = detector.hits([document["text"] for document in batch])  # per document a list of Hit(set, item, share)
    overlap(sets, detector, chain.from_iterable(found))  # per set what stands beside its score
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from corpus.evaluations import Item, Sets

# Syllables that write particles never count, in words neither: one swapped or dropped would spoil all windows over it.
PARTICLES = "은는이가을를의에서로으란와과도랑"
ANCHORS, NEEDED = 8, 3  # windows by which an item is looked for, and how many of them must stand in the document
SHORT = 8  # an item of fewer windows is searched as a whole, standing alone
COMMON = 16  # a window that more items share becomes an anchor only where there are no others
_MULTIPLIER = 0x9E3779B97F4A7C15
_SIEVE_SHIFT = np.uint64(64 - 24)  # leaves the 24 top bits of a hash, which are its best
_BREAK, _COMPOUND, _WIDE = 1, 2, 0x2E80  # kinds of characters: 0 is dropped, letters are above _COMPOUND
_BATCH, _OVERLAP = 1 << 21, 1 << 16  # characters looked at together (150 MB of arrays), and twice where a text is cut
_INITIALS, _FINALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
_SPELLED = re.compile(f"([{_INITIALS}])([ㅏ-ㅣ])([{_FINALS[1:]}](?![ㅏ-ㅣ]))?")
_HALF_WIDE = {0xFFA1 + n: 0x3131 + n for n in range(30)}
_HALF_WIDE |= {0xFFC2 + n + n // 6 * 2: 0x314F + n for n in range(21)}  # in rows of six


class Hit(NamedTuple):
    """An item found in a document, with the share of its windows that stand there."""

    set: str
    item: str
    share: float


def overlap(sets: Sets, detector: "Contamination", hits: Iterable[Hit]) -> dict[str, dict]:
    """Per set: items, too_short (never searched), found, and found / searched as share; or why it is absent."""
    sizes, short = Counter(item.set for item in sets.items), Counter(item.set for item in detector.too_short)
    found = Counter(name for name, _ in {(hit.set, hit.item) for hit in hits})
    present = {
        name: {"items": size, "too_short": short[name], "found": found[name],
               "share": round(found[name] / (size - short[name]), 6) if size > short[name] else None}
        for name, size in sizes.items()
    }  # fmt: skip
    return present | {name: {"absent": reason} for name, reason in sorted(sets.absent.items())}


class Contamination:
    """Finds evaluation items in documents, whatever the spacing, punctuation, case, normal form and particles.

    A window is `letters` letters long, a Hangul syllable counting two: of letters, not of words, for Korean spacing
    varies and particles attach (GPT-3's 13-gram rule, arXiv 2005.14165 appendix C, counts words). An item is found if
    `share` of its windows stand within twice its length of one of its anchors. An item of fewer than SHORT windows is
    found if it stands as it is between two marks of punctuation or line ends; without any window it is too short.
    """

    def __init__(self, items: Sequence[Item], *, letters: int, share: float) -> None:
        self._names, self._letters, self._share = [(item.set, item.id) for item in items], letters, share
        asked = _shingles([(n, text) for n, item in enumerate(items) for text in item.question], letters)
        brief = np.flatnonzero(np.bincount(asked[0], minlength=len(items)) < SHORT).tolist()
        options = _shingles([(n, text) for n in brief for text in items[n].options], letters)
        homes, windows = _distinct(*(np.concatenate(pair) for pair in zip(asked, options, strict=True)))
        counts = np.bincount(homes, minlength=len(items))
        self._windows, self._ends = windows, np.cumsum(counts)
        short = np.flatnonzero(counts < SHORT)
        first, whole, lengths = _wholes(["\n".join(items[n].question) for n in short.tolist()], letters)
        self._whole, self._lengths = np.zeros(len(items), np.uint64), np.zeros(len(items), np.int64)
        self._whole[short], self._lengths[short] = whole, lengths
        self.too_short = [items[n] for n in short[lengths == 0].tolist()]
        long = counts[homes] >= SHORT
        owners, anchors = _rarest(homes[long], windows[long])
        anchors, owners = np.append(anchors, first[lengths > 0]), np.append(owners, short[lengths > 0])
        order = np.lexsort((owners, anchors))
        self._anchors, self._owners = anchors[order], owners[order]
        self._sieve = np.zeros(1 << 24, dtype=bool)  # passes over nearly all windows of clean text
        self._sieve[self._anchors >> _SIEVE_SHIFT] = True

    def hits(self, texts: Sequence[str]) -> list[list[Hit]]:
        """For each text the items found in it, sorted by set and id."""
        found: list[dict[int, float]] = [{} for _ in texts]
        for homes, stream in _streams(enumerate(texts)):
            for place, item, share in self._search(stream):
                at = found[homes[place]]
                at[item] = max(share, at.get(item, 0.0))
        return [sorted(Hit(*self._names[item], share) for item, share in at.items()) for at in found]

    def _search(self, stream: "_Stream") -> Iterator[tuple[int, int, float]]:
        """The texts of a stream and the items that stand in them, with shares."""
        windows, lasts = stream.windows(self._letters)
        places = np.flatnonzero(self._sieve[windows >> _SIEVE_SHIFT])
        left, right = (np.searchsorted(self._anchors, windows[places], side) for side in ("left", "right"))
        places, entries = np.repeat(places, right - left), np.repeat(right - np.cumsum(right - left), right - left)
        entries += np.arange(len(entries))
        texts, items = np.searchsorted(stream.ends, places, "right"), self._owners[entries]
        inside = lasts[places] <= stream.ends[texts]
        places, entries, texts, items = places[inside], entries[inside], texts[inside], items[inside]
        short = self._lengths[items] > 0
        alone = self._standing_alone(stream, places[short], items[short])
        yield from ((text, item, 1.0) for text, item in zip(texts[short][alone].tolist(), items[short][alone].tolist()))
        long = np.flatnonzero(~short)
        long = long[np.lexsort((places[long], items[long], texts[long]))]
        cuts = np.flatnonzero(np.diff(texts[long]) | np.diff(items[long])) + 1
        for here in np.split(long, cuts) if len(long) else ():
            if len(np.unique(entries[here])) >= NEEDED:
                text, item = int(texts[here[0]]), int(items[here[0]])
                bounds = stream.ends[text - 1] if text else 0, stream.ends[text]
                if (share := self._coverage(item, places[here].tolist(), windows[: bounds[1]], bounds[0])) >= self._share:
                    yield text, item, share

    def _standing_alone(self, stream: "_Stream", places: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether the whole short items stand at the places, with a break before and behind them."""
        ends = places + self._lengths[items]
        safe = np.minimum(ends, len(stream.breaks) - 1)
        return (ends == safe) & stream.breaks[places] & stream.breaks[safe] & (stream.hashes(places, safe) == self._whole[items])

    def _coverage(self, item: int, places: list[int], windows: np.ndarray, start: int) -> float:
        """Largest share of an item's windows that stand within twice its length of one of the places."""
        wanted = self._windows[self._ends[item - 1] if item else 0 : self._ends[item]]
        reach, best, checked = 2 * len(wanted), 0, -len(wanted)
        for place in places:
            if place >= checked + len(wanted):
                checked = place
                stretch = windows[max(place - reach, start) : place + reach]
                best = max(best, int(np.isin(wanted, stretch).sum()))
        return round(best / len(wanted), 4)


class _Stream(NamedTuple):
    """The letters of texts in one row, with what makes the hash of any part of it one subtraction."""

    sums: np.ndarray  # [letters + 1] uint64, running sum of code × multiplier^place
    units: np.ndarray  # [letters + 1] running width: a Hangul syllable is 2 wide
    ends: np.ndarray  # [texts] the place behind the last letter of each text
    breaks: np.ndarray  # [letters + 1] whether punctuation, a line end or an end of text stands before the letter

    def windows(self, letters: int) -> tuple[np.ndarray, np.ndarray]:
        """Hash and end of the window that begins at each letter; the last ones of a text reach into the next."""
        cover = np.repeat(np.arange(len(self.units) - 1), np.diff(self.units))  # unit → letter
        starts = np.arange(np.searchsorted(self.units, self.units[-1] - letters, "right"))
        lasts = cover[self.units[starts] + letters - 1] + 1
        return self.hashes(starts, lasts), lasts

    def hashes(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Hashes of the letters between places."""
        return (self.sums[ends] - self.sums[starts]) * _powers(pow(_MULTIPLIER, -1, 1 << 64), len(self.sums))[starts]


def _shingles(parts: Iterable[tuple[int, str]], letters: int) -> tuple[np.ndarray, np.ndarray]:
    """Owner and hash of every window of the texts, each given with its owner."""
    owners, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for homes, stream in _streams(parts):
        windows, lasts = stream.windows(letters)
        texts = np.searchsorted(stream.ends, np.arange(len(windows)), "right")
        inside = lasts <= stream.ends[texts]
        owners.append(np.array(homes)[texts[inside]])
        hashes.append(windows[inside])
    return np.concatenate(owners), np.concatenate(hashes)


def _wholes(texts: list[str], letters: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each text the hash of its first window, the hash of all its letters, and their number (0: not a window)."""
    found = np.zeros((3, len(texts)), np.uint64)
    for homes, stream in _streams(enumerate(texts)):
        windows, lasts = stream.windows(letters)
        starts = np.concatenate([[0], stream.ends[:-1]])
        fits = np.flatnonzero(starts < len(windows))
        fits = fits[lasts[starts[fits]] <= stream.ends[fits]]
        starts, ends = starts[fits], stream.ends[fits]
        found[:, np.array(homes)[fits]] = windows[starts], stream.hashes(starts, ends), ends - starts
    return found[0], found[1], found[2].astype(np.int64)


def _distinct(homes: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs, sorted, each once."""
    order = np.lexsort((windows, homes))
    homes, windows = homes[order], windows[order]
    new = np.ones(len(homes), bool)
    new[1:] = (np.diff(homes) != 0) | (windows[1:] != windows[:-1])
    return homes[new], windows[new]


def _rarest(homes: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ANCHORS windows of each item: by the lot of their hash, and common ones only where there are no others."""
    _, places, frequency = np.unique(windows, return_inverse=True, return_counts=True)
    order = np.lexsort((windows, frequency[places] > COMMON, homes))
    homes, windows = homes[order], windows[order]
    chosen = np.arange(len(homes)) - np.searchsorted(homes, homes) < ANCHORS
    return homes[chosen], windows[chosen]


def _streams(parts: Iterable[tuple[int, str]]) -> Iterator[tuple[list[int], _Stream]]:
    """Streams of about _BATCH characters, and whose text each of its texts is; long texts are cut, with an overlap."""
    homes, texts, size = list[int](), list[str](), 0
    for home, whole in parts:
        for start in range(0, max(len(whole) - _OVERLAP, 1), _BATCH - _OVERLAP):
            homes.append(home)
            texts.append(whole[start : start + _BATCH])
            size += len(texts[-1])
            if size >= _BATCH:
                yield homes, _stream(texts)
                homes, texts, size = [], [], 0
    if texts:
        yield homes, _stream(texts)


def _stream(texts: list[str]) -> _Stream:
    codes, ends = _codes(texts)
    if compound := set(np.searchsorted(ends, np.flatnonzero(codes == _COMPOUND), "right").tolist()):
        codes, ends = _codes([_composed(text) if n in compound else text for n, text in enumerate(texts)])
    letters = codes > _COMPOUND
    places = np.concatenate([[0], np.cumsum(letters)])
    kept = codes[letters].astype(np.uint64)
    breaks = np.zeros(len(kept) + 1, bool)
    breaks[places[:-1][codes == _BREAK]] = breaks[places[ends]] = breaks[0] = True
    sums, units = np.zeros(len(kept) + 1, np.uint64), np.zeros(len(kept) + 1, np.int64)
    np.cumsum(kept * _powers(_MULTIPLIER, len(kept))[: len(kept)], out=sums[1:])
    np.cumsum(1 + (kept >= _WIDE), out=units[1:])
    return _Stream(sums, units, places[ends], breaks)


def _codes(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The codes of all characters, and the place behind each text's last character."""
    points = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), np.uint32)
    return _kinds()[np.minimum(points, len(_kinds()) - 1)], np.cumsum([len(text) for text in texts])


@cache
def _kinds() -> np.ndarray:
    """Code point → what counts of it: a letter or digit without case, accent and width, or one of the other kinds."""
    codes = np.zeros(0x20000, np.uint32)
    for point in range(len(codes) - 1):
        character = chr(point)
        plain = [it for it in unicodedata.normalize("NFKD", character.casefold()) if it.isalnum()]
        if character in PARTICLES or 0x3131 <= point < 0x314F:  # ㅋㅋㅋ says nothing
            continue
        if 0xAC00 <= point <= 0xD7A3:
            codes[point] = point
        elif len(plain) > 1 or 0x1100 <= point < 0x1200 or 0x314F <= point < 0x3190 or 0xFFA0 <= point < 0xFFDD:
            codes[point] = _COMPOUND
        elif plain:
            codes[point] = ord(plain[0])
        elif unicodedata.category(character)[0] in "PS" or character in "\n\r\u2028\u2029":
            codes[point] = _BREAK
    return codes


def _composed(text: str) -> str:
    """The text in NFKC, with syllables also where jamo stand that Unicode would not compose: half-wide, compatible."""
    return unicodedata.normalize("NFKC", _SPELLED.sub(_syllable, text.translate(_HALF_WIDE)))


def _syllable(jamo: re.Match[str]) -> str:
    initial, vowel, final = jamo.groups()
    return chr(0xAC00 + (_INITIALS.index(initial) * 21 + ord(vowel) - ord("ㅏ")) * 28 + _FINALS.index(final or " "))


def _powers(base: int, size: int) -> np.ndarray:
    """base⁰, base¹ … modulo 2⁶⁴, at least `size` of them."""
    return _powers_up_to(base, size.bit_length())


@cache
def _powers_up_to(base: int, bits: int) -> np.ndarray:
    factors = np.full(1 << bits, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors)
