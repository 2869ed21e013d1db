"""Knows how text falls into pretokens, the words that no merge crosses, and counts them without holding the text.

Arrow cuts text before a space between two words, where the regex cuts in any case, and counts what lies between; so the
regex reads every distinct piece of a batch once.
"""

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import regex

# The Llama-3 pre-tokenizer, which llama.cpp knows as `llama-bpe` (midm-facts: digits in groups of one to three).
PRETOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Particles and endings that close an eojeol. No merge is learnt across this boundary, so that 프랑스의 and 프랑스는
# share their stem; encoding needs no such step (midm-facts: morphemes guide merges at training time only).
JOSA = (
    r"(?<=[가-힣]{2})(?:은|는|이|가|을|를|의|에|에서|으로|로|과|와|도|만"
    r"|이다|다|입니다|이에요|예요|인가|인가요|이라는|라는)$"
)
_PRETOKEN, _PARTICLE = regex.compile(PRETOKENIZER), regex.compile(f"({JOSA})")
_INK = r"[^\s\p{Z}\x{0b}\x{1c}-\x{1f}\x{85}]"  # RE2's own \S takes the spaces of Unicode for ink
_CUT = "\x00"  # no document holds one: reading refuses it


def count(batches: Iterable[list[str]], *, particles: bool = True) -> Counter[str]:
    """How often each pretoken stands in the texts; with `particles` these are pretokens of their own."""
    whole = Counter[str]()
    for texts in batches:
        for piece, times in _pieces(texts):
            for pretoken in _PRETOKEN.findall(piece):
                whole[pretoken] += times
    if not particles:
        return whole
    parts = Counter[str]()
    for pretoken, times in whole.items():
        for part in _PARTICLE.split(pretoken):
            if part:
                parts[part] += times
    return parts


def _pieces(texts: list[str]) -> Iterable[tuple[str, int]]:
    cut = pa.array(texts, pa.large_string())
    for before, after in ((_INK, f" {_INK}"), (r"[\r\n]", _INK)):  # a place at which every match of the regex ends
        cut = pc.replace_substring_regex(cut, f"({before})({after})", rf"\1{_CUT}\2")
    values, counts = pc.value_counts(pc.split_pattern(cut, _CUT).flatten()).flatten()
    return zip(values.to_pylist(), counts.to_pylist(), strict=True)
