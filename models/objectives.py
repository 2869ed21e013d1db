"""Knows what is minimised: next tokens, preferences. Each sums over the targets it counts.

Shapes: B examples, T positions, D hidden, V vocabulary rows, N = counted positions.
"""

import copy
from typing import TYPE_CHECKING

from models import kernels, parallel
from models.batches import IGNORED

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    Batch = dict[str, torch.Tensor]
    Result = tuple[torch.Tensor, torch.Tensor]


def next_token(model: "LlamaForCausalLM", batch: "Batch", *, z_loss: float = 0.0) -> "Result":
    """Cross-entropy in nats, and `z_loss` · logsumexp², summed over targets that are not IGNORED."""
    hidden_ND, target_N = counted(batch, hidden_states(model, batch), batch["targets"])
    loss = kernels.next_token_loss(hidden_ND, head_of(model, hidden_ND), target_N, z_loss)
    return loss, target_N.new_tensor(len(target_N))


def counted(batch: "Batch", *tensors_BT: "torch.Tensor") -> "list[torch.Tensor]":
    """Of each [B,T,…] the rows [N,…] whose target is not IGNORED."""
    keep = batch["targets"] != IGNORED
    every = bool(keep.all())  # choosing rows costs two copies of them, which text without gaps can do without
    return [tensor.flatten(0, 1) if every else tensor[keep] for tensor in tensors_BT]


def hidden_states(model: "LlamaForCausalLM", batch: "Batch") -> "torch.Tensor":
    """Last hidden states [B,T,D]; with "positions" in the batch, each document is attended to by itself alone."""
    return model.model(input_ids=batch["ids"], position_ids=batch.get("positions"), use_cache=False).last_hidden_state


class Preference:
    """DPO (Rafailov et al. 2023, eq. 7): −log σ(β · (margin of the policy − margin of the frozen reference)), per pair.

    A batch alternates chosen and rejected rows; `anchor` adds that share of the chosen rows' cross-entropy
    (RPO, Pang et al. 2024), which keeps a small model from unlearning the right answer.
    """

    def __init__(self, model: "LlamaForCausalLM", *, beta: float, anchor: float) -> None:
        self.reference = copy.deepcopy(model).eval().requires_grad_(False)
        self.beta, self.anchor = beta, anchor

    def __call__(self, model: "LlamaForCausalLM", batch: "Batch") -> "Result":
        import torch
        from torch.nn.functional import logsigmoid

        parallel.stand_beside(self.reference, model)
        ours_B = reply_log_likelihood(model, batch)
        with torch.no_grad():
            theirs_B = reply_log_likelihood(self.reference, batch)
        margin = (ours_B[0::2] - ours_B[1::2]) - (theirs_B[0::2] - theirs_B[1::2])
        counted_B = (batch["targets"] != IGNORED).sum(-1)
        loss = -logsigmoid(self.beta * margin) - self.anchor * ours_B[0::2] / counted_B[0::2]
        return loss.sum(), torch.tensor(len(loss), device=loss.device)


def reply_log_likelihood(model: "LlamaForCausalLM", batch: "Batch") -> "torch.Tensor":
    """log p(reply | prompt) of each row, in nats: [B]."""
    hidden_BTD = hidden_states(model, batch)
    log_BTV = (hidden_BTD @ head_of(model, hidden_BTD).T).float().log_softmax(-1)
    keep = batch["targets"] != IGNORED
    picked_BT = log_BTV.gather(-1, batch["targets"].clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return (picked_BT * keep).sum(-1)


def head_of(model: "LlamaForCausalLM", like: "torch.Tensor") -> "torch.Tensor":
    """The model's output matrix [V, D], in the type of `like`."""
    return model.lm_head.weight.to(like.dtype)
