"""Knows which optimizer moves which weight: Muon the hidden matrices, AdamW the rest."""

from typing import TYPE_CHECKING, Any

from models import induction, kernels

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    from models.fit import Plan


POLAR = ((8.0934, -23.6205, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))  # of x, x³, x⁵, by round
ROUNDS = {"muon": 4, "muon_polar": len(POLAR)}  # of torch's 5: 2.6248 bits per byte for 2.6243 (docs/log.md)


def optimizers_of(model: "LlamaForCausalLM", plan: "Plan") -> list["torch.optim.Optimizer"]:
    """Muon on the hidden matrices, AdamW on embeddings, head, norms and adapters; or on all.

    Hidden matrices alone decay: as the layers' outputs are normed, nothing else holds their size against the step's,
    and once they dwarf the embeddings no layer can read the token (docs/log.md, twelfth sitting).
    """
    import torch

    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    inner = {n: w for n, w in named.items() if w.ndim == 2 and "embed_tokens" not in n and "lm_head" not in n}
    whole = {name: weight for name, weight in inner.items() if "lora_" not in name}  # a factor is no map of its own
    by_muon = whole if plan.optimizer in ROUNDS else {}
    decaying = [weight for name, weight in inner.items() if name not in by_muon]
    others = {name: weight for name, weight in named.items() if name not in inner}
    norms = [weight for weight in others.values() if weight.ndim == 1]
    tables = [weight for weight in others.values() if weight.ndim == 2]
    still: dict[str, Any] = {"weight_decay": 0.0}
    groups = [{"params": decaying}, still | {"params": norms}, still | {"params": tables, "times": plan.embedding_rate}]
    own: dict[str, Any] = {"lr": plan.learning_rate, "weight_decay": plan.weight_decay}
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, fused=True, **own)
    muon_only: dict[str, Any] = {"momentum": 0.95, "ns_steps": ROUNDS["muon"], "adjust_lr_fn": "match_rms_adamw"}
    of_torch = torch.optim.Muon if kernels.precision() == "bf16" else _muon_in_float32()
    muon = _polar_muon() if plan.optimizer == "muon_polar" else of_torch
    made = [*([muon(by_muon.values(), **muon_only, **own)] if by_muon else []), adamw]
    induction.hold(model, made)
    return made


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


def _polar_muon() -> type["torch.optim.Muon"]:
    """torch's Muon, but for how it makes a matrix orthogonal: by polynomials of singular values that differ from round
    to round, each the nearest to 1 on what the one before leaves of [0.01, 1] (Polar Express, Amsel et al. 2025, arXiv
    2505.16932, §3). They begin at σ / (Σσ⁴)^¼, which is larger than torch's σ / (Σσ²)^½ and costs no more."""
    import torch

    rounded = kernels.precision() == "bf16"

    def orthogonal(update: "torch.Tensor") -> "torch.Tensor":
        tall = len(update) > update.shape[1]
        wide = update.T if tall else update
        wide = wide.bfloat16() if rounded else wide
        gram = wide @ wide.T
        size = gram.norm().clamp(min=1e-14)
        wide, gram = wide / size.sqrt(), gram / size
        for number, (a, b, c) in enumerate(POLAR):
            gram = wide @ wide.T if number else gram
            wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
        return wide.T if tall else wide

    class Muon(torch.optim.Muon):
        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for weight in (weight for weight in group["params"] if weight.grad is not None):
                    if weight not in self.state:
                        self.state[weight]["momentum_buffer"] = torch.zeros_like(weight.grad)
                    momentum = self.state[weight]["momentum_buffer"]
                    momentum.lerp_(weight.grad, 1 - group["momentum"])
                    update = orthogonal(weight.grad.lerp(momentum, group["momentum"]))
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update, alpha=-0.2 * group["lr"] * max(weight.shape) ** 0.5)
            return None  # accelerate gives no closure

    return Muon
