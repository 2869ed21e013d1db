"""Knows how checkpoints of one shape become one: weighted means, arcs on the sphere, sums of what each has learnt.

All arithmetic is float32, tensor by tensor; each rule says how many tensors it made.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models.shapes import shape_of

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

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


def check_alike(folders: Sequence[Path], models: "Sequence[LlamaForCausalLM]") -> None:
    """ValueError naming the tensor, the number or the file in which a folder is not of the first one's kind."""
    first, own = models[0].state_dict(), vars(shape_of(models[0].config))
    for folder, model in zip(folders[1:], models[1:], strict=True):
        theirs, shape = model.state_dict(), vars(shape_of(model.config))
        odd = [f"only one has {name}" for name in sorted(first.keys() ^ theirs.keys())]
        shapes = {name: (list(first[name].shape), list(theirs[name].shape)) for name in first.keys() & theirs.keys()}
        odd += [f"{name} is {one} and {other}" for name, (one, other) in sorted(shapes.items()) if one != other]
        odd += [f"{key} is {own[key]} and {shape[key]}" for key in own if own[key] != shape[key]]
        if (folders[0] / "tokenizer.json").read_bytes() != (folder / "tokenizer.json").read_bytes():
            odd.append("tokenizer.json differs")
        if odd:
            raise ValueError(f"{folders[0]} and {folder} cannot be merged: {odd[0]}; take checkpoints of one model")


def _linear(tensors: "Sequence[torch.Tensor]", weights: Sequence[float]) -> "tuple[torch.Tensor, str]":
    return _sum(tensors, [weight / sum(weights) for weight in weights]), "linear"


def _slerp(tensors: "Sequence[torch.Tensor]", weights: Sequence[float]) -> "tuple[torch.Tensor, str]":
    """sin((1−t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b, Ω the angle between them (Shoemake 1985)."""
    import torch

    a, b = tensors
    cosine = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)
    if abs(float(cosine)) > COLINEAR or not (a.any() and b.any()):  # zeros have no angle
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
