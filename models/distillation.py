"""Knows how a student learns a teacher's distribution, live or from a cache of its draws, a chunk of logits at a time.

Shapes: B examples, T positions, D hidden, V vocabulary rows, N = counted positions, K drawn ids of a position.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from models import kernels, parallel
from models.objectives import counted, head_of, hidden_states

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    from models.objectives import Batch, Result

DEPTHS = (0.25, 0.5, 0.75)  # of the layers, after which hidden states are compared
LIGER_BETA = {"forward_kl": 0.0, "reverse_kl": 1.0, "jsd": 0.5}  # its generalised JSD, by our names


class Distillation:
    """(1 − ce_weight) · T² · divergence(teacher, student) + ce_weight · cross-entropy (Minitron, §3).

    `forward_kl` is KL(teacher‖student), `reverse_kl` the other way round, `jsd` their Jensen–Shannon mean at ½.
    `layers_weight` adds that much of the distance between hidden states at DEPTHS; `channels` [D] are the teacher's
    hidden channels that the student's were cut from. Raises ValueError before any work when the vocabularies differ.
    """

    def __init__(
        self, teacher: "LlamaForCausalLM", student: "LlamaForCausalLM", *,
        divergence: Literal["forward_kl", "reverse_kl", "jsd"], temperature: float, ce_weight: float,
        layers_weight: float = 0.0, channels: Sequence[int] = (),
    ) -> None:  # fmt: skip
        _refuse_other_vocabulary(teacher, student)
        self.teacher = teacher.eval().requires_grad_(False)
        kernels.accelerate(self.teacher)
        self.divergence, self.temperature, self.ce_weight = divergence, temperature, ce_weight
        self.layers_weight, self.channels = layers_weight, list(channels)

    def __call__(self, student: "LlamaForCausalLM", batch: "Batch") -> "Result":
        import torch

        given = {"input_ids": batch["ids"], "use_cache": False, "output_hidden_states": self.layers_weight > 0}
        parallel.stand_beside(self.teacher, student)
        with torch.no_grad():
            taught = self.teacher.model(**given)
        learnt = student.model(**given)
        states = (learnt.last_hidden_state, taught.last_hidden_state, batch["targets"])
        hidden_ND, taught_ND, target_N = counted(batch, *states)
        fused = kernels.kernels() == "liger" and len(hidden_ND)  # Liger cannot divide by no positions
        loss_of = self._fused if fused else self._chunked
        heads = head_of(student, hidden_ND), head_of(self.teacher, taught_ND)
        loss = loss_of(hidden_ND, taught_ND, target_N, *heads)
        if self.layers_weight:
            loss = loss + self.layers_weight * self._apart(learnt.hidden_states, taught.hidden_states, batch)
        return loss, target_N.new_tensor(len(target_N))

    def _apart(
        self, ours: Sequence["torch.Tensor"], theirs: Sequence["torch.Tensor"], batch: "Batch"
    ) -> "torch.Tensor":
        """Mean squared distance of hidden states of unit RMS, summed over positions: 0 if the same, 2 if unlike."""
        from torch.nn.functional import mse_loss, rms_norm

        total = ours[0].new_zeros(())
        for depth in DEPTHS:
            mine, taught = counted(batch, *(states[round(depth * (len(states) - 1))] for states in (ours, theirs)))
            mine, taught = (rms_norm(own.float(), mine.shape[-1:]) for own in (mine, taught[:, self.channels]))
            total = total + mse_loss(mine, taught, reduction="sum") / mine.shape[-1] / len(DEPTHS)
        return total

    def _chunked(
        self, hidden_ND: "torch.Tensor", taught_ND: "torch.Tensor", target_N: "torch.Tensor",
        head_VD: "torch.Tensor", teacher_VD: "torch.Tensor",
    ) -> "torch.Tensor":  # fmt: skip
        def loss_of(logits_NV: "torch.Tensor", taught_ND: "torch.Tensor", target_N: "torch.Tensor") -> "torch.Tensor":
            taught_NV = (taught_ND @ teacher_VD.T).float()
            gap = divergence_sum(taught_NV / self.temperature, logits_NV / self.temperature, self.divergence)
            return _with_targets(self.temperature**2 * gap, logits_NV, target_N, self.ce_weight)

        from models.fused import chunked

        return chunked(loss_of, hidden_ND, head_VD, taught_ND, target_N)

    def _fused(
        self, hidden_ND: "torch.Tensor", taught_ND: "torch.Tensor", target_N: "torch.Tensor",
        head_VD: "torch.Tensor", teacher_VD: "torch.Tensor",
    ) -> "torch.Tensor":  # fmt: skip
        """The same through Liger, whose divergence is a mean over positions and carries no T²."""
        from liger_kernel.transformers import LigerFusedLinearJSD

        divergence = LigerFusedLinearJSD(jsd_beta=LIGER_BETA[self.divergence], temperature=self.temperature)
        gap = divergence(hidden_ND, head_VD, taught_ND, teacher_VD, None)
        loss = (1 - self.ce_weight) * self.temperature**2 * len(hidden_ND) * gap
        if not self.ce_weight:
            return loss
        return loss + self.ce_weight * kernels.next_token_loss(hidden_ND, head_VD, target_N)


class CachedDistillation:
    """The same from a teacher's draws that lie in the batch (models.teacher_cache), at the price of a cross-entropy.

    −T² · Σ q log p against the drawn shares q, whose expectation is the teacher's distribution: its gradient is that of
    forward KL in expectation, and its value is larger by T² times the teacher's entropy.
    Raises ValueError before any work when the vocabularies differ.
    """

    def __init__(
        self, teacher: "LlamaForCausalLM", student: "LlamaForCausalLM", *, temperature: float, ce_weight: float
    ) -> None:
        _refuse_other_vocabulary(teacher, student)
        self.temperature, self.ce_weight = temperature, ce_weight

    def __call__(self, student: "LlamaForCausalLM", batch: "Batch") -> "Result":
        from models.fused import chunked

        taught = (batch[name] for name in ("drawn", "shares", "targets"))
        hidden_ND, *taught_N = counted(batch, hidden_states(student, batch), *taught)
        loss = chunked(self._loss, hidden_ND, head_of(student, hidden_ND), *taught_N)
        return loss, taught_N[-1].new_tensor(len(hidden_ND))

    def _loss(
        self, logits_NV: "torch.Tensor", drawn_NK: "torch.Tensor", shares_NK: "torch.Tensor", target_N: "torch.Tensor"
    ) -> "torch.Tensor":
        sharp_NV = logits_NV / self.temperature
        gap = sharp_NV.logsumexp(-1).sum() - (shares_NK * sharp_NV.gather(-1, drawn_NK)).sum()
        return _with_targets(self.temperature**2 * gap, logits_NV, target_N, self.ce_weight)


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


def _refuse_other_vocabulary(teacher: "LlamaForCausalLM", student: "LlamaForCausalLM") -> None:
    if (theirs := teacher.config.vocab_size) != (ours := student.config.vocab_size):
        raise ValueError(f"teacher has {theirs} vocabulary rows, student {ours}; give both one tokenizer")


def _with_targets(
    gap: "torch.Tensor", logits_NV: "torch.Tensor", target_N: "torch.Tensor", share: float
) -> "torch.Tensor":
    """(1 − share) · gap + share · cross-entropy with the text's own next tokens."""
    from torch.nn.functional import cross_entropy

    return (1 - share) * gap + share * cross_entropy(logits_NV, target_N, reduction="sum") if share else gap
