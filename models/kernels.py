"""Knows where fast kernels come from: Liger on CUDA, on a CPU bf16 products where faster. Nobody else decides."""

import inspect
import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

CHUNK = {"cpu": 1024, "cuda": 2048}  # positions whose full-vocabulary logits stand in memory at once (docs/log.md)
FASTER = 1.5  # times, from which bf16 products are worth their rounding: 8 with AMX, under 1 without
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def device() -> "torch.device":
    """The accelerator if there is one, under torchrun this rank's; OPENMIDM_DEVICE=cpu forces the CPU."""
    import torch

    gpu = f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else "cuda"
    return torch.device(os.environ.get("OPENMIDM_DEVICE") or (gpu if torch.cuda.is_available() else "cpu"))


def kernels() -> str:
    """`liger` on CUDA unless OPENMIDM_KERNELS=torch, else `torch`: its Triton kernels need a GPU."""
    return os.environ.get("OPENMIDM_KERNELS") or ("liger" if device().type == "cuda" else "torch")


def accelerate(model: "LlamaForCausalLM") -> None:
    """Swaps RMSNorm, RoPE and SwiGLU of an existing model for Liger's, in place, when `kernels()` says so; on a CPU the
    attention, for one in float32 that reads packed documents one by one.

    The loss is not patched here: objectives take hidden states and call the fused linear loss themselves.
    """
    if kernels() == "liger":
        from liger_kernel.transformers import apply_liger_kernel_to_llama

        apply_liger_kernel_to_llama(
            rope=True, rms_norm=True, swiglu=True, cross_entropy=False, fused_linear_cross_entropy=False, model=model
        )
        _check_patched(model)
    elif device().type == "cpu":
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        AttentionInterface.register("float32", _attention)
        AttentionMaskInterface.register("float32", sdpa_mask)
        model.set_attn_implementation("float32")


def _attention(
    module: "torch.nn.Module", q: "torch.Tensor", k: "torch.Tensor", v: "torch.Tensor", mask: "torch.Tensor | None",
    **options: Any,
) -> "tuple[torch.Tensor, None]":  # fmt: skip
    """transformers' own attention, in float32: torch's CPU kernel takes nine times as long for bf16's gradients.

    With `document_sizes` no pair of tokens of two documents is looked at: a quarter of the demo's step in sft.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    sizes = options.pop("document_sizes", None)
    with torch.autocast(q.device.type, enabled=False):
        if sizes is not None:
            return torch.compiler.disable(_attention_by_document)(q.float(), k.float(), v.float(), sizes, **options)
        return sdpa_attention_forward(module, q.float(), k.float(), v.float(), mask, **options)


def _attention_by_document(
    q: "torch.Tensor", k: "torch.Tensor", v: "torch.Tensor", sizes: "torch.Tensor", *, scaling: float, **_: Any
) -> "tuple[torch.Tensor, None]":
    """Causal attention [B,H,T,D] → [B,T,H,D] inside documents of these sizes, which make up row after row."""
    from torch import cat
    from torch.nn.functional import scaled_dot_product_attention as attend

    parts = (tensor.transpose(1, 2).flatten(0, 1).split(sizes.tolist()) for tensor in (q, k, v))
    heads = ([part.transpose(0, 1)[None] for part in document] for document in zip(*parts, strict=True))
    read = [attend(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)[0].transpose(0, 1) for q, k, v in heads]
    return cat(read).unflatten(0, (len(q), -1)), None


def _check_patched(model: "LlamaForCausalLM") -> None:
    """RuntimeError unless Liger's code is what runs: with some pairs of versions patching does nothing, silently."""
    from liger_kernel.transformers import LigerRMSNorm, LigerSwiGLUMLP, liger_rotary_pos_emb

    layer = model.model.layers[0]
    rope = inspect.unwrap(type(layer.self_attn).forward)  # it must still look the function up, by this name
    found = rope.__globals__.get("apply_rotary_pos_emb") if "apply_rotary_pos_emb" in rope.__code__.co_names else None
    norms = all(norm.forward.__func__ is LigerRMSNorm.forward for norm in (layer.input_layernorm, model.model.norm))
    if not (found is liger_rotary_pos_emb and norms and layer.mlp.forward.__func__ is LigerSwiGLUMLP.forward):
        raise RuntimeError("Liger did not patch this transformers; install constraints/, or set OPENMIDM_KERNELS=torch")


def next_token_loss(
    hidden_ND: "torch.Tensor", head_VD: "torch.Tensor", target_N: "torch.Tensor", z_loss: float = 0.0
) -> "torch.Tensor":
    """Summed cross-entropy (and z-loss) of `head @ hidden` against `target` (−100: not counted), without N×V logits."""
    if kernels() == "liger":
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        fused = LigerFusedLinearCrossEntropyLoss(ignore_index=-100, reduction="sum", lse_square_scale=z_loss)
        return fused(head_VD, hidden_ND, target_N)
    from torch.nn.functional import cross_entropy

    from models.fused import chunked

    def loss_of(logits_NV: "torch.Tensor", target_N: "torch.Tensor") -> "torch.Tensor":
        loss = cross_entropy(logits_NV, target_N, ignore_index=-100, reduction="sum")
        return loss + z_loss * (logits_NV.logsumexp(-1)[target_N >= 0] ** 2).sum() if z_loss else loss

    return chunked(loss_of, hidden_ND, head_VD, target_N)


def precision() -> str:
    """accelerate's word for the arithmetic of training: `bf16` on CUDA and on a CPU that is faster so, else `no`.

    Weights, norms, attention and sums stay float32 on a CPU; the products of layers and head are rounded, as on a GPU.
    What a CPU does better is measured once in a process; OPENMIDM_PRECISION=bf16|no says otherwise.
    """
    return os.environ.get("OPENMIDM_PRECISION") or ("bf16" if device().type == "cuda" or _bf16_is_faster() else "no")


@cache
def _bf16_is_faster() -> bool:
    import torch

    a, b = torch.ones(1024, 320), torch.ones(320, 768)
    return _seconds(a, b) > FASTER * _seconds(a.bfloat16(), b.bfloat16())


def _seconds(a: "torch.Tensor", b: "torch.Tensor", rounds: int = 12) -> float:
    best = float("inf")  # the best of several: the first ones warm up, and a shared machine disturbs others
    for _ in range(rounds):
        start = time.perf_counter()
        float((a @ b)[0, 0])
        best = min(best, time.perf_counter() - start)
    return best


@cache
def keep_memory() -> None:
    """Tells glibc to keep freed memory: what it gives back comes again as page faults, a tenth of a small step."""
    import ctypes
    import platform

    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def peak_flops() -> float:
    """FLOP/s this device can reach in a matmul: a datasheet figure on known GPUs, a short float32 probe elsewhere."""
    import torch

    name = torch.cuda.get_device_name() if device().type == "cuda" else ""
    if any(chip in name for chip in ("H100", "H200")):
        return 989e12  # dense bf16, vendor datasheet
    a = torch.ones(1024, 1024, device=device(), dtype=torch.bfloat16 if name else torch.float32)
    return 2 * 1024**3 / _seconds(a, a)


def peak_memory() -> float:
    """GiB that this process has held at most: of the GPU if there is one, else of the machine."""
    import resource

    import torch

    if device().type == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**30, 3)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)
