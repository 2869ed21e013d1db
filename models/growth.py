"""Knows how a model grows: which layers are copied where, what came whence, and a longer context."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from models import induction
from models.calibration import angles, influence
from models.shapes import build, shape_of

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

Mapping = list[dict[str, Any]]
Method = Literal["overlap", "influence", "angular", "identity", "stack"]
Writes = Literal["whole", "shared"]
Choice = tuple[list[int], dict[int, float]]  # the layer that each new one is copied from, and scores of those copied


def depth_up(
    seed: "LlamaForCausalLM", *, layers: int, method: Method, writes: Writes = "whole",
    batches: "Sequence[torch.Tensor]" = (),
) -> tuple["LlamaForCausalLM", Mapping]:  # fmt: skip
    """Grows the seed to `layers` layers by copies; the mapping names for each the one it came from, and why.

    overlap: the first and the last `layers/2` (SOLAR, arXiv 2312.15166, §2; 32 → 48 gives [0,24) + [8,32)).
    influence: the layers that change the stream most (ShortGPT's measure), each copy right after its original.
    angular: the run of layers across which the stream turns least, repeated in place: what disturbs least.
    identity: evenly spread copies that write nothing until trained (LLaMA Pro, arXiv 2401.02415, §3.2).
    stack: the whole seed again and again (G_stack, arXiv 2405.15319).
    writes: what a layer adds to the stream is added by each of its copies whole, or shared among them, so that the
    outputs hardly change (a residual step halved where layers are doubled: Chang et al. 2018, arXiv 1710.10348, §4).
    `batches`: ids [B, T] on which influence and angular are measured. Raises ValueError for a depth a method lacks,
    and for silent copies that are to share.
    """
    shape = shape_of(seed.config)
    _check(method, shape.layers, layers)
    if (method, writes) == ("identity", "shared"):
        raise ValueError("upscale.writes = shared: identity's copies write nothing; take whole, or another method")
    sources, scores = CHOICES[method](seed, layers, batches)
    copied = [source in sources[:layer] for layer, source in enumerate(sources)]
    grown = build(replace(shape, layers=layers), seed=0, device=_place(seed))
    induction.carry(seed.config, grown.config, sources)
    given, number = seed.state_dict(), re.compile(r"(?<=^model\.layers\.)\d+")
    taken = {name: number.sub(lambda layer: str(sources[int(layer[0])]), name) for name in grown.state_dict()}
    grown.load_state_dict({name: given[source] for name, source in taken.items()})
    for layer, source, copy in zip(grown.model.layers, sources, copied, strict=True):
        if writes == "shared":
            _weaken(layer, 1 / sources.count(source))
        elif method == "identity" and copy:
            _weaken(layer, 0)
    rows = zip(sources, copied, strict=True)
    mapping = [{"layer": layer, "from": source, "copy": copy} for layer, (source, copy) in enumerate(rows)]
    return grown, [row | _reason(row, method, scores) for row in mapping]


def with_context(model: "LlamaForCausalLM", *, context: int, rope_theta: float) -> "LlamaForCausalLM":
    """The same weights under a longer context and another RoPE theta (rotary tables are made anew, not scaled)."""
    longer = build(
        replace(shape_of(model.config), context=context, rope_theta=rope_theta), seed=0, device=_place(model)
    )
    induction.carry(model.config, longer.config, range(len(model.model.layers)))
    longer.load_state_dict(model.state_dict())
    return longer


def _place(model: "LlamaForCausalLM") -> str:
    return "meta" if model.device.type == "meta" else "cpu"


def _check(method: Method, own: int, layers: int) -> None:
    whole = {"overlap": layers % 2 == 0, "stack": layers % own == 0}.get(method, True)
    if not whole or layers < own or (layers > 2 * own and method != "stack"):
        allowed = f"a multiple of {own}" if method == "stack" else f"within {own}…{2 * own}, and even for overlap"
        raise ValueError(f"upscale.layers = {layers}: must be {allowed} (upscale.method = {method})")


def _overlap(seed: "LlamaForCausalLM", layers: int, _: "Sequence[torch.Tensor]") -> Choice:
    own = len(seed.model.layers)
    return [*range(layers // 2), *range(own - layers // 2, own)], {}


def _stack(seed: "LlamaForCausalLM", layers: int, _: "Sequence[torch.Tensor]") -> Choice:
    own = len(seed.model.layers)
    return [layer % own for layer in range(layers)], {}


def _influence(seed: "LlamaForCausalLM", layers: int, batches: "Sequence[torch.Tensor]") -> Choice:
    scores = dict(enumerate(influence(seed, batches)))
    strongest = sorted(scores, key=lambda layer: -scores[layer])[: layers - len(scores)]
    return sorted([*scores, *strongest]), scores


def _angular(seed: "LlamaForCausalLM", layers: int, batches: "Sequence[torch.Tensor]") -> Choice:
    own = len(seed.model.layers)
    run = layers - own
    turns = angles(seed, batches, length=run)
    start = min(range(len(turns)), key=lambda first: turns[first])
    return [*range(start + run), *range(start, own)], dict.fromkeys(range(start, start + run), turns[start])


def _spread(seed: "LlamaForCausalLM", layers: int, _: "Sequence[torch.Tensor]") -> Choice:
    own = len(seed.model.layers)
    added = layers - own
    return sorted([*range(own), *((place + 1) * own // added - 1 for place in range(added))]), {}


CHOICES: dict[Method, Callable[..., Choice]] = {
    "overlap": _overlap, "influence": _influence, "angular": _angular, "identity": _spread, "stack": _stack,
}  # fmt: skip


def _weaken(layer: "torch.nn.Module", share: float) -> None:
    """Leaves a share of what a layer writes; what it computes stays, so that the first steps have a direction."""
    import torch

    with torch.no_grad():
        for name, weight in layer.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_(share)


def _reason(row: dict[str, Any], method: Method, scores: dict[int, float]) -> dict[str, Any]:
    if not row["copy"]:
        return {}
    return {"method": method} | ({"score": round(scores[row["from"]], 6)} if scores else {})
