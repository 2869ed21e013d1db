"""Knows how text falls into pretokens, the words that no merge crosses, and how often each stands in some texts.

Arrow cuts text where the regex cuts in any case, and finds the pieces between two cuts that are one plain word; so the
regex itself reads only the rest, each distinct piece once.
"""

from collections.abc import Callable
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
_LETTER = "[A-Za-z가-힣]"  # plain ones: newer letters differ between the two regex libraries
_ENDS = (  # a match of the regex ends between the two, whatever stands around
    (_INK, f" {_INK}"),
    (r"[\r\n]", _INK),
    (_LETTER, r"[!-/:-@\[-`{-~]"),
)
_CUT = "\x00"  # no document holds one: reading refuses it


class Words(NamedTuple):
    """Distinct pretokens (UTF-8, large_binary) and their weighted counts [words]."""

    spelled: pa.Array
    counts: np.ndarray


Count = Callable[[pa.Array, np.ndarray], Words]  # texts and their whole weights → words of no special order


def occurrences(texts: pa.Array, weights: np.ndarray) -> Words:
    """Every time that a pretoken stands in a text counts that text's weight."""
    cut = _cut(texts)
    times = np.bincount(cut.pieces, weights[cut.texts], len(cut.sizes))
    return _words(cut, np.bincount(cut.pretokens, np.repeat(times, cut.sizes), len(cut.spelled)))


def documents(texts: pa.Array, weights: np.ndarray) -> Words:
    """Every text in which a pretoken stands counts once: what one author repeats says little of the next one's text."""
    cut = _cut(texts)
    text, piece = np.divmod(np.unique(cut.texts * len(cut.sizes) + cut.pieces), max(1, len(cut.sizes)))
    sizes = cut.sizes[piece]
    first = np.cumsum(cut.sizes) - cut.sizes
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    pretoken = cut.pretokens[np.repeat(first[piece], sizes) + inside]
    text, pretoken = np.divmod(
        np.unique(np.repeat(text, sizes) * len(cut.spelled) + pretoken), max(1, len(cut.spelled))
    )
    return _words(cut, np.bincount(pretoken, weights[text], len(cut.spelled)))


class _Cut(NamedTuple):
    spelled: pa.Array  # distinct pretokens
    pretokens: np.ndarray  # numbers of the distinct pieces' pretokens, piece after piece
    sizes: np.ndarray  # how many each piece has
    texts: np.ndarray  # the text in which each piece stands, and the piece's number
    pieces: np.ndarray


def _cut(texts: pa.Array) -> _Cut:
    marked = texts.cast(pa.large_string())
    for before, after in _ENDS:
        marked = pc.replace_substring_regex(marked, f"({before})({after})", rf"\1{_CUT}\2")
    lists = pc.split_pattern(marked, _CUT)
    coded = lists.flatten().dictionary_encode()
    whole = pc.match_substring_regex(coded.dictionary, f"^ ?{_LETTER}+$")
    found = [_PRETOKEN.findall(piece) for piece in coded.dictionary.filter(pc.invert(whole)).to_pylist()]
    pretokens = [one for pretokens in found for one in pretokens]
    flat = pa.concat_arrays(
        [coded.dictionary.filter(whole), pa.array(pretokens, pa.large_string())]
    ).dictionary_encode()
    plain = whole.to_numpy(zero_copy_only=False)
    sizes = np.concatenate([np.ones(plain.sum(), np.int64), np.fromiter(map(len, found), np.int64, len(found))])
    places = np.where(plain, np.cumsum(plain), plain.sum() + np.cumsum(~plain)) - 1  # whole words come first
    numbers = flat.indices.to_numpy().astype(np.int64)
    return _Cut(
        flat.dictionary, numbers, sizes, pc.list_parent_indices(lists).to_numpy(), places[coded.indices.to_numpy()]
    )


def _words(cut: _Cut, counts: np.ndarray) -> Words:
    return Words(cut.spelled.cast(pa.large_binary()), counts.astype(np.int64))
