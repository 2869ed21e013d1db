"""Knows the shared grid: matrices as scale · level in blocks of 32 columns, and how a model is taught to stand on it.

GGUF's Q4_0, Q5_0 and Q8_0 and ONNX's MatMulNBits (symmetric) hold the same products: a float16 scale times an integer.
Shapes: R rows, C columns, K = C / 32 blocks of a row, N positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from models.calibration import TABLE, felt
from models.fit import Batch, Loss, Objective
from models.pruning import cut, everything
from models.shapes import shape_of
from models.sharing import share

BLOCK, BITS, WIDER = 32, 4, (5, 8)
CLIPPING = [1 + step / 20 for step in range(-6, 5)]  # of the level that a block's extreme would have; some are cut off
SORTED = 8  # batches that say which channels are large
ROUNDS = 3  # of going through all columns again; the fourth brings half a percent
DAMPING = 0.1  # share of the mean diagonal; at 0.01 the few texts that a demo reads are believed too much


class OnGrid:
    """An objective whose student stands on the grid: levels stay, its scales and norms are what training moves.

    The student is moved there here, as well as can be without training, judging by what `batches` of ids give each
    matrix. Levels would flip to and fro under a batch's noise, while a block's scale goes smoothly to where the
    objective wants it (as in EfficientQAT's second phase, Chen et al. 2024, arXiv 2407.11062); gradients pass straight
    through its rounding to float16. Matrices have 4 bits, and 5 or 8 where that spares most, as far as `bits` a weight
    allow in the mean, scales counted. Raises ValueError for rows that blocks do not fill.
    """

    def __init__(
        self, objective: Objective, student: LlamaForCausalLM, batches: Sequence[Tensor], *, bits: float
    ) -> None:
        sort_channels(student, batches[:SORTED])
        outputs, grams, embedded_DD = felt(student, batches)
        weights = {name: weight for name, weight in student.named_parameters() if weight.ndim == 2}
        # Rows of the embedding are added to the stream, too: there their error is felt as gradients say. On the demo
        # this takes 15 % off what its rounding costs at 5 bits.
        grams[TABLE] = grams.get(TABLE, 0) + embedded_DD
        rounded = {name: fitted(weight.detach(), grams[name].float(), BITS) for name, weight in weights.items()}
        lost = {
            name: float(outputs[name] @ _squares(rounded[name][0] - weight.detach(), grams[name].float()))
            for name, weight in weights.items()
        }
        sizes = {name: weight.numel() for name, weight in weights.items()}
        self.objective, self.bits = objective, shared_out(lost, sizes, bits - 16 / BLOCK)
        self.scales, self.levels = dict[str, Tensor](), dict[str, Tensor]()
        for name, weight in weights.items():
            found = rounded.pop(name)
            if self.bits[name] > BITS:
                found = fitted(weight.detach(), grams[name].float(), self.bits[name])
            weight.data, self.scales[name] = found
            self.levels[name] = _levels(_blocks(weight.detach()), self.scales[name].float().unsqueeze(-1)).char()

    def __call__(self, student: LlamaForCausalLM, batch: Batch) -> Loss:
        weights = {name: weight for name, weight in student.named_parameters() if name in self.scales}
        if any(hasattr(weight, "placements") for weight in weights.values()):
            raise ValueError("qad needs whole weights on each rank; take a card that holds them, or fewer ranks")
        moved = {f"student.{name}": self._product(name, self._scales(name, w)) for name, w in weights.items()}
        with torch.autocast(student.device.type, enabled=False):  # bf16 would round more off
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
                self.scales[name] = self._scales(name, weight.detach()).half()
                weight.data = self._product(name, self.scales[name].float())

    def _scales(self, name: str, weight_RC: Tensor) -> Tensor:
        """Those that bring the levels closest to a matrix [R, K], rounded to float16."""
        levels_RKB = self.levels[name].to(weight_RC.device).float()
        exact_RK = (_blocks(weight_RC) * levels_RKB).sum(-1) / levels_RKB.square().sum(-1).clamp(min=1)
        return exact_RK + (exact_RK.half().float() - exact_RK).detach()

    def _product(self, name: str, scales_RK: Tensor) -> Tensor:
        return (self.levels[name].to(scales_RK.device).float() * scales_RK.unsqueeze(-1)).flatten(1)


def sort_channels(model: LlamaForCausalLM, batches: Sequence[Tensor]) -> None:
    """Puts the hidden channels of a model with tied embeddings in the order in which they are felt by the head, the
    greatest first: the same function, but blocks of alike channels, in activations too, which runtimes round by block.

    On the demo that takes 5 % off the KL of rounded weights, and a quarter off that of rounded activations. Untied
    models, which `cut` would tie, stay as they are.
    """
    if not model.config.tie_word_embeddings:
        return
    order_D = felt(model, batches).inputs[TABLE].diagonal().argsort(descending=True)
    kept = replace(everything(shape_of(model.config)), hidden=order_D)
    model.load_state_dict(cut(model, kept).state_dict())


def shared_out(lost: Mapping[str, float], sizes: Mapping[str, int], bits: float) -> dict[str, int]:
    """Bits of each matrix, `bits` a weight in the mean at most, whose costs add up to the least.

    `lost` is what each costs at 4 bits. A bit more halves a rounding error, and the cost goes with its square.
    """
    offers = {
        name: {more: (more * size, lost[name] * 4.0 ** (BITS - more)) for more in (BITS, *WIDER)}
        for name, size in sizes.items()
    }
    return share(int(bits * sum(sizes.values())), offers)


def fitted(weight_RC: Tensor, gram_CC: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The matrix on the grid, and the scales of its blocks [R, K]: what rounding one column does to the outputs, the
    later ones make good as far as inputs of this Gram matrix let them (GPTQ, Frantar et al. 2022, arXiv 2210.17323);
    then all, scales too, are moved in turn as long as that helps.
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
    scales_RK = torch.stack(scales, -1)
    _descend(weight_RC.float(), left_RC, scales_RK, inputs_CC, bits)
    return left_RC, scales_RK


def _descend(weight_RC: Tensor, found_RC: Tensor, scales_RK: Tensor, inputs_CC: Tensor, bits: int) -> None:
    """Moves each column's levels, then each block's scales, to their best beside all others, in ROUNDS (QuantEase,
    Behdin et al. 2023, arXiv 2309.01885, which keeps the scales). On the demo that takes 15 % off the KL."""
    pull_RC = (weight_RC - found_RC) @ inputs_CC  # the downward slope of the outputs' squared errors

    def put(part: slice, values_RP: Tensor) -> None:
        pull_RC.sub_((values_RP - found_RC[:, part]) @ inputs_CC[part])
        found_RC[:, part] = values_RP

    for _, block in product(range(ROUNDS), range(scales_RK.shape[1])):
        own, scales_R1 = slice(block * BLOCK, (block + 1) * BLOCK), scales_RK[:, block, None].float()
        for column in range(own.start, own.stop):
            one = slice(column, column + 1)
            put(one, _nearest(found_RC[:, one] + pull_RC[:, one] / inputs_CC[column, column], scales_R1, bits))
        levels_RB = _levels(found_RC[:, own], scales_R1)
        bend_R = _squares(levels_RB, inputs_CC[own, own]).clamp(min=torch.finfo(torch.float32).tiny)
        scales_RK[:, block] += (levels_RB * pull_RC[:, own]).sum(-1) / bend_R
        put(own, levels_RB * scales_RK[:, block, None].float())


def best_scales(block_RB: Tensor, bits: int) -> Tensor:
    """The float16 scale of each row [R] of a block whose levels come closest to it, as a sum of squares.

    It may be negative: there is one level more below zero than above, and the extreme may lie at either end.
    """
    extreme_R = block_RB.gather(-1, block_RB.abs().argmax(-1, keepdim=True)).squeeze(-1)
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    scales_SR = torch.stack([(extreme_R / (end * clipping)).half() for end in ends for clipping in CLIPPING])
    error_SR = (_nearest(block_RB, scales_SR.float().unsqueeze(-1), bits) - block_RB).square().sum(-1)
    return scales_SR.gather(0, error_SR.argmin(0, keepdim=True)).squeeze(0)


def _squares(error_RC: Tensor, gram_CC: Tensor) -> Tensor:
    """Mean square of each row's product with inputs of this Gram matrix [R]."""
    return ((error_RC @ gram_CC) * error_RC).sum(-1)


def _blocks(weight_RC: Tensor) -> Tensor:
    return weight_RC.unflatten(1, (-1, BLOCK))


def _nearest(values: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Of −2^(bits−1) … 2^(bits−1) − 1 times the scale, what is closest to each value."""
    return _levels(values, scales).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scales


def _levels(values: Tensor, scales: Tensor) -> Tensor:
    return (values / torch.where(scales == 0, 1, scales)).round()


class _Bound(torch.nn.Module):
    """An objective and its student as one module, in which the student's weights can be others for one call."""

    def __init__(self, objective: Objective, student: LlamaForCausalLM) -> None:
        super().__init__()
        self.objective, self.student = objective, student

    def forward(self, batch: Batch) -> Loss:
        return self.objective(self.student, batch)
