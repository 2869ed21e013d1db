"""Knows the lines and words of many texts at once, as columns of numbers: what the rules of prose count."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.language import ENGLISH_WORDS, KOREAN_ENDINGS

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# Korean sentences end in a verb ending even where no full stop is written (reviews, scripture, notices).
_SENTENCE_END = "[.!?…。:;ㅋㅎㅠㅜ다요까죠네라오음함임됨니]$"
_CLOSERS = "\"'”’)]*_~^ "
_AROUND_WORDS = ".,:;!?…\"'()[]“”‘’"


@dataclass(frozen=True)
class Prose:
    """Lines (blank ones left out) and words of texts; `*_starts` index the next finer column, as np.add.reduceat does.

    Texts without a word are not in it: `texts` [t] says which places are.
    """

    texts: np.ndarray  # [t] places of the texts that hold a word
    line_starts: np.ndarray  # [t] first line of each text
    word_starts: np.ndarray  # [lines] first word of each line
    line_ids: np.ndarray  # [lines] equal for equal lines
    line_characters: np.ndarray  # [lines]
    ended: np.ndarray  # [lines] whether the line ends a sentence
    word_ids: np.ndarray  # [words] equal for equal words
    word_characters: np.ndarray  # [words]
    grammatical: np.ndarray  # [words] whether grammar marks the word as running text
    lettered: np.ndarray  # [words] whether it holds a letter

    @classmethod
    def of(cls, texts: list[str]) -> "Prose":
        """Columns of `texts`."""
        split = pc.split_pattern(pa.array(texts, pa.large_string()), "\n")
        owners = np.repeat(np.arange(len(texts)), pc.list_value_length(split).to_numpy(zero_copy_only=False))
        lines = pc.utf8_trim_whitespace(split.flatten())
        written = pc.greater(pc.binary_length(lines), 0)
        lines, owners = lines.filter(written), owners[written.to_numpy(zero_copy_only=False)]
        words = pc.utf8_split_whitespace(lines)
        word_starts = _starts(pc.list_value_length(words).to_numpy(zero_copy_only=False))
        coded = words.flatten().dictionary_encode()
        ids, known = coded.indices.to_numpy(), coded.dictionary
        bare = pc.utf8_trim(known, _AROUND_WORDS)
        english = pc.is_in(pc.utf8_lower(bare), pa.array(sorted(ENGLISH_WORDS), known.type))
        korean = pc.match_substring_regex(bare, f"[{''.join(sorted(KOREAN_ENDINGS))}]$")
        places, line_starts = np.unique(owners, return_index=True)
        return cls(
            texts=places,
            line_starts=line_starts,
            word_starts=word_starts,
            line_ids=lines.dictionary_encode().indices.to_numpy(),
            line_characters=pc.utf8_length(lines).to_numpy(),
            ended=_flags(pc.match_substring_regex(pc.utf8_rtrim(lines, _CLOSERS), _SENTENCE_END)),
            word_ids=ids,
            word_characters=pc.utf8_length(known).to_numpy()[ids],
            grammatical=_flags(pc.or_(english, korean))[ids],
            lettered=_flags(pc.match_substring_regex(known, r"\pL"))[ids],
        )

    def per_line(self, of_words: np.ndarray) -> np.ndarray:
        """Sums [lines] of a column of words."""
        return np.add.reduceat(of_words, self.word_starts, dtype=np.int64)

    def per_text(self, of_lines: np.ndarray) -> np.ndarray:
        """Sums [t] of a column of lines."""
        return np.add.reduceat(of_lines, self.line_starts, dtype=np.int64)

    def words_in_lines(self) -> np.ndarray:
        """Number of words [lines]."""
        return np.diff(np.append(self.word_starts, len(self.word_ids)))

    def repeated_lines(self) -> np.ndarray:
        """Lines of each text that stood in it before [t]."""
        lines = np.diff(np.append(self.line_starts, len(self.line_ids)))
        owned = np.repeat(np.arange(len(lines), dtype=np.int64), lines) << 32 | self.line_ids
        distinct = np.bincount((np.unique(owned) >> 32).astype(np.int64), minlength=len(lines))
        return lines - distinct


def parts(prose: Prose, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of every word [words], numbered through all texts, and the text of every part [parts]: its index in t.

    A part is `size` words of a text, or what is left of it: shares of repetition grow with length.
    """
    sizes = prose.per_text(prose.words_in_lines())
    counts = -(-sizes // size)
    within = np.arange(len(prose.word_ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(np.cumsum(counts) - counts, sizes) + within // size, np.repeat(np.arange(len(sizes)), counts)


class Repeats(NamedTuple):
    """How much of the words' characters repeats as n-grams, and where."""

    top: np.ndarray  # [owners] share in the commonest n-gram, if it is used three times or more
    again: np.ndarray  # [owners] share in n-grams that the owner had before
    places: np.ndarray  # first words of all n-grams used twice or more, ascending


def repeats(ids: np.ndarray, lengths: np.ndarray, owners: np.ndarray, upto: int) -> Iterator[tuple[int, Repeats]]:
    """(n, repeats) of word n-grams for n = 2 … `upto`, each within one owner. Gopher (arXiv 2112.11446, A1.1).

    `ids`, `lengths` and `owners` describe words [words], sorted by owner 0, 1, …. Only what repeats as an n-gram is
    looked at as an n+1-gram, so the cost is that of one sort of the words, and little more.
    """
    totals, ends = np.bincount(owners, weights=lengths), np.concatenate(([0], np.cumsum(lengths)))
    places = np.flatnonzero(owners[:-1] == owners[1:])
    codes = owners.astype(np.uint64) * _MULTIPLIER + ids.astype(np.uint64)
    for n in range(2, upto + 1):
        codes = codes[: len(ids) - n + 1] * _MULTIPLIER + ids[n - 1 :].astype(np.uint64)
        order = _equal_together(codes[places])
        ordered = codes[places[order]]
        new = np.ones(len(order), dtype=bool)
        new[1:] = ordered[1:] != ordered[:-1]
        starts = np.flatnonzero(new)
        uses = np.diff(np.append(starts, len(order)))
        covered = np.zeros(len(ids), dtype=bool)
        for offset in range(n):
            covered[places[order[~new]] + offset] = True
        often = uses > 2  # seen twice is no pattern
        first = places[order[starts[often]]]
        top = np.zeros(len(totals))
        np.maximum.at(top, owners[first], (ends[first + n] - ends[first]) * uses[often])
        places = np.sort(places[order[np.repeat(uses, uses) > 1]])
        again = np.bincount(owners, weights=lengths * covered) / totals
        yield n, Repeats(np.minimum(top / totals, 1.0), again, places)
        places = places[np.isin(places + 1, places, assume_unique=True)]


def _equal_together(codes: np.ndarray) -> np.ndarray:
    """Places of all codes that occur twice or more (and of a few others), equal ones side by side in their order.

    Sorting values takes a tenth of the time that sorting places takes, and most n-grams occur once.
    """
    values = np.sort(codes)
    marks = np.zeros(1 << 20, dtype=bool)
    marks[values[1:][values[1:] == values[:-1]] >> np.uint64(44)] = True
    places = np.flatnonzero(marks[codes >> np.uint64(44)])
    return places[np.argsort(codes[places], kind="stable")]


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64) if len(lengths) else lengths


def _flags(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False).astype(bool)
