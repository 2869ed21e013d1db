"""Knows how a byte-level BPE vocabulary is learnt and laid out: specials first and last, merges between."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_mini.format import BOS, CHAT_SPECIALS, CHAT_TEMPLATE, CONTROL_TOKENS, EOS, PAD, PII_PLACEHOLDERS

if TYPE_CHECKING:
    from tokenizers import Tokenizer, models

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
FIRST = (BOS, PAD, EOS)
LAST = (*CHAT_SPECIALS, *PII_PLACEHOLDERS)


def train(texts: Iterable[str], *, vocab_size: int, min_frequency: int) -> "Tokenizer":
    """Learns merges from `texts` so that the vocabulary has exactly `vocab_size` ids, specials included.

    Layout (midm-facts, Tokenizer): 0 bos, 1 pad, 2 eos, the 256 bytes and merges, chat specials, 18 PII placeholders.
    Raises ValueError when the text is too small to fill the vocabulary.
    """
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

    learner, size = _bare(models.BPE(), at_boundaries=[JOSA]), vocab_size - len(LAST)
    alphabet, first = sorted(pre_tokenizers.ByteLevel.alphabet()), list(FIRST)
    given: dict[str, Any] = {"initial_alphabet": alphabet, "special_tokens": first, "min_frequency": min_frequency}
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False, **given))
    if (found := learner.get_vocab_size()) < size:
        what = f"tokenizer: the text yields {found} tokens of the {size} asked for"
        raise ValueError(f"{what}; lower tokenizer.vocab_size or give more text")
    learnt = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    tokenizer = _bare(models.BPE(vocab=learnt["vocab"], merges=merges, ignore_merges=True))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in PII_PLACEHOLDERS])
    return tokenizer


def save(tokenizer: "Tokenizer", folder: Path, *, context: int) -> None:
    """Writes a Hugging Face tokenizer folder (AutoTokenizer, no remote code) with chat template and the right stops."""
    from transformers import PreTrainedTokenizerFast

    named = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "model_max_length": context}
    read = {"model_input_names": ["input_ids", "attention_mask"], "clean_up_tokenization_spaces": False}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named, **read)
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)


def _bare(model: "models.Model", at_boundaries: Sequence[str] = ()) -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    tokenizer = Tokenizer(model)
    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in (PRETOKENIZER, *at_boundaries)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer


def bytes_per_token(tokenizer: "Tokenizer", texts: list[str]) -> float:
    """UTF-8 bytes per token over `texts`, 0.0 when there are none: more is better compression."""
    tokens = sum(len(coded.ids) for coded in tokenizer.encode_batch(texts, add_special_tokens=False))
    return sum(len(text.encode()) for text in texts) / tokens if tokens else 0.0
