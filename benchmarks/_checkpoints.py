"""Knows random Llama checkpoints of any shape with a tokenizer of our kind, made in seconds and the same for a seed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corpus import bpe

THETA = 50_000.0


@dataclass(frozen=True)
class Shape:
    """Sizes of a checkpoint; `tokens` ids are used of `rows`."""

    tokens: int
    rows: int
    hidden: int = 256
    ffn: int = 512
    layers: int = 3
    heads: int = 4
    key_value_heads: int = 2
    head_dim: int = 32
    context: int = 256
    theta: float = THETA
    tied: bool = True
    dtype: str = "float32"


def save(folder: Path, shape: Shape, words: Iterable[str], *, seed: int = 0, shard: str = "4GB") -> Path:
    """Writes a model whose logits depend on every part: norms are no ones, rows no copies, attention no average."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    tokenizer = bpe.assemble(merges(words, shape.tokens), vocab_size=shape.tokens)
    bpe.save(tokenizer, folder, context=shape.context)
    ends = [2, tokenizer.token_to_id("<|eot_id|>")]
    config = LlamaConfig(
        **{"vocab_size": shape.rows, "hidden_size": shape.hidden, "intermediate_size": shape.ffn},
        **{"num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "head_dim": shape.head_dim},
        **{"num_key_value_heads": shape.key_value_heads, "max_position_embeddings": shape.context},
        **{"rms_norm_eps": 1e-5, "tie_word_embeddings": shape.tied, "bos_token_id": 0, "pad_token_id": 1},
        rope_parameters={"rope_type": "default", "rope_theta": shape.theta}, eos_token_id=ends,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.to_empty(device="cpu").to(getattr(torch, shape.dtype))
    model.tie_weights()
    draw = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        middle, spread = (1.0, 0.2) if weight.dim() == 1 else (0.0, 1.2 * weight.shape[1] ** -0.5)
        spread *= 1.6 if "embed" in name else 1  # logits of two nats, however wide the model
        weight.data.normal_(middle, spread, generator=draw)
    model.generation_config.update(bos_token_id=0, pad_token_id=1, eos_token_id=ends)
    model.save_pretrained(folder, max_shard_size=shard)
    return folder


def merges(words: Iterable[str], vocab_size: int) -> np.ndarray:
    """The merges (ids of left, right, result) that spell words from their first byte on, until the vocabulary is full.

    No learning: a prefix of a word is a token for each of its lengths. ValueError when the words do not fill it.
    """
    size, rows = vocab_size - len(bpe.LAST), list[tuple[int, int, int]]()
    order = np.argsort(np.argsort(bpe._LETTERS)) + len(bpe.FIRST)
    ids = {bytes([byte]): int(order[byte]) for byte in range(256)}
    for word in words:
        data = word.encode("utf-8")
        for end in range(2, len(data) + 1):
            if data[:end] in ids:
                continue
            if len(ids) + len(bpe.FIRST) == size:
                return np.array(rows, np.int32)
            new = len(ids) + len(bpe.FIRST)
            rows.append((ids[data[: end - 1]], ids[data[end - 1 : end]], new))
            ids[data[:end]] = new
    raise ValueError(f"the words fill {len(ids)} of {size} ids; give more of them")
