"""Knows two operations better than torch does on a CPU: attention beside fast products, and the loss of the head.

Shapes: B examples, H heads, T positions, C channels of a head; N rows, D hidden, V vocabulary rows.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from models.kernels import exact_matmul

ROWS = 256  # of logits at once: 256 × 4,096 float32 is what the cache of one core holds


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


class LinearCrossEntropy(torch.autograd.Function):
    """Σ cross-entropy(hidden @ headᵀ, target) + z_loss · Σ logsumexp² (PaLM, §5), its gradients made on the way.

    Never more than ROWS × V logits stand in memory, and none is kept for the backward pass. Targets below 0 count
    nothing. hidden [N,D], head [V,D], target [N] → a scalar in float32.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, hidden_ND: Tensor, head_VD: Tensor, target_N: Tensor, z_loss: float) -> Tensor:
        grad_ND, grad_VD = torch.empty_like(hidden_ND), torch.zeros_like(head_VD)
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        for i in range(0, len(target_N), ROWS):
            rows_ND, target = hidden_ND[i : i + ROWS], target_N[i : i + ROWS].unsqueeze(1)
            counted, picked = target >= 0, target.clamp(min=0)
            logits_NV = (rows_ND @ head_VD.T).float()
            log_sum = logits_NV.logsumexp(-1, keepdim=True)
            loss = log_sum - logits_NV.gather(1, picked) + z_loss * log_sum.square()
            total += (loss * counted).sum()
            slope_NV = logits_NV.sub_(log_sum).exp_()
            slope_NV *= (1 + 2 * z_loss * log_sum) * counted
            slope_NV.scatter_add_(1, picked, -counted.float())
            slope_NV = slope_NV.to(head_VD.dtype)
            torch.mm(slope_NV, head_VD, out=grad_ND[i : i + ROWS])
            grad_VD.addmm_(slope_NV.T, rows_ND)
        ctx.save_for_backward(grad_ND, grad_VD)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad_ND, grad_VD = ctx.saved_tensors
        return grad_ND * grad, grad_VD * grad, None, None
