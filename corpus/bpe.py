"""Knows how a byte-level BPE vocabulary is learnt and laid out: specials first and last, merges between."""

import json
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from midm_mini.format import BOS, CHAT_SPECIALS, CHAT_TEMPLATE, CONTROL_TOKENS, EOS, PAD, PII_PLACEHOLDERS

from corpus import morphemes, pretokens, tally
from corpus.pretokens import Words

if TYPE_CHECKING:
    from tokenizers import Tokenizer, models

_CHUNK = 1 << 17  # words cut at once
FIRST = (BOS, PAD, EOS)
LAST = (*CHAT_SPECIALS, *PII_PLACEHOLDERS)
_SHOWN = {
    *range(33, 127),
    *range(161, 173),
    *range(174, 256),
}  # bytes that stand for themselves in a byte-level vocabulary
_HIDDEN = [byte for byte in range(256) if byte not in _SHOWN]  # the others are letters from U+0100 on (GPT-2)
_LETTERS = [chr(byte) if byte in _SHOWN else chr(256 + _HIDDEN.index(byte)) for byte in range(256)]


def train(texts: Iterable[str], *, vocab_size: int, min_frequency: int) -> "Tokenizer":
    """Learns from `texts`, all of one weight, particles cut off: see `learn`."""
    given = pa.array(texts, pa.large_string())
    words = pretokens.occurrences(given, np.ones(len(given)))
    return learn(words, vocab_size=vocab_size, min_frequency=min_frequency, cuts=[(morphemes.particles, 1.0)])


def learn(
    words: Words, *, vocab_size: int, min_frequency: int, cuts: Sequence[tuple[morphemes.Cut, float]] = ()
) -> "Tokenizer":
    """Learns merges from counted pretokens so that the vocabulary has exactly `vocab_size` ids, specials included.

    No merge crosses a place where one of `cuts` cuts a word until that cut's share of the vocabulary is learnt.
    Layout (midm-facts, Tokenizer): 0 bos, 1 pad, 2 eos, the 256 bytes and merges, chat specials, 18 PII placeholders.
    Raises ValueError when the text is too small to fill the vocabulary.
    """
    from corpus import merges

    size, learnt = vocab_size - len(LAST), np.empty((0, 3), np.int32)
    first = np.argsort(np.argsort(_LETTERS)) + len(FIRST)
    for upto in sorted({1.0, *(share for _, share in cuts)} - {0.0}):
        counted = reduce(parts, [cut for cut, share in cuts if share >= upto], words)
        room = int(upto * size)
        more = merges.learn(counted, first_ids=first, vocab_size=room, least=min_frequency, before=learnt)
        learnt = np.concatenate([learnt, more.merges])
    return assemble(learnt, vocab_size=vocab_size)


def assemble(merges: np.ndarray, *, vocab_size: int) -> "Tokenizer":
    """The tokenizer of the first merges (ids of left, right, result [merges, 3]) for which `vocab_size` has room."""
    from tokenizers import AddedToken, decoders, models

    size, names, pairs = vocab_size - len(LAST), [*FIRST, *sorted(_LETTERS)], []
    for left, right, new in merges.tolist():
        if new == size:
            break
        pairs.append((names[left], names[right]))
        if new == len(names):
            names.append(names[left] + names[right])
    if len(names) < size:
        what = f"tokenizer: the text yields {len(names)} tokens of the {size} asked for"
        raise ValueError(f"{what}; lower tokenizer.vocab_size or give more text")
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = _bare(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=True))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in PII_PLACEHOLDERS])
    return tokenizer


def shortened(tokenizer: "Tokenizer", vocab_size: int) -> "Tokenizer":
    """The same with fewer ids: its first merges."""
    model = json.loads(tokenizer.to_str())["model"]
    ids = model["vocab"]
    rows = [(ids[left], ids[right], ids[left + right]) for left, right in model["merges"]]
    return assemble(np.array(rows, np.int32).reshape(-1, 3), vocab_size=vocab_size)


def parts(words: Words, cut: morphemes.Cut) -> Words:
    """What `cut` leaves of the words, counted."""
    tables = []
    for start in range(0, len(words.counts), _CHUNK):
        spelled = words.spelled[start : start + _CHUNK].cast(pa.large_string()).to_pylist()
        places = [[0, *places, len(word)] for word, places in zip(spelled, cut(spelled), strict=True)]
        pieces = [word[a:b] for word, ends in zip(spelled, places, strict=True) for a, b in pairwise(ends)]
        counts = np.repeat(words.counts[start : start + _CHUNK], [len(ends) - 1 for ends in places])
        tables.append(tally.merged(tally.table(pieces, counts)))
    return tally.words(tally.merged(pa.concat_tables(tables)))


def save(tokenizer: "Tokenizer", folder: Path, *, context: int) -> None:
    """Writes a Hugging Face tokenizer folder (AutoTokenizer, no remote code) with chat template and the right stops."""
    from transformers import PreTrainedTokenizerFast

    named = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "model_max_length": context}
    read = {"model_input_names": ["input_ids", "attention_mask"], "clean_up_tokenization_spaces": False}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named, **read)
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)


def _bare(model: "models.Model") -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    tokenizer = Tokenizer(model)
    split = pre_tokenizers.Split(Regex(pretokens.PRETOKENIZER), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer
