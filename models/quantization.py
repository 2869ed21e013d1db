"""Knows the shared grid: matrices as scale · level in blocks of 32 columns, and how a model is taught to stand on it.

GGUF's Q4_0, Q5_0 and Q8_0 and ONNX's MatMulNBits (symmetric) hold the same products: a float16 scale times an integer.
Shapes: R rows, C columns, K = C / 32 blocks of a row, N positions.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from models.calibration import input_means
from models.fit import Batch, Loss, Objective

BLOCK, BITS = 32, 4
CLIPPING = [1 + step / 20 for step in range(-6, 5)]  # of the level that a block's extreme would have; some are cut off
DAMPING = 0.1  # share of the mean diagonal; at 0.01 the few texts that a demo reads are believed too much


class OnGrid:
    """An objective whose student is rounded to the grid first; gradients pass straight through (Bengio et al. 2013).

    The student is moved to the grid here, as well as can be without training, judging by what `batches` of ids give
    each matrix. Its scales stay: training moves levels. Matrices have 4 bits, or what `wide` says by their last name (5
    or 8). Raises ValueError for rows that blocks do not fill.
    """

    def __init__(
        self, objective: Objective, student: LlamaForCausalLM, batches: Sequence[Tensor], *, wide: Mapping[str, int]
    ) -> None:
        grams = input_means(student, batches, lambda rows_NC: rows_NC.T @ rows_NC)
        self.objective, self.bits, self.scales = objective, dict[str, int](), dict[str, Tensor]()
        for name, weight in student.named_parameters():
            if weight.ndim == 2:
                gram = grams.get(name, torch.eye(weight.shape[1], device=weight.device))
                self.bits[name] = wide.get(name.split(".")[-2], BITS)
                weight.data, self.scales[name] = fitted(weight.detach(), gram.float(), self.bits[name])

    def __call__(self, student: LlamaForCausalLM, batch: Batch) -> Loss:
        weights = {name: weight for name, weight in student.named_parameters() if name in self.scales}
        if any(hasattr(weight, "placements") for weight in weights.values()):
            raise ValueError("qad needs whole weights on each rank; take a card that holds them, or fewer ranks")
        moved = {f"student.{n}": weight + (self._rounded(n, weight) - weight).detach() for n, weight in weights.items()}
        return torch.func.functional_call(_Bound(self.objective, student), moved, (batch,))

    @property
    def bits_per_weight(self) -> float:
        """Of all matrices, scales counted as GGUF stores them."""
        sizes = {name: scales.numel() * BLOCK for name, scales in self.scales.items()}
        return 16 / BLOCK + sum(self.bits[name] * size for name, size in sizes.items()) / sum(sizes.values())

    def settle(self, student: LlamaForCausalLM) -> None:
        """Moves the trained matrices to the grid's values, for good."""
        for name, weight in student.named_parameters():
            if name in self.scales:
                weight.data = self._rounded(name, weight.detach())

    def _rounded(self, name: str, weight_RC: Tensor) -> Tensor:
        scales_RK = self.scales[name] = self.scales[name].to(weight_RC.device)
        return rounded(weight_RC, scales_RK, self.bits[name])


def fitted(weight_RC: Tensor, gram_CC: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The matrix on the grid, and the scales of its blocks [R, K]: what rounding one column does to the outputs, the
    later ones make good as far as inputs of this Gram matrix let them (GPTQ, Frantar et al. 2022, arXiv 2210.17323).
    """
    if weight_RC.shape[1] % BLOCK:
        raise ValueError(f"rows of {weight_RC.shape[1]} are not whole blocks of {BLOCK}; choose other widths")
    inputs_CC = gram_CC + DAMPING * gram_CC.diagonal().mean() * torch.eye(len(gram_CC), device=gram_CC.device)
    factor_CC = torch.linalg.cholesky(torch.linalg.inv(inputs_CC), upper=True)
    left_RC, scales = weight_RC.float().clone(), []
    for column in range(left_RC.shape[1]):
        if column % BLOCK == 0:
            scales.append(best_scales(left_RC[:, column : column + BLOCK], bits))
        nearest_R = _nearest(left_RC[:, column], scales[-1].float(), bits)
        error_R = (left_RC[:, column] - nearest_R) / factor_CC[column, column]
        left_RC[:, column] = nearest_R
        left_RC[:, column + 1 :] -= torch.outer(error_R, factor_CC[column, column + 1 :])
    return left_RC, torch.stack(scales, -1)


def best_scales(block_RB: Tensor, bits: int) -> Tensor:
    """The float16 scale of each row [R] of a block whose levels come closest to it, as a sum of squares.

    It may be negative: there is one level more below zero than above, and the extreme may lie at either end.
    """
    extreme_R = block_RB.gather(-1, block_RB.abs().argmax(-1, keepdim=True)).squeeze(-1)
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    scales_SR = torch.stack([(extreme_R / (end * clipping)).half() for end in ends for clipping in CLIPPING])
    error_SR = (_nearest(block_RB, scales_SR.float().unsqueeze(-1), bits) - block_RB).square().sum(-1)
    return scales_SR.gather(0, error_SR.argmin(0, keepdim=True)).squeeze(0)


def rounded(weight_RC: Tensor, scales_RK: Tensor, bits: int) -> Tensor:
    """Scale · nearest level: float32 [R, C], each product exact."""
    return _nearest(weight_RC.float().unflatten(1, (-1, BLOCK)), scales_RK.float().unsqueeze(-1), bits).flatten(1)


def _nearest(values: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Of −2^(bits−1) … 2^(bits−1) − 1 times the scale, what is closest to each value."""
    levels = (values / torch.where(scales == 0, 1, scales)).round()
    return levels.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scales


class _Bound(torch.nn.Module):
    """An objective and its student as one module, in which the student's weights can be others for one call."""

    def __init__(self, objective: Objective, student: LlamaForCausalLM) -> None:
        super().__init__()
        self.objective, self.student = objective, student

    def forward(self, batch: Batch) -> Loss:
        return self.objective(self.student, batch)
