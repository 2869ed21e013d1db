"""Knows what is minimised: next tokens, a teacher's distribution, preferences. Each sums over the targets it counts.

Shapes: B examples, T positions, D hidden, V vocabulary rows, N = counted positions.
"""

import copy
from typing import TYPE_CHECKING, Literal

from models import kernels
from models.batches import IGNORED

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    Batch = dict[str, torch.Tensor]
    Result = tuple[torch.Tensor, torch.Tensor]

CHUNK = 1024  # positions whose full-vocabulary logits stand in memory at once


def next_token(model: "LlamaForCausalLM", batch: "Batch", *, z_loss: float = 0.0) -> "Result":
    """Cross-entropy in nats, and `z_loss` · logsumexp², summed over targets that are not IGNORED."""
    hidden_BTD = hidden_states(model, batch)
    keep = batch["targets"] != IGNORED
    every = bool(keep.all())  # choosing rows costs two copies of them, which text without gaps can do without
    hidden_ND, target_N = (t.flatten(0, 1) if every else t[keep] for t in (hidden_BTD, batch["targets"]))
    return kernels.next_token_loss(hidden_ND, _head(model, hidden_ND), target_N, z_loss), keep.sum()


def hidden_states(model: "LlamaForCausalLM", batch: "Batch") -> "torch.Tensor":
    """Last hidden states [B,T,D]; with "positions" in the batch, each document is attended to by itself alone."""
    return model.model(input_ids=batch["ids"], position_ids=batch.get("positions"), use_cache=False).last_hidden_state


class Distillation:
    """(1 − ce_weight) · T² · divergence(teacher, student) + ce_weight · cross-entropy, chunk by chunk (Minitron, §3).

    `forward_kl` is KL(teacher‖student), `reverse_kl` the other way round, `jsd` their Jensen–Shannon mean at ½.
    Raises ValueError before any work when the vocabularies differ.
    """

    def __init__(
        self, teacher: "LlamaForCausalLM", student: "LlamaForCausalLM", *,
        divergence: Literal["forward_kl", "reverse_kl", "jsd"], temperature: float, ce_weight: float,
    ) -> None:  # fmt: skip
        if (theirs := teacher.config.vocab_size) != (ours := student.config.vocab_size):
            raise ValueError(f"teacher has {theirs} vocabulary rows, student {ours}; give both one tokenizer")
        self.teacher = teacher.eval().requires_grad_(False).to(kernels.device())
        kernels.accelerate(self.teacher)
        self.divergence, self.temperature, self.ce_weight = divergence, temperature, ce_weight

    def __call__(self, student: "LlamaForCausalLM", batch: "Batch") -> "Result":
        import torch
        from torch.utils.checkpoint import checkpoint

        keep = batch["targets"] != IGNORED
        with torch.no_grad():
            taught_ND = self.teacher.model(input_ids=batch["ids"], use_cache=False).last_hidden_state[keep]
        hidden_ND = student.model(input_ids=batch["ids"], use_cache=False).last_hidden_state[keep]
        target_N = batch["targets"][keep]
        heads = _head(student, hidden_ND), _head(self.teacher, taught_ND)
        total = hidden_ND.new_zeros((), dtype=torch.float32)
        for i in range(0, len(target_N), CHUNK):
            parts = [rows[i : i + CHUNK] for rows in (hidden_ND, taught_ND, target_N)]
            total = total + checkpoint(self._chunk, *parts, *heads, use_reentrant=False)
        return total, keep.sum()

    def _chunk(
        self, hidden_ND: "torch.Tensor", taught_ND: "torch.Tensor", target_N: "torch.Tensor",
        head_VD: "torch.Tensor", teacher_VD: "torch.Tensor",
    ) -> "torch.Tensor":  # fmt: skip
        from torch.nn.functional import cross_entropy

        logits_NV = (hidden_ND @ head_VD.T).float()
        taught_NV = (taught_ND @ teacher_VD.T).float()
        gap = divergence_sum(taught_NV / self.temperature, logits_NV / self.temperature, self.divergence)
        loss = (1 - self.ce_weight) * self.temperature**2 * gap
        return loss + self.ce_weight * cross_entropy(logits_NV, target_N, reduction="sum") if self.ce_weight else loss


def divergence_sum(teacher_NV: "torch.Tensor", student_NV: "torch.Tensor", kind: str) -> "torch.Tensor":
    """Divergence in nats summed over N positions, from unnormalised logits."""
    import math

    import torch
    from torch.nn.functional import kl_div, log_softmax

    def kl(p: "torch.Tensor", q: "torch.Tensor") -> "torch.Tensor":
        return kl_div(q, p, log_target=True, reduction="sum")

    p, q = log_softmax(teacher_NV, -1), log_softmax(student_NV, -1)
    if kind in ("forward_kl", "reverse_kl"):
        return kl(p, q) if kind == "forward_kl" else kl(q, p)
    middle = torch.logaddexp(p, q) - math.log(2)
    return 0.5 * (kl(p, middle) + kl(q, middle))


class Preference:
    """DPO (Rafailov et al. 2023, eq. 7): −log σ(β · (margin of the policy − margin of the frozen reference)), per pair.

    A batch alternates chosen and rejected rows; `anchor` adds that share of the chosen rows' cross-entropy
    (RPO, Pang et al. 2024), which keeps a small model from unlearning the right answer.
    """

    def __init__(self, model: "LlamaForCausalLM", *, beta: float, anchor: float) -> None:
        self.reference = copy.deepcopy(model).eval().requires_grad_(False).to(kernels.device())
        self.beta, self.anchor = beta, anchor

    def __call__(self, model: "LlamaForCausalLM", batch: "Batch") -> "Result":
        import torch
        from torch.nn.functional import logsigmoid

        ours_B = reply_log_likelihood(model, batch)
        with torch.no_grad():
            theirs_B = reply_log_likelihood(self.reference, batch)
        margin = (ours_B[0::2] - ours_B[1::2]) - (theirs_B[0::2] - theirs_B[1::2])
        counted_B = (batch["targets"] != IGNORED).sum(-1)
        loss = -logsigmoid(self.beta * margin) - self.anchor * ours_B[0::2] / counted_B[0::2]
        return loss.sum(), torch.tensor(len(loss), device=loss.device)


def reply_log_likelihood(model: "LlamaForCausalLM", batch: "Batch") -> "torch.Tensor":
    """log p(reply | prompt) of each row, in nats: [B]."""
    hidden_BTD = model.model(input_ids=batch["ids"], use_cache=False).last_hidden_state
    log_BTV = (hidden_BTD @ _head(model, hidden_BTD).T).float().log_softmax(-1)
    keep = batch["targets"] != IGNORED
    picked_BT = log_BTV.gather(-1, batch["targets"].clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return (picked_BT * keep).sum(-1)


def _head(model: "LlamaForCausalLM", like: "torch.Tensor") -> "torch.Tensor":
    return model.lm_head.weight.to(like.dtype)
