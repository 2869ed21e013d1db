"""Knows two operations better than torch does on a CPU: attention beside fast products, and the loss of the head.

Shapes: B examples, H heads, T positions, C channels of a head; N rows, D hidden, V vocabulary rows.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.kernels import CHUNK, exact_matmul


def attention(module: Any, q: Tensor, k: Tensor, v: Tensor, attention_mask: Tensor | None, **options: Any) -> Any:
    """Scaled dot-product attention as transformers calls it: q [B,H,T,C] → ([B,T,H,C], None), any GQA ratio."""
    groups = q.shape[1] // k.shape[1]
    k, v = (tensor.repeat_interleave(groups, 1) if groups > 1 else tensor for tensor in (k, v))
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        attention_mask = torch.zeros(attention_mask.shape).masked_fill_(~attention_mask, -torch.inf)
    causal = attention_mask is None and q.shape[2] > 1
    return _Attention.apply(q, k, v, attention_mask, causal, options.get("scaling")).transpose(1, 2).contiguous(), None


class _Attention(torch.autograd.Function):
    """torch's flash kernel with exact products: asked for bf16 ones it is ten times slower, in blocks of 32 rows."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
        with exact_matmul():
            flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
            out, log_sum = flash(q, k, v, 0.0, causal, attn_mask=mask, scale=scale)
        ctx.save_for_backward(q, k, v, out, log_sum, mask)
        ctx.causal, ctx.scale = causal, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        *tensors, mask = ctx.saved_tensors
        with exact_matmul():
            flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
            grads = flash(grad, *tensors, 0.0, ctx.causal, attn_mask=mask, scale=ctx.scale)
        return *grads, None, None, None


def chunked(loss_of: Callable[..., Tensor], hidden_ND: Tensor, head_VD: Tensor, *rows: Tensor) -> Tensor:
    """Σ loss_of(logits [n,V] in float32, n rows of each of `rows`) over chunks of positions.

    Each chunk is differentiated while its logits stand, as Liger's fused linear losses do (Hsu et al. 2024, §3): the
    backward pass has nothing to compute again. Gradients flow to `hidden_ND` and `head_VD` alone.
    """
    return _Chunks.apply(loss_of, hidden_ND, head_VD, *rows)


class _Chunks(torch.autograd.Function):
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
