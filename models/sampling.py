"""Knows how to look at a model: greedy replies, validation loss, nats of tokens and of choices, in its own process."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import checkpoints
from models.batches import Packed, TokenShard, pad_rows
from models.kernels import CHUNK
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


def validation_loss(
    model: "LlamaForCausalLM", folder: Path, phase: str, context: int, windows: int, objective: Any = next_token
) -> float:
    """Mean nats per token over up to `windows` windows of a validation shard; nan-free: raises when it is empty."""
    return shard_loss(model, TokenShard.open(folder, phase), context, windows, objective)


def shard_loss(
    model: "LlamaForCausalLM", shard: TokenShard, context: int, windows: int, objective: Any = next_token
) -> float:
    """Mean nats per token over up to `windows` windows; ValueError for a shard shorter than two."""
    import torch

    packed = Packed(shard, context, seed=0)
    batch = packed.batch(0, min(windows, packed.windows))
    with torch.no_grad():
        loss, count = objective(model, {name: tensor.to(model.device) for name, tensor in batch.items()})
    return float(loss / count)


def token_nats(model: "LlamaForCausalLM", ids: list[int]) -> list[float]:
    """Nats of each of `ids` after the first, given those before it."""
    import torch
    from torch.nn.functional import cross_entropy

    row_T = torch.tensor(ids, device=model.device)
    with torch.no_grad():
        hidden_TD = model.model(input_ids=row_T[None, :-1], use_cache=False).last_hidden_state[0]
        size = CHUNK[model.device.type]
        chunks = zip(hidden_TD.split(size), row_T[1:].split(size), strict=True)
        parts = [cross_entropy(model.lm_head(h).float(), targets, reduction="none") for h, targets in chunks]
    return torch.cat(parts).tolist()


def choice_nats(model: "LlamaForCausalLM", prefix: list[int], choices: list[list[int]]) -> list[float]:
    """Nats of each continuation of one prefix (two ids or more), which is read once and serves them all."""
    import torch
    from torch.nn.functional import cross_entropy

    batch = pad_rows([([prefix[-1], *choice], [1] * (len(choice) + 1)) for choice in choices])
    with torch.no_grad():
        read = model.model(input_ids=torch.tensor([prefix[:-1]], device=model.device), use_cache=True).past_key_values
        read.batch_repeat_interleave(len(choices))
        logits_BTV = model(input_ids=batch["ids"].to(model.device), past_key_values=read).logits.float().cpu()
    return cross_entropy(logits_BTV.transpose(1, 2), batch["targets"], reduction="none").sum(-1).tolist()
