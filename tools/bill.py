"""Knows what training costs by arithmetic: the shapes of the family, the FLOPs of a stage, and seconds in words."""

from typing import Any

from models.optimizers import ROUNDS
from models.shapes import Shape, rows_for


def family(params: dict[str, Any]) -> dict[str, Shape]:
    """The shape that each training stage trains, as the stages themselves will make it."""
    rows, first = rows_for(params["tokenizer"]["vocab_size"]), params["pretrain"]
    seed = Shape(vocab_rows=rows, tied=False, context=first["context"], **first["shape"])
    base = Shape(**(vars(seed) | {"layers": params["upscale"]["layers"]}))
    kept = {name: params["prune"][name] for name in ("hidden", "ffn", "heads", "layers")}
    mini = Shape(**(vars(base) | kept | {"tied": True}))
    grown = dict.fromkeys(("upscale", "midtrain", "extend"), base)
    return {"pretrain": seed, **grown, **dict.fromkeys(("prune", "distill", "sft", "dpo", "qad"), mini)}


def flops(stage: str, params: dict[str, Any], shapes: dict[str, Shape]) -> float:
    """FLOPs of a training stage: the model's, a frozen teacher's or reference's forward, and the optimizer's."""
    own, shape = params[stage], shapes[stage]
    frozen = shape if stage == "dpo" else frozen_of(stage, shapes)  # a reference that speaks once, before the training
    per_token = shape.flops_per_token(own["context"])
    per_token += frozen.flops_per_token(own["context"]) / 3 if frozen else 0
    rows = 2 if stage == "dpo" else 1  # an example of `context` tokens is a pair: a chosen and a rejected row
    return rows * own["tokens"] * per_token + muon_flops(shape, own)


def frozen_of(stage: str, shapes: dict[str, Shape]) -> Shape | None:
    """What stands beside the trained model: Base as the teacher, or the model itself."""
    return {"distill": shapes.get("extend"), "qad": shapes.get("dpo")}.get(stage)


def muon_flops(shape: Shape, own: dict[str, Any]) -> float:
    """What orthogonalising hidden matrices costs: a round takes about 2 × width per weight and step."""
    hidden = shape.parameters() - (1 if shape.tied else 2) * shape.vocab_rows * shape.hidden
    steps = own["tokens"] / own["batch_tokens"]
    return steps * ROUNDS.get(own["optimizer"], 0) * 2 * shape.hidden * hidden


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    for unit, size in {"days": 86400.0, "hours": 3600.0, "min": 60.0}.items():
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"
