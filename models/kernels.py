"""Knows where fast kernels come from: Liger on CUDA, plain torch elsewhere; decided here and nowhere else."""

import inspect
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM


def device() -> "torch.device":
    """The accelerator if there is one; OPENMIDM_DEVICE=cpu forces the CPU."""
    import torch

    return torch.device(os.environ.get("OPENMIDM_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))


def kernels() -> str:
    """`liger` on CUDA unless OPENMIDM_KERNELS=torch, else `torch`: its Triton kernels need a GPU."""
    return os.environ.get("OPENMIDM_KERNELS") or ("liger" if device().type == "cuda" else "torch")


def accelerate(model: "LlamaForCausalLM") -> None:
    """Swaps RMSNorm, RoPE and SwiGLU of an existing model for Liger's, in place, when `kernels()` says so.

    The loss is not patched here: objectives take hidden states and call the fused linear loss themselves.
    """
    if kernels() == "liger":
        from liger_kernel.transformers import apply_liger_kernel_to_llama

        apply_liger_kernel_to_llama(
            rope=True, rms_norm=True, swiglu=True, cross_entropy=False, fused_linear_cross_entropy=False, model=model
        )
        _check_patched(model)


def _check_patched(model: "LlamaForCausalLM") -> None:
    """RuntimeError unless Liger's code is what runs: with some pairs of versions patching does nothing, silently."""
    from liger_kernel.transformers import LigerRMSNorm, LigerSwiGLUMLP, liger_rotary_pos_emb

    layer = model.model.layers[0]
    rope = inspect.unwrap(type(layer.self_attn).forward)  # it must still look the function up, by this name
    found = rope.__globals__.get("apply_rotary_pos_emb") if "apply_rotary_pos_emb" in rope.__code__.co_names else None
    norms = all(norm.forward.__func__ is LigerRMSNorm.forward for norm in (layer.input_layernorm, model.model.norm))
    if not (found is liger_rotary_pos_emb and norms and layer.mlp.forward.__func__ is LigerSwiGLUMLP.forward):
        raise RuntimeError("Liger did not patch this transformers; install constraints/, or set OPENMIDM_KERNELS=torch")


def next_token_loss(hidden_ND: "torch.Tensor", head_VD: "torch.Tensor", target_N: "torch.Tensor") -> "torch.Tensor":
    """Summed cross-entropy of `head @ hidden` against `target` (−100 = not counted) without keeping all N×V logits."""
    if kernels() == "liger":
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        return LigerFusedLinearCrossEntropyLoss(ignore_index=-100, reduction="sum")(head_VD, hidden_ND, target_N)
    from torch.nn.functional import cross_entropy

    return cross_entropy((hidden_ND @ head_VD.T).float(), target_N, ignore_index=-100, reduction="sum")


def peak_flops() -> float:
    """FLOP/s this device can reach in a matmul: a datasheet figure on known GPUs, a short probe elsewhere."""
    import time

    import torch

    name = torch.cuda.get_device_name() if device().type == "cuda" else ""
    if any(chip in name for chip in ("H100", "H200")):
        return 989e12  # dense bf16, vendor datasheet
    a = torch.randn(1024, 1024, device=device(), dtype=torch.bfloat16 if name else torch.float32)
    best = 0.0
    for _ in range(12):  # the best of several: the first ones warm up, and a shared machine disturbs others
        start = time.perf_counter()
        float((a @ a)[0, 0])
        best = max(best, 2 * 1024**3 / (time.perf_counter() - start))
    return best
