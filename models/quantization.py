"""Knows the shared grid: matrices as scale · level in blocks of 32 columns, and how a model is taught to stand on it.

GGUF's Q4_0, Q5_0 and Q8_0 and ONNX's MatMulNBits (symmetric) hold the same products: a float16 scale times an integer.
Shapes: R rows, C columns, K = C / 32 blocks of a row.
"""

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from models.fit import Batch, Loss, Objective

BLOCK, BITS = 32, 4
CLIPPING = [1 + step / 20 for step in range(-6, 5)]  # of the level that a block's extreme would have; some are cut off


class OnGrid:
    """An objective whose student is rounded to the grid first; gradients pass straight through (Bengio 2013).

    Scales are those that round the untrained student best, and stay: training moves levels. `head_bits`, 4, 5 or 8, are
    those of embedding and head. Raises ValueError for rows that blocks do not fill.
    """

    def __init__(self, objective: Objective, student: LlamaForCausalLM, *, head_bits: int) -> None:
        matrices = {name: weight for name, weight in student.named_parameters() if weight.ndim == 2}
        self.objective = objective
        self.bits = {name: BITS if ".layers." in name else head_bits for name in matrices}
        self.scales = {name: best_scales(weight.detach(), self.bits[name]) for name, weight in matrices.items()}

    def __call__(self, student: LlamaForCausalLM, batch: Batch) -> Loss:
        def straight(name: str, weight: Tensor) -> Tensor:
            return weight + (self._rounded(name, weight.detach()) - weight.detach())

        weights = dict(student.named_parameters())
        rounded = {f"student.{name}": straight(name, weights[name]) for name in self.scales}
        return torch.func.functional_call(_Bound(self.objective, student), rounded, (batch,))

    @property
    def bits_per_weight(self) -> float:
        """Of all matrices, scales counted as GGUF stores them."""
        sizes = {name: scales.numel() * BLOCK for name, scales in self.scales.items()}
        return 16 / BLOCK + sum(self.bits[name] * size for name, size in sizes.items()) / sum(sizes.values())

    def settle(self, student: LlamaForCausalLM) -> None:
        """Moves the matrices to the grid's values, for good."""
        with torch.no_grad():
            for name, weight in student.named_parameters():
                if name in self.scales:
                    weight.copy_(self._rounded(name, weight))

    def _rounded(self, name: str, weight_RC: Tensor) -> Tensor:
        scales_RK = self.scales[name] = self.scales[name].to(weight_RC.device)
        return rounded(weight_RC, scales_RK, self.bits[name])


def best_scales(weight_RC: Tensor, bits: int) -> Tensor:
    """The float16 scale of each block [R, K] whose levels come closest to it, as a sum of squares; it may be negative.

    There is one level more below zero than above, so a block's extreme may lie at either end.
    """
    if weight_RC.shape[1] % BLOCK:
        raise ValueError(f"rows of {weight_RC.shape[1]} are not whole blocks of {BLOCK}; choose other widths")
    blocks_RKB = weight_RC.unflatten(1, (-1, BLOCK))
    extreme_RK = blocks_RKB.gather(-1, blocks_RKB.abs().argmax(-1, keepdim=True)).squeeze(-1)
    best_RK = least_RK = None
    for end in (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1):
        for clipping in CLIPPING:
            scales_RK = (extreme_RK / (end * clipping)).half()
            error_RK = (rounded(weight_RC, scales_RK, bits).unflatten(1, (-1, BLOCK)) - blocks_RKB).square().sum(-1)
            if best_RK is None or least_RK is None:
                best_RK, least_RK = scales_RK, error_RK
            better = error_RK < least_RK
            best_RK, least_RK = torch.where(better, scales_RK, best_RK), torch.where(better, error_RK, least_RK)
    assert best_RK is not None
    return best_RK


def rounded(weight_RC: Tensor, scales_RK: Tensor, bits: int) -> Tensor:
    """Scale · nearest level of −2^(bits−1) … 2^(bits−1) − 1: float32 [R, C], each product exact."""
    wide_RK1 = scales_RK.float().unsqueeze(-1)
    blocks_RKB = weight_RC.float().unflatten(1, (-1, BLOCK))
    levels = (
        (blocks_RKB / torch.where(wide_RK1 == 0, 1, wide_RK1)).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    return (levels * wide_RK1).flatten(1)


class _Bound(torch.nn.Module):
    """An objective and its student as one module, in which the student's weights can be others for one call."""

    def __init__(self, objective: Objective, student: LlamaForCausalLM) -> None:
        super().__init__()
        self.objective, self.student = objective, student

    def forward(self, batch: Batch) -> Loss:
        return self.objective(self.student, batch)
