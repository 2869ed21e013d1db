"""Turns Mini into one artifact that apps can open, and lets it out only if it still is Mini."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from export import artifacts, checkpoint, gguf, manifest, material, onnx, verify
from models import calibration as activations
from models import reference
from models.memory import Memory
from pipelines._journal import Journal
from pipelines._provenance import lineage
from pipelines._stage import StageError, StageParams, enter


class Limits(StageParams):
    """How far an artifact may stand from Mini over the gate's texts."""

    mean_kl: float = Field(ge=0, description="largest mean KL to Mini, nats per token")
    tail_kl: float = Field(ge=0, description="largest KL but for one position in a thousand")
    logit_gap: float = Field(ge=0, description="largest difference of any one logit")
    top1: float = Field(ge=0, le=1, description="smallest share of positions whose likeliest token is Mini's")
    greedy: float = Field(ge=0, le=1, description="smallest share of Mini's greedy tokens that it generates too")


class Blocks(StageParams):
    """How ONNX weights are rounded."""

    block_size: int = Field(ge=16, description="columns that share a scale, a power of two")
    symmetric: bool = Field(description="no zero point")


class Params(StageParams):
    basename: str = Field(description="first part of the artifact's name, as ggml's naming convention has it")
    finetune: str = Field(description="what the model was tuned to, as the name says it")
    version: str = Field(pattern=r"^v\d+(\.\d+)*$", description="version in the name, such as v0.1")
    license: str = Field(description="SPDX identifier written into every artifact")
    languages: list[str] = Field(description="ISO 639-1 codes written into every artifact")
    base_model: str = Field(description="name of the model that Mini was made from")
    gate_texts: int = Field(ge=1, description="calibration documents the gate reads")
    gate_characters: int = Field(ge=1, description="characters of each whose token ids are compared")
    gate_tokens: int = Field(ge=2, description="tokens of each whose logits are compared")
    importance_texts: int = Field(ge=0, description="further calibration documents that weigh the columns of matrices")
    onnx: Blocks
    limits: dict[str, Limits] = Field(description="limits by artifact name")


def main(
    *, model: Path, calibration: Path | None, name: str, out: Path, memory: Path | None = None,
    params: Params, journal: Journal,
) -> None:  # fmt: skip
    """Writes the artifact `name` of `model` with its manifest; raises ValueError when it is refused.

    calibration: mix, for texts to judge and to weigh by; without it a few of our own. memory: see models/memory.py.
    """
    if (kind := artifacts.kind(name)) not in artifacts.SETTINGS or kind not in params.limits:
        raise StageError(f"--name {name}: no artifact that has export.limits; use {artifacts.NAMES}")
    parent = checkpoint.read(model)
    card = gguf.Card(**params.model_dump(include=set(gguf.Card.__dataclass_fields__)))
    wanted = {"count": params.gate_texts + params.importance_texts, "characters": params.gate_characters}
    texts = material.texts(calibration, **wanted)
    kept = Memory(memory, model, reference.__file__, activations.__file__)
    opening = [] if parent.bos is None else [parent.bos]
    rows = [opening + ids for ids in verify.parent_ids(parent, texts[params.gate_texts :] or texts)]
    weigh = activations.input_squares if kind == name else activations.loss_weights
    importance = partial(kept.recall, [weigh.__name__, *rows], partial(weigh, model, rows))
    notes = artifacts.make(name, parent, card, out, importance=importance, blocks=onnx.Blocks(**dict(params.onnx)))
    gate: dict[str, Any] = {"texts": texts[: params.gate_texts], "longest": params.gate_tokens, "card": card}
    gate |= {"reference": reference.logits(model, kept)} | params.limits[kind].model_dump()
    verdict = verify.verify(out, parent=parent, **gate)
    made = lineage(params.model_dump(), model=model, calibration=calibration)
    size = manifest.write(out, name=name, parent=parent, card=card, lineage=made)
    journal.conclude(**asdict(verdict), **notes, size_bytes=size, parameters=parent.parameters, license=params.license)


if __name__ == "__main__":
    enter(main)
