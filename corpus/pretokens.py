"""Knows how text falls into pretokens, the words that no merge crosses, and how often each stands in some texts.

Arrow cuts text before a space between two words, where the regex cuts in any case; so the regex reads each distinct
piece between two cuts once.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import regex

# The Llama-3 pre-tokenizer, which llama.cpp knows as `llama-bpe` (midm-facts: digits in groups of one to three).
PRETOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PRETOKEN = regex.compile(PRETOKENIZER)
_INK = r"[^\s\p{Z}\x{0b}\x{1c}-\x{1f}\x{85}]"  # RE2's own \S takes the spaces of Unicode for ink
_CUT = "\x00"  # no document holds one: reading refuses it


class Words(NamedTuple):
    """Distinct pretokens (UTF-8, large_binary) and their weighted counts [words]."""

    spelled: pa.Array
    counts: np.ndarray


Count = Callable[[Sequence[str], np.ndarray], Words]  # texts and their whole weights → words of no special order


def occurrences(texts: Sequence[str], weights: np.ndarray) -> Words:
    """Every time that a pretoken stands in a text counts that text's weight."""
    cut = _cut(texts)
    times = np.bincount(cut.pieces, weights[cut.texts], len(cut.sizes))
    return _words(cut, np.bincount(cut.pretokens, np.repeat(times, cut.sizes), len(cut.spelled)))


def documents(texts: Sequence[str], weights: np.ndarray) -> Words:
    """Every text in which a pretoken stands counts once: what one author repeats says little of the next one's text."""
    cut = _cut(texts)
    text, piece = np.divmod(np.unique(cut.texts * len(cut.sizes) + cut.pieces), max(1, len(cut.sizes)))
    sizes = cut.sizes[piece]
    first = np.cumsum(cut.sizes) - cut.sizes
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    pretoken = cut.pretokens[np.repeat(first[piece], sizes) + inside]
    text, pretoken = np.divmod(np.unique(np.repeat(text, sizes) * len(cut.spelled) + pretoken), max(1, len(cut.spelled)))
    return _words(cut, np.bincount(pretoken, weights[text], len(cut.spelled)))


class _Cut(NamedTuple):
    spelled: list[str]  # distinct pretokens
    pretokens: np.ndarray  # numbers of the distinct pieces' pretokens, piece after piece
    sizes: np.ndarray  # how many each piece has
    texts: np.ndarray  # the text in which each piece stands, and the piece's number
    pieces: np.ndarray


def _cut(texts: Sequence[str]) -> _Cut:
    marked = pa.array(texts, pa.large_string())
    for before, after in ((_INK, f" {_INK}"), (r"[\r\n]", _INK)):  # a place at which every match of the regex ends
        marked = pc.replace_substring_regex(marked, f"({before})({after})", rf"\1{_CUT}\2")
    lists = pc.split_pattern(marked, _CUT)
    coded = lists.flatten().dictionary_encode()
    numbers: dict[str, int] = {}
    found = [[numbers.setdefault(one, len(numbers)) for one in _PRETOKEN.findall(piece)] for piece in coded.dictionary.to_pylist()]
    sizes = np.fromiter(map(len, found), np.int64, len(found))
    flat = np.fromiter((number for numbers in found for number in numbers), np.int64, sizes.sum())
    parents = pc.list_parent_indices(lists).to_numpy()
    return _Cut(list(numbers), flat, sizes, parents, coded.indices.to_numpy().astype(np.int64))


def _words(cut: _Cut, counts: np.ndarray) -> Words:
    return Words(pa.array(cut.spelled, pa.large_string()).cast(pa.large_binary()), counts.astype(np.int64))
