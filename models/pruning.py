"""Knows how a model becomes smaller: which channels, heads and layers are kept, and what the student takes of them.

Everything kept is named by its number in the teacher, however many rounds it took to choose it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models import induction
from models.calibration import importance, influence
from models.growth import Mapping
from models.shapes import Shape, build, shape_of

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

CUT = ("hidden", "ffn", "heads", "layers")  # of a Shape: what pruning may lessen; the rest is the teacher's


@dataclass(frozen=True)
class Kept:
    """Numbers of what is left of the teacher, in order: hidden channels, layers, and FFN channels and heads of each."""

    hidden: "torch.Tensor"
    layers: list[int]
    ffn: "list[torch.Tensor]"
    heads: "list[torch.Tensor]"

    def mapping(self) -> Mapping:
        """The hidden channels first, then one row for each layer of the student."""
        rows = zip(self.layers, self.ffn, self.heads, strict=True)
        own = [{"from": layer, "ffn": ffn.tolist(), "heads": heads.tolist()} for layer, ffn, heads in rows]
        return [{"hidden": self.hidden.tolist()}, *({"layer": n} | row for n, row in enumerate(own))]


def prune(
    teacher: "LlamaForCausalLM", batches: "Sequence[torch.Tensor]", *, target: Shape, rounds: int = 1
) -> tuple["LlamaForCausalLM", Mapping]:
    """The teacher at `target`'s hidden, ffn, heads and layers, by what acts least on `batches` (ids [B, T]).

    In `rounds` equal cuts, importance measured anew after each, for what is dropped changes what the rest must do
    (Minitron, arXiv 2407.14679, §4). Heads go alike from every group that shares keys and values, in the last cut.
    The student's embeddings are tied. Raises ValueError when a target exceeds the teacher or leaves uneven groups.
    """
    shape = shape_of(teacher.config)
    _check(shape, target)
    kept, student = everything(shape), teacher
    for done in range(1, rounds + 1):
        aim = target if done == rounds else _between(shape, target, done / rounds)
        scores: dict[str, Any] = {**importance(student, batches), "layers": influence(student, batches)}
        induction.spare(student.config, scores)
        kept = narrowed(kept, scores, aim)
        student = cut(teacher, kept)
    return student, kept.mapping()


def everything(shape: Shape) -> Kept:
    """All of a model of this shape."""
    import torch

    per_layer = [[torch.arange(count) for _ in range(shape.layers)] for count in (shape.ffn, shape.heads)]
    return Kept(torch.arange(shape.hidden), list(range(shape.layers)), *per_layer)


def narrowed(kept: Kept, scores: dict[str, Any], target: Shape) -> Kept:
    """The best-scoring part of what is kept; `scores` count in its own numbers: "hidden" [D], "ffn" [L, F],
    "heads" [L, H], "layers" [L]."""
    import torch

    def best(score: "torch.Tensor", count: int) -> "torch.Tensor":
        return torch.sort(torch.topk(score, count).indices).values

    def best_heads(score_H: "torch.Tensor") -> "torch.Tensor":
        score_KG = score_H.view(target.kv_heads, -1)
        per_group = [best(row, target.heads // target.kv_heads) for row in score_KG]
        return torch.cat([group + n * score_KG.shape[1] for n, group in enumerate(per_group)])

    layers = best(torch.tensor(scores["layers"]), target.layers).tolist()
    return Kept(
        kept.hidden[best(scores["hidden"], target.hidden)],
        [kept.layers[n] for n in layers],
        [kept.ffn[n][best(scores["ffn"][n], target.ffn)] for n in layers],
        [kept.heads[n][best_heads(scores["heads"][n])] for n in layers],
    )


def cut(teacher: "LlamaForCausalLM", kept: Kept) -> "LlamaForCausalLM":
    """The student that consists of the kept parts, its embeddings tied."""
    shape = shape_of(teacher.config)
    width = {"hidden": len(kept.hidden), "ffn": len(kept.ffn[0]), "heads": len(kept.heads[0])}
    smaller = replace(shape, layers=len(kept.layers), tied=True, **width)
    student = build(smaller, seed=0, device="meta" if teacher.device.type == "meta" else "cpu")
    induction.carry(teacher.config, student.config, kept.layers)
    weights = tied(teacher.state_dict(), induction.channels(teacher.config))
    student.load_state_dict({name: _part(name, weights, kept, shape.head_dim) for name in student.state_dict()})
    return student


def _check(shape: Shape, target: Shape) -> None:
    wanted, own = ("/".join(str(getattr(it, name)) for name in CUT) for it in (target, shape))
    if any(getattr(target, name) > getattr(shape, name) for name in CUT):
        raise ValueError(f"prune to {'/'.join(CUT)} {wanted} exceeds the teacher's {own}; lower prune's numbers")
    if target.heads % target.kv_heads:
        raise ValueError(f"prune.heads = {target.heads}: not a multiple of the teacher's {shape.kv_heads} groups")


def _between(shape: Shape, target: Shape, share: float) -> Shape:
    """The shape after `share` of the way; heads wait for the last cut, for transformers wants them to divide hidden."""

    def part(name: str, unit: int) -> int:
        own, aim = getattr(shape, name), getattr(target, name)
        return own - int((own - aim) * share / unit) * unit

    return replace(shape, hidden=part("hidden", shape.heads), ffn=part("ffn", 1), layers=part("layers", 1))


def _part(name: str, given: dict[str, Any], kept: Kept, head_dim: int) -> "torch.Tensor":
    import torch

    words = name.split(".")
    part = words[-2]
    if part in ("embed_tokens", "lm_head"):
        return given[name][:, kept.hidden]
    if part == "norm":
        return given[name][kept.hidden]
    n = int(words[2])
    weight, ffn = given[".".join([*words[:2], str(kept.layers[n]), *words[3:]])], kept.ffn[n]
    wide = (kept.heads[n][:, None] * head_dim + torch.arange(head_dim)).flatten()
    rows = {"gate_proj": ffn, "up_proj": ffn, "q_proj": wide}
    if part in ("k_proj", "v_proj"):
        return weight[:, kept.hidden]
    if part in rows:
        return weight[rows[part]][:, kept.hidden]
    columns = {"down_proj": ffn, "o_proj": wide}
    return weight[kept.hidden][:, columns[part]] if part in columns else weight[kept.hidden]  # norms


def tied(given: dict[str, Any], own: int = 0) -> dict[str, Any]:
    """The weights with one matrix as embeddings and head: their mean, the head brought to the embeddings' size first.

    The last norm divides by what that enlarged the head. The first `own` channels stay the embeddings'.
    """
    embedding, head = given["model.embed_tokens.weight"], given["lm_head.weight"]
    larger = embedding.norm() / head.norm()
    mean = (embedding + larger * head) / 2
    mean[:, :own] = embedding[:, :own]
    both = dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), mean)
    return given | both | {"model.norm.weight": given["model.norm.weight"] / larger}
