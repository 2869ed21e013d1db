"""Knows how many texts become ids at once: each distinct pretoken is encoded once, which is most of the work."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from midm_mini.format import PII_PLACEHOLDERS

from corpus import pretokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_OUTSIDE = (
    PII_PLACEHOLDERS[0][:2],
    "\x00",
)  # added tokens are found before the regex cuts; the cut is marked by U+0000


def encode(tokenizer: "Tokenizer", texts: Sequence[str]) -> list[np.ndarray]:
    """The ids of each text, int64, as `tokenizer` (one of `corpus.bpe`) gives them, control tokens read as text."""
    tokenizer.encode_special_tokens = True
    plain = [number for number, text in enumerate(texts) if not any(mark in text for mark in _OUTSIDE)]
    found = dict(zip(plain, _encode(tokenizer, [texts[number] for number in plain]), strict=True))
    for number, text in enumerate(texts):
        if number not in found:
            found[number] = np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int64)
    return [found[number] for number in range(len(texts))]


def _encode(tokenizer: "Tokenizer", texts: list[str]) -> list[np.ndarray]:
    cut = pretokens.cut(pa.array(texts, pa.large_string()))
    coded = [one.ids for one in tokenizer.encode_batch_fast(cut.spelled.to_pylist(), add_special_tokens=False)]
    sizes = np.fromiter(map(len, coded), np.int64, len(coded))
    ids = np.fromiter((number for own in coded for number in own), np.int64, sizes.sum())
    words = cut.pretokens[pretokens.stretches(cut.sizes, cut.pieces)]
    of_word = np.repeat(cut.texts, cut.sizes[cut.pieces])
    ends = np.cumsum(np.bincount(of_word, sizes[words], len(texts)).astype(np.int64))
    return np.split(ids[pretokens.stretches(sizes, words)], ends[:-1]) if texts else []
