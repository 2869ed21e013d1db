"""Knows what a vocabulary is made of and how much text its tokens hold, by language and domain."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import regex

from corpus import bpe
from corpus.pretokens import Words

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CURVE = (1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_384)
_KINDS = (  # the first that fits; a space or mark before a word does not count
    ("hangul", r"\P{L}?\p{Hangul}+"),
    ("latin", r"\P{L}?\p{Latin}+"),
    ("mixed hangul", r".*\p{Hangul}.*"),
    ("digits", r"\p{N}+"),
    ("other letters", r".*\p{L}.*"),
    ("marks and spaces", r".*"),
)
_CHUNK = 1 << 17  # words encoded at once
_SHOWN = 20


def about(tokenizer: "Tokenizer", words: Words) -> dict[str, Any]:
    """Tokens by kind, how many `words` never use and which these are, and the longest, all without special tokens.

    A token that is no whole character, as the first two bytes of a syllable, is of the kind `part of a letter`.
    """
    used = _used(tokenizer, words)
    texts = {
        token: tokenizer.decode([token]) for token in range(len(bpe.FIRST), tokenizer.get_vocab_size() - len(bpe.LAST))
    }
    kinds = {token: "part of a letter" if "\ufffd" in text else kind(text) for token, text in texts.items()}
    idle = [token for token in texts if not used[token]]
    longest = sorted(texts, key=lambda token: (-len(texts[token]), token))
    return {
        "kinds": dict(sorted(Counter(kinds.values()).items())),
        "unused": {"all": len(idle), **dict(sorted(Counter(kinds[token] for token in idle).items()))},
        "junk": [texts[token] for token in idle if kinds[token] != "part of a letter" and len(texts[token]) > 1][
            :_SHOWN
        ],
        "longest": [texts[token] for token in longest[:_SHOWN]],
    }


def kind(text: str) -> str:
    """The script that a token is made of."""
    return next(name for name, pattern in _KINDS if regex.fullmatch(pattern, text, regex.DOTALL))


def compression(tokenizer: "Tokenizer", documents: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each language and language/domain: UTF-8 bytes per token, tokens per word between spaces, and the bytes."""
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3, np.int64))
    for row in documents:
        text, tokens = row["text"], len(tokenizer.encode(row["text"], add_special_tokens=False).ids)
        for key in (row["lang"], f"{row['lang']}/{row['domain']}"):
            sums[key] += (len(text.encode()), tokens, len(text.split()))
    return {
        key: {"bytes_per_token": round(size / tokens, 4), "tokens_per_word": round(tokens / words, 4), "bytes": size}
        for key, (size, tokens, words) in ((key, row.tolist()) for key, row in sorted(sums.items()))
        if tokens and words
    }


def curve(tokenizer: "Tokenizer", documents: Iterable[Mapping[str, Any]]) -> dict[int, dict[str, float]]:
    """Bytes per token of each language for this and smaller vocabularies, its first merges."""
    rows, size = list(documents), tokenizer.get_vocab_size()
    found = {}
    for ids in (*(smaller for smaller in CURVE if smaller < size), size):
        cells = compression(bpe.shortened(tokenizer, ids), rows)
        found[ids] = {lang: row["bytes_per_token"] for lang, row in cells.items() if "/" not in lang}
    return found


def _used(tokenizer: "Tokenizer", words: Words) -> np.ndarray:
    used = np.zeros(tokenizer.get_vocab_size(), bool)
    for start in range(0, len(words.counts), _CHUNK):
        spelled = words.spelled[start : start + _CHUNK].cast(pa.large_string()).to_pylist()
        for coded in tokenizer.encode_batch_fast(spelled, add_special_tokens=False):
            used[coded.ids] = True
    return used
