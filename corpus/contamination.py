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
from itertools import chain
from typing import NamedTuple

import numpy as np

from corpus.evaluations import Item, Sets

# Syllables that write particles never count, in words neither: one swapped or dropped would spoil all windows over it.
PARTICLES = "은는이가을를의에서로으란와과도랑만하고"
ANCHORS, NEEDED = 8, 3  # windows by which an item is looked for, and how many of them must stand in the document
SHORT, SHORTEST = 8, 12  # an item of fewer windows is searched as a whole, standing alone, if it is so wide
PHRASE, POOLED_SHARE = 24, 0.9  # a question of fewer windows is a phrase without its options; share of both together
COMMON = 16  # a window that more items share becomes an anchor only where there are no others
_MULTIPLIER = 0x9E3779B97F4A7C15
_SIEVE_SHIFT = np.uint64(64 - 24)  # leaves the 24 top bits of a hash, which are its best
_BREAK, _COMPOUND, _WIDE = 1, 2, 0x2E80  # kinds of characters: 0 is dropped, letters are above _COMPOUND
_BATCH, _OVERLAP = 1 << 19, 1 << 16  # characters looked at together (40 MB of arrays), and twice where a text is cut
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
        self._names, self._letters = [(item.set, item.id) for item in items], letters
        asked = _shingles([(n, text) for n, item in enumerate(items) for text in item.question], letters)
        least = np.array([PHRASE if item.options else SHORT for item in items])
        brief = np.flatnonzero(np.bincount(asked[0], minlength=len(items)) < least)
        options = _shingles([(n, text) for n in brief.tolist() for text in items[n].options], letters)
        homes, windows = _distinct(*(np.concatenate(pair) for pair in zip(asked, options, strict=True)))
        self._counts = counts = np.bincount(homes, minlength=len(items))
        self._windows, self._starts = windows, np.cumsum(counts) - counts
        self._reach = 2 * (counts + letters * np.array([len(item.question + item.options) for item in items], int))
        self._needed = np.ceil(counts - (1 - share) * np.maximum(counts - SHORT, 0))
        self._needed[brief] = np.ceil(POOLED_SHARE * counts[brief])
        long = counts[homes] >= SHORT
        self._owners, self._anchors = _rarest(homes[long], windows[long])
        self._sieve = np.zeros(1 << 24, dtype=bool)  # passes over nearly all windows of clean text
        self._sieve[self._anchors >> _SIEVE_SHIFT] = True
        short = [n for n in np.flatnonzero(counts < SHORT).tolist() if not items[n].options]
        self._wholes = _wholes([(n, "\n".join(items[n].question)) for n in short], SHORTEST)
        searched = {*np.flatnonzero(counts >= SHORT).tolist(), *self._wholes.owners.tolist()}
        self.too_short = [item for n, item in enumerate(items) if n not in searched]

    def hits(self, texts: Sequence[str]) -> list[list[Hit]]:
        """For each text the items found in it, sorted by set and id."""
        found: list[dict[int, float]] = [{} for _ in texts]
        for homes, stream in _streams(enumerate(texts)):
            for place, item, share in chain(self._search(stream), self._alone(stream)):
                at = found[homes[place]]
                at[item] = max(share, at.get(item, 0.0))
        return [sorted(Hit(*self._names[item], share) for item, share in at.items()) for at in found]

    def _search(self, stream: "_Stream") -> Iterator[tuple[int, int, float]]:
        """The texts of a stream and the long items that stand in them, with shares."""
        windows, lasts = stream.windows(self._letters)
        places = np.flatnonzero(self._sieve[windows >> _SIEVE_SHIFT])
        places, entries = _matches(windows, places, self._anchors)
        texts, items = stream.texts(places), self._owners[entries]
        order = np.lexsort((places, items, texts))
        order = order[(lasts[places] <= stream.ends[texts])[order]]
        cuts = np.flatnonzero(np.diff(texts[order]) | np.diff(items[order])) + 1
        for here in np.split(order, cuts) if len(order) else ():
            if len(np.unique(entries[here])) >= NEEDED:
                text, item = int(texts[here[0]]), int(items[here[0]])
                found = self._found(item, places[here].tolist(), windows[: stream.ends[text]])
                if found >= self._needed[item]:
                    yield text, item, round(found / int(self._counts[item]), 4)

    def _found(self, item: int, places: list[int], windows: np.ndarray) -> int:
        """How many of an item's windows stand at most within twice its length of one of the places."""
        wanted = self._windows[self._starts[item] :][: self._counts[item]]
        best, reach, checked = 0, int(self._reach[item]), -int(self._reach[item])
        for place in places:
            if place >= checked + reach // 2:
                checked = place
                best = max(best, int(np.isin(wanted, windows[max(place - reach, 0) : place + reach]).sum()))
        return best

    def _alone(self, stream: "_Stream") -> Iterator[tuple[int, int, float]]:
        """The texts of a stream and the short items that stand in them between breaks."""
        starts = np.flatnonzero(stream.breaks)
        for size in np.unique(self._wholes.sizes).tolist():
            begins = starts[: np.searchsorted(starts, len(stream.breaks) - size)]
            begins = begins[stream.breaks[begins + size]]
            hashes = stream.hashes(begins, begins + size)
            found, entries = _matches(hashes, np.arange(len(begins)), self._wholes.hashes)
            for place, entry in zip(begins[found].tolist(), entries.tolist(), strict=True):
                if self._wholes.sizes[entry] == size:
                    yield int(stream.texts(place)), int(self._wholes.owners[entry]), 1.0


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

    def texts(self, places: np.ndarray) -> np.ndarray:
        """The number of the text in which each place is."""
        return np.searchsorted(self.ends, places, "right")


class _Wholes(NamedTuple):
    """Whole short texts, sorted by hash."""

    hashes: np.ndarray
    owners: np.ndarray
    sizes: np.ndarray  # letters


def _matches(hashes: np.ndarray, places: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of a place and an entry of `known`, sorted, that have the same hash."""
    left, right = (np.searchsorted(known, hashes[places], side) for side in ("left", "right"))
    counts = right - left
    return np.repeat(places, counts), np.repeat(right - np.cumsum(counts), counts) + np.arange(counts.sum())


def _shingles(parts: Iterable[tuple[int, str]], letters: int) -> tuple[np.ndarray, np.ndarray]:
    """Owner and hash of every window of the texts, each given with its owner."""
    owners, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for homes, stream in _streams(parts):
        windows, lasts = stream.windows(letters)
        texts = stream.texts(np.arange(len(windows)))
        inside = lasts <= stream.ends[texts]
        owners.append(np.array(homes)[texts[inside]])
        hashes.append(windows[inside])
    return np.concatenate(owners), np.concatenate(hashes)


def _wholes(texts: list[tuple[int, str]], least: int) -> _Wholes:
    """The texts that are at least `least` wide."""
    kept = [np.zeros((3, 0), np.uint64)]
    for homes, stream in _streams(texts):
        starts = np.concatenate([[0], stream.ends[:-1]])
        row = np.array([stream.hashes(starts, stream.ends), homes, stream.ends - starts], np.uint64)
        kept.append(row[:, stream.units[stream.ends] - stream.units[starts] >= least])
    hashes, owners, sizes = np.concatenate(kept, axis=1)
    order = np.lexsort((owners, hashes))
    return _Wholes(hashes[order], owners[order].astype(np.int64), sizes[order].astype(np.int64))


def _distinct(homes: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs, sorted, each once."""
    order = np.lexsort((windows, homes))
    homes, windows = homes[order], windows[order]
    new = np.ones(len(homes), bool)
    new[1:] = (np.diff(homes) != 0) | (windows[1:] != windows[:-1])
    return homes[new], windows[new]


def _rarest(homes: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ANCHORS windows of each item, by the lot of their hash, common ones last; sorted by window."""
    _, places, frequency = np.unique(windows, return_inverse=True, return_counts=True)
    order = np.lexsort((windows, frequency[places] > COMMON, homes))
    homes, windows = homes[order], windows[order]
    chosen = np.arange(len(homes)) - np.searchsorted(homes, homes) < ANCHORS
    homes, windows = homes[chosen], windows[chosen]
    order = np.lexsort((homes, windows))
    return homes[order], windows[order]


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
        if unicodedata.decomposition(character).startswith("<circle>"):  # ① labels an option
            codes[point] = _BREAK
        elif 0xAC00 <= point <= 0xD7A3:
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
