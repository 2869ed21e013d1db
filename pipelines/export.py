"""Turns Mini into one artifact that apps can open, and lets it out only if it still is Mini."""

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from corpus import shards
from export import checkpoint, gguf, manifest, onnx, optimum_box, verify
from export.texts import PLAIN_TEXTS
from models import reference
from pipelines._journal import Journal
from pipelines._provenance import lineage
from pipelines._stage import StageError, StageParams, enter

SETTINGS = {  # artifact → its maker and the precision asked of it
    "gguf-f16": (gguf.make, "F16"),
    "gguf-q8_0": (gguf.make, "Q8_0"),
    "gguf-q4_k_m": (gguf.make, "Q4_K_M"),
    "onnx-int8": (onnx.make, "int8"),
    "onnx-int4": (onnx.make, "int4"),
    "onnx-optimum": (optimum_box.make, "fp32"),
}


class Limits(StageParams):
    """How far an artifact may stand from Mini over the gate's texts."""

    mean_kl: float = Field(ge=0, description="largest mean KL to Mini, nats per token")
    tail_kl: float = Field(ge=0, description="largest KL but for one position in a thousand")
    logit_gap: float = Field(ge=0, description="largest difference of any one logit")
    top1: float = Field(ge=0, le=1, description="smallest share of positions whose likeliest token is Mini's")
    greedy: float = Field(ge=0, le=1, description="smallest share of Mini's greedy tokens that it generates too")


class Params(StageParams):
    """Parameters of export."""

    basename: str = Field(description="first part of the artifact's name, as ggml's naming convention has it")
    finetune: str = Field(description="what the model was tuned to, as the name says it")
    version: str = Field(pattern=r"^v\d+(\.\d+)*$", description="version in the name, such as v0.1")
    license: str = Field(description="SPDX identifier written into every artifact")
    languages: list[str] = Field(description="ISO 639-1 codes written into every artifact")
    base_model: str = Field(description="name of the model that Mini was made from")
    gate_texts: int = Field(ge=1, description="calibration documents the gate reads")
    gate_characters: int = Field(ge=1, description="characters of each whose token ids are compared")
    gate_tokens: int = Field(ge=2, description="tokens of each whose logits are compared")
    limits: dict[str, Limits] = Field(description="limits by artifact name")


def main(*, model: Path, calibration: Path | None, name: str, out: Path, params: Params, journal: Journal) -> None:
    """Writes the artifact `name` of `model` with its manifest; raises ValueError when it is refused.

    The gate's texts are the first training documents of the last phase, never a text that an evaluation uses; without
    `calibration` (the mix folder), a few of our own.
    """
    if name not in SETTINGS or name not in params.limits:
        raise StageError(f"--name {name}: no such artifact, or no export.limits for it; use {', '.join(SETTINGS)}")
    make, precision = SETTINGS[name]
    parent = checkpoint.read(model)
    card = gguf.Card(**params.model_dump(include=set(gguf.Card.__dataclass_fields__)))
    print(f"export: {parent.parameters:,} parameters to {name}", flush=True)
    notes = make(parent, card, precision, out)
    documents = shards.read(calibration / "phase2") if calibration else ({"text": text} for text in PLAIN_TEXTS)
    gate: dict[str, Any] = {
        "texts": [row["text"][: params.gate_characters] for row in islice(documents, params.gate_texts)]
    }
    gate |= {"card": card, "longest": params.gate_tokens, **params.limits[name].model_dump()}
    verdict = verify.verify(out, parent=parent, reference=reference.logits(model), **gate)
    made = lineage(params.model_dump(), model=model, calibration=calibration)
    size = manifest.write(out, name=name, parent=parent, card=card, lineage=made)
    journal.conclude(**asdict(verdict), **notes, size_bytes=size, parameters=parent.parameters)


if __name__ == "__main__":
    enter(main)
