"""Knows how a model grows deeper and becomes narrower: depth-up copies, width pruning, and what came whence."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.shapes import build, shape_of

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

Mapping = list[dict[str, Any]]


def depth_up(seed: "LlamaForCausalLM", *, layers: int) -> tuple["LlamaForCausalLM", Mapping]:
    """SOLAR's overlap copy (Kim et al. 2023, §2): the first and the last `layers/2` layers of the seed, stacked.

    32 → 48 gives [0,24) + [8,32) as midm-facts has it. The mapping names for each new layer the one it came from.
    Raises ValueError unless seed layers ≤ `layers` ≤ 2 · seed layers and `layers` is even.
    """
    shape = shape_of(seed.config)
    if layers % 2 or not shape.layers <= layers <= 2 * shape.layers:
        raise ValueError(f"upscale.layers = {layers}: must be even and within {shape.layers}…{2 * shape.layers}")
    sources = [*range(layers // 2), *range(shape.layers - layers // 2, shape.layers)]
    grown = build(replace(shape, layers=layers), seed=0)
    given, number = seed.state_dict(), re.compile(r"(?<=^model\.layers\.)\d+")
    taken = {name: number.sub(lambda layer: str(sources[int(layer[0])]), name) for name in grown.state_dict()}
    grown.load_state_dict({name: given[source] for name, source in taken.items()})
    copied = [source in sources[:layer] for layer, source in enumerate(sources)]
    rows = zip(sources, copied, strict=True)
    return grown, [{"layer": layer, "from": source, "copy": copy} for layer, (source, copy) in enumerate(rows)]


def with_context(model: "LlamaForCausalLM", *, context: int, rope_theta: float) -> "LlamaForCausalLM":
    """The same weights under a longer context and another RoPE theta (rotary tables are made anew, not scaled)."""
    longer = build(replace(shape_of(model.config), context=context, rope_theta=rope_theta), seed=0)
    longer.load_state_dict(model.state_dict())
    return longer


def importance(model: "LlamaForCausalLM", batches: list["torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """Mean absolute activation of each hidden channel (over all norms' outputs) and FFN channel (Minitron, §2.2).

    `batches`: id tensors [B, T]. Returns {"hidden": [D], "ffn": [layers, F]}.
    """
    import torch

    layers = model.model.layers
    hidden = torch.zeros(model.config.hidden_size)
    ffn = torch.zeros(len(layers), model.config.intermediate_size)

    def record(scores: "torch.Tensor", activation_BTC: "torch.Tensor") -> None:
        scores.add_(activation_BTC.abs().mean((0, 1)).cpu())

    hooks = []
    for layer, row in zip(layers, ffn, strict=True):
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            hooks.append(norm.register_forward_hook(lambda _m, _i, out: record(hidden, out)))
        hooks.append(layer.mlp.down_proj.register_forward_pre_hook(lambda _m, given, row=row: record(row, given[0])))
    with torch.no_grad():
        for ids_BT in batches:
            model.model(input_ids=ids_BT, use_cache=False)
    for hook in hooks:
        hook.remove()
    return {"hidden": hidden / (2 * len(layers) * len(batches)), "ffn": ffn / len(batches)}


def prune_width(
    teacher: "LlamaForCausalLM", scores: dict[str, "torch.Tensor"], *, hidden: int, ffn: int
) -> tuple["LlamaForCausalLM", Mapping]:
    """Keeps the highest-scoring `hidden` and `ffn` channels at constant depth and attention geometry; ties embeddings.

    Widths should be multiples of 256 so that K-quants apply (midm-facts, llama.cpp). The head's rows serve as the tied
    embedding: they carry what distillation cannot quickly relearn. Raises ValueError when a target exceeds the teacher.
    """
    import torch

    shape = shape_of(teacher.config)
    if hidden > shape.hidden or ffn > shape.ffn:
        given = f"the teacher's {shape.hidden}/{shape.ffn}"
        raise ValueError(f"prune to {hidden}/{ffn} exceeds {given}; lower prune.hidden or prune.ffn")
    kept = torch.sort(torch.topk(scores["hidden"], hidden).indices).values
    kept_ffn = [torch.sort(torch.topk(row, ffn).indices).values for row in scores["ffn"]]
    student = build(replace(shape, hidden=hidden, ffn=ffn, tied=True), seed=0)
    weights = teacher.state_dict()
    student.load_state_dict({name: _slice(name, weights, kept, kept_ffn) for name in student.state_dict()})
    mapping: Mapping = [{"hidden": kept.tolist()}]
    mapping += [{"layer": n, "ffn": rows.tolist()} for n, rows in enumerate(kept_ffn)]
    return student, mapping


def _slice(name: str, given: dict[str, Any], kept: "torch.Tensor", kept_ffn: list["torch.Tensor"]) -> "torch.Tensor":
    part = name.split(".")[-2]
    if part in ("embed_tokens", "lm_head"):
        return given["lm_head.weight"][:, kept]
    if part in ("gate_proj", "up_proj", "down_proj"):
        rows = kept_ffn[int(name.split(".")[2])]
        return given[name][kept][:, rows] if part == "down_proj" else given[name][rows][:, kept]
    columns = part in ("q_proj", "k_proj", "v_proj")
    return given[name][:, kept] if columns else given[name][kept]  # o_proj and norms by rows
