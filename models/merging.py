"""Knows how checkpoints of one shape become one: weighted means, arcs on the sphere, sums of what each has learnt.

All arithmetic is float32, tensor by tensor; each rule says how many tensors it made.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    Rule = Callable[["Sequence[torch.Tensor]", "Sequence[float]"], tuple["torch.Tensor", str]]

Method = Literal["linear", "slerp", "task_arithmetic"]
COLINEAR = 0.9995  # cosine from which an arc is a line in float32 (mergekit takes the same)


def merged(
    models: "Sequence[Mapping[str, torch.Tensor]]", weights: Sequence[float], method: Method
) -> "tuple[dict[str, torch.Tensor], dict[str, int]]":
    """One model's tensors of those of several, and how many each rule made.

    linear: Σ wᵢ θᵢ / Σ wᵢ (Wortsman et al. 2022). slerp: of two, w₁ / (w₀ + w₁) of the way along the arc from the first
    to the second, by tensor; a line where they are colinear. task_arithmetic: θ₀ + Σ wᵢ (θᵢ − θ₀), whose w₀ counts for
    nothing (Ilharco et al. 2023). Raises ValueError for weights that no method can take.
    """
    if len(models) != len(weights):
        raise ValueError(f"{len(models)} models and {len(weights)} weights; give one of each")
    if method == "slerp" and len(models) != 2:
        raise ValueError(f"slerp goes from one model to another, and these are {len(models)}; take linear for several")
    if method != "task_arithmetic" and not sum(weights) > 0:
        raise ValueError(f"weights {list(weights)} do not sum to more than 0; raise one")
    made, rules = {}, Counter[str]()
    for name, first in models[0].items():
        made[name], rule = RULES[method]([model[name].float() for model in models], weights)
        made[name] = made[name].to(first.dtype)
        rules[rule] += 1
    return made, dict(rules)


def check_alike(folders: Sequence[Path], models: "Sequence[Mapping[str, torch.Tensor]]") -> None:
    """ValueError naming the tensor or the file in which a folder is not of the first one's kind."""
    for folder, model in zip(folders[1:], models[1:], strict=True):
        pair = f"{folders[0]} and {folder} cannot be merged"
        if odd := sorted(models[0].keys() ^ model.keys()):
            raise ValueError(f"{pair}: only one of them has {odd[0]}; take checkpoints of one shape")
        for name, tensor in models[0].items():
            if tensor.shape != model[name].shape:
                shapes = f"{list(tensor.shape)} and {list(model[name].shape)}"
                raise ValueError(f"{pair}: {name} is {shapes}; take checkpoints of one shape")
        for file in ("tokenizer.json", "config.json"):
            if (folders[0] / file).read_bytes() != (folder / file).read_bytes():
                raise ValueError(f"{pair}: {file} differs; take checkpoints that came of one model")


def _linear(tensors: "Sequence[torch.Tensor]", weights: Sequence[float]) -> "tuple[torch.Tensor, str]":
    return _sum(tensors, [weight / sum(weights) for weight in weights]), "linear"


def _slerp(tensors: "Sequence[torch.Tensor]", weights: Sequence[float]) -> "tuple[torch.Tensor, str]":
    """sin((1−t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b, Ω the angle between them (Shoemake 1985)."""
    import torch

    a, b = tensors
    cosine = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)
    if not abs(float(cosine)) < COLINEAR:
        return _linear(tensors, weights)
    angle, part = cosine.acos(), weights[1] / sum(weights)
    shares = [float(torch.sin(angle * way) / torch.sin(angle)) for way in (1 - part, part)]
    return _sum(tensors, shares), "slerp"


def _task_arithmetic(tensors: "Sequence[torch.Tensor]", weights: Sequence[float]) -> "tuple[torch.Tensor, str]":
    return _sum(tensors, [1 - sum(weights[1:]), *weights[1:]]), "task_arithmetic"


def _sum(tensors: "Sequence[torch.Tensor]", weights: Sequence[float]) -> "torch.Tensor":
    import torch

    return torch.stack([weight * tensor for weight, tensor in zip(weights, tensors, strict=True)]).sum(0)


RULES: "dict[Method, Rule]" = {"linear": _linear, "slerp": _slerp, "task_arithmetic": _task_arithmetic}
