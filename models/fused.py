"""Knows how a loss is taken from hidden states a chunk of logits at a time, forwards and backwards in one pass.

Shapes: N positions, D hidden, V vocabulary rows.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import CHUNK


def chunked(loss_of: Callable[..., Tensor], hidden_ND: Tensor, head_VD: Tensor, *rows: Tensor) -> Tensor:
    """Σ loss_of(logits [n,V] in float32, n rows of each of `rows`) over chunks of positions.

    Each chunk is differentiated while its logits stand, as Liger's fused linear losses do (Hsu et al. 2024, §3): the
    backward pass has nothing to compute again. Gradients flow to `hidden_ND` and `head_VD` alone. Where none are asked
    for (validation), none are made.
    """
    if not torch.is_grad_enabled():
        parts = zip(*(tensor.split(CHUNK[hidden_ND.device.type]) for tensor in (hidden_ND, *rows)), strict=True)
        losses = [loss_of((hidden @ head_VD.T).float(), *own) for hidden, *own in parts]
        return sum(losses, hidden_ND.new_zeros((), dtype=torch.float32))
    return _Chunks.apply(loss_of, hidden_ND, head_VD, *rows)


class _Chunks(torch.autograd.Function):
    """The loss, which keeps its gradients by hidden states and head until they are asked for."""

    @staticmethod
    def forward(ctx: Any, loss_of: Callable[..., Tensor], hidden_ND: Tensor, head_VD: Tensor, *rows: Tensor) -> Tensor:
        head, found = head_VD.detach().requires_grad_(), torch.zeros((), device=hidden_ND.device)
        exact = torch.promote_types(head_VD.dtype, torch.float32)  # a sum over chunks, which bfloat16 would round
        slopes_ND, slope_VD = torch.empty_like(hidden_ND), torch.zeros_like(head_VD, dtype=exact)
        size = CHUNK[hidden_ND.device.type]
        for start in range(0, len(hidden_ND), size):
            part = slice(start, start + size)
            hidden = hidden_ND[part].detach().requires_grad_()
            with torch.enable_grad():
                loss = loss_of((hidden @ head.T).float(), *(row[part] for row in rows))
            slopes_ND[part], slope = torch.autograd.grad(loss, (hidden, head))
            slope_VD += slope
            found = found + loss.detach()
        ctx.save_for_backward(slopes_ND, slope_VD.to(head_VD.dtype))
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> Any:
        slopes_ND, slope_VD = ctx.saved_tensors
        return None, slopes_ND * scale, slope_VD * scale, *[None] * (len(ctx.needs_input_grad) - 3)
