"""Grows the seed deeper by copying layers (depth-up scaling): no training, a map of what came whence."""

import json
from pathlib import Path
from typing import Any, Literal

from pipelines._journal import Journal
from pipelines._stage import StageParams, enter


class Params(StageParams):
    layers: int  # of the grown model; at most twice the seed's
    method: Literal["overlap", "influence", "angular", "identity", "stack"]  # which layers are copied, and where to
    writes: Literal["whole", "shared"]  # of what a layer wrote, each of its copies
    calibration_windows: int  # examples on which influence and angular are measured
    context: int  # tokens per example
    seed: int  # choice of the examples


def main(*, seed: Path, tokens: Path, out: Path, params: Params, journal: Journal) -> None:
    """seed: Hugging Face folder; tokens: tokenize folder (phase 2 calibrates); out: the deeper model, mapping.json."""
    from models import checkpoints, kernels
    from models.calibration import calibration
    from models.growth import depth_up
    from models.shapes import describe, shape_of

    batches = calibration(tokens, windows=params.calibration_windows, context=params.context, seed=params.seed)
    model: Any = checkpoints.load(seed)
    model.to(kernels.device())
    chosen = params.model_dump(include={"layers", "method", "writes"})
    grown, mapping = depth_up(model, **chosen, batches=batches)
    checkpoints.save(grown, out, tokenizer=seed)
    (out / "mapping.json").write_text(json.dumps(mapping, indent=1) + "\n", encoding="utf-8")
    journal.conclude(shape=describe(shape_of(grown.config)), mapping=mapping)


if __name__ == "__main__":
    enter(main)
