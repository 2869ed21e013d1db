"""Knows how to look at a model in training: greedy replies and validation loss, in the loop's own process."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import checkpoints
from models.batches import Packed, TokenShard
from models.objectives import next_token

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def greedy(model: Any, tokenizer: Path, prompts: list[str], *, tokens: int) -> list[str]:
    """Greedy continuations of `prompts` (bos is put first), at most `tokens` ids each, up to a stop id (shown)."""
    import torch
    from tokenizers import Tokenizer

    coder, replies = Tokenizer.from_file(str(tokenizer / "tokenizer.json")), []
    options = {"do_sample": False, "eos_token_id": checkpoints.stop_ids(tokenizer), "pad_token_id": 1}
    for prompt in prompts:
        ids = torch.tensor([[0, *coder.encode(prompt, add_special_tokens=False).ids]], device=model.device)
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, **options)
        replies.append(coder.decode(whole[0, ids.shape[1] :].tolist(), skip_special_tokens=False))
    return replies


def validation_loss(model: "LlamaForCausalLM", folder: Path, phase: str, context: int, windows: int) -> float:
    """Mean nats per token over up to `windows` windows of a validation shard; nan-free: raises when it is empty."""
    import torch

    packed = Packed(TokenShard.open(folder, phase), context, seed=0)
    batch = packed.batch(0, min(windows, packed.windows))
    with torch.no_grad():
        loss, count = next_token(model, {name: tensor.to(model.device) for name, tensor in batch.items()})
    return float(loss / count)
