"""Knows the shapes of the family: a Llama by its numbers, built real or on the meta device, and counted."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM

CONFIG_KEYS = {  # Shape → LlamaConfig
    "vocab_rows": "vocab_size", "hidden": "hidden_size", "ffn": "intermediate_size", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "kv_heads": "num_key_value_heads", "head_dim": "head_dim",
    "tied": "tie_word_embeddings", "context": "max_position_embeddings",
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A LlamaForCausalLM by its numbers; `head_dim` is explicit as heads × head_dim ≠ hidden in Mini."""

    vocab_rows: int
    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    rope_theta: float
    context: int

    def parameters(self) -> int:
        """Weights of the model, embeddings counted once when tied."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        layer = attention + 3 * self.hidden * self.ffn + 2 * self.hidden
        return (1 if self.tied else 2) * self.vocab_rows * self.hidden + self.layers * layer + self.hidden

    def flops_per_token(self, length: int) -> float:
        """Forward and backward: 6 per matmul weight (the input embedding is a lookup) plus causal attention."""
        matmuls = self.parameters() - (0 if self.tied else self.vocab_rows * self.hidden)
        return 6.0 * matmuls + 6.0 * self.layers * self.heads * self.head_dim * length


def rows_for(vocabulary: int) -> int:
    """Embedding rows: the vocabulary padded to a multiple of 64, as the reference does."""
    return -(-vocabulary // 64) * 64


def config_of(shape: Shape) -> "LlamaConfig":
    """The transformers config; ids 0/1/2 are bos/pad/eos in every profile (midm-facts, Tokenizer)."""
    from transformers import LlamaConfig

    numbers = {theirs: getattr(shape, ours) for ours, theirs in CONFIG_KEYS.items()}
    rope = {"rope_type": "default", "rope_theta": float(shape.rope_theta)}
    return LlamaConfig(
        **numbers, rope_parameters=rope, rms_norm_eps=1e-5, bos_token_id=0, pad_token_id=1, eos_token_id=2
    )


def shape_of(config: Any) -> Shape:
    """The numbers of an existing LlamaConfig."""
    numbers = {ours: getattr(config, theirs) for ours, theirs in CONFIG_KEYS.items()}
    return Shape(**numbers, rope_theta=float(config.rope_parameters["rope_theta"]))


def twins_of(tokenizer: Path) -> list[tuple[int, int]]:
    """Ids of the words that a byte-level vocabulary holds both alone and with a space before them: (alone, spaced)."""
    ids = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return [(ids[name[1:]], number) for name, number in ids.items() if name[0] == "Ġ" and name[1:] in ids]


def build(
    shape: Shape, *, seed: int, device: str = "cpu", twins: Sequence[tuple[int, int]] = (), alike: float = 0.0
) -> "LlamaForCausalLM":
    """A freshly initialised float32 model, N(0, 0.02), residual outputs scaled by 1/√(2·layers) as in GPT-2.

    Embeddings that are no head as well are N(0, 1): what layers add then lies beside the token, not over it (Takase
    et al., arXiv 2312.16903, section 3). Rows of `twins` begin at a cosine of `alike`: what is learnt of a word holds
    for the same word behind a space. `device="meta"` allocates nothing and serves to count the paper's shapes.
    """
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    with torch.device(device):
        model = LlamaForCausalLM(config_of(shape))
    if device != "meta":
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    weight.mul_((2 * shape.layers) ** -0.5)
            if not shape.tied:
                model.model.embed_tokens.weight.div_(model.config.initializer_range)
            alone, spaced = (list(ids) for ids in zip(*twins, strict=True)) if twins else ([], [])
            for weight in {model.model.embed_tokens.weight, model.lm_head.weight}:
                weight[spaced] = alike * weight[alone] + (1 - alike**2) ** 0.5 * weight[spaced]
    return model


def describe(shape: Shape) -> dict[str, Any]:
    """The shape and its parameter count, for a report."""
    return asdict(shape) | {"parameters": shape.parameters()}
