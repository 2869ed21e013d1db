"""Knows which optimizer moves which weight: Muon the hidden matrices, AdamW the rest."""

from typing import TYPE_CHECKING, Any

from models import kernels

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    from models.fit import Plan


NEWTON_SCHULZ = 4  # rounds of 5 by default: 2.6248 bits per byte for 2.6243, a fifth of Muon's cost saved (docs/log.md)


def optimizers_of(model: "LlamaForCausalLM", plan: "Plan") -> list["torch.optim.Optimizer"]:
    """Muon on the hidden matrices, AdamW on embeddings, head, norms and adapters; or on all.

    Hidden matrices alone decay: as the layers' outputs are normed, nothing else holds their size against the step's,
    and once they dwarf the embeddings no layer can read the token (docs/log.md, twelfth sitting).
    """
    import torch

    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    inner = {n: w for n, w in named.items() if w.ndim == 2 and "embed_tokens" not in n and "lm_head" not in n}
    whole = {name: weight for name, weight in inner.items() if "lora_" not in name}  # a factor is no map of its own
    by_muon = whole if plan.optimizer == "muon" else {}
    decaying = [weight for name, weight in inner.items() if name not in by_muon]
    others = [weight for name, weight in named.items() if name not in inner]
    groups: list[dict[str, Any]] = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    own: dict[str, Any] = {"lr": plan.learning_rate, "weight_decay": plan.weight_decay}
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, fused=True, **own)
    muon_only: dict[str, Any] = {"momentum": 0.95, "ns_steps": NEWTON_SCHULZ, "adjust_lr_fn": "match_rms_adamw"}
    muon = torch.optim.Muon if kernels.precision() == "bf16" else _muon_in_float32()
    return [*([muon(by_muon.values(), **muon_only, **own)] if by_muon else []), adamw]


def _muon_in_float32() -> type["torch.optim.Muon"]:
    """torch's own without its cast: on a processor without products of bf16 a step took 10 s for 0.25 (docs/log.md)."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Uncast(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return args[0].clone() if func is torch.Tensor.bfloat16 else func(*args, **(kwargs or {}))

    class Muon(torch.optim.Muon):
        def step(self, closure: Any = None) -> Any:
            with Uncast():
                return super().step(closure)

    return Muon
