"""Cuts Base to Mini's shape by activation importance, its embeddings tied."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines._journal import Journal
from pipelines._stage import StageParams, enter


class Params(StageParams):
    hidden: int = Field(multiple_of=256)  # kept hidden channels; K-quants need rows of 256 (midm-facts, llama.cpp)
    ffn: int = Field(multiple_of=256)  # kept FFN channels of each layer
    heads: int  # kept query heads of each layer; keys and values stay
    layers: int  # kept layers
    rounds: int  # equal cuts, importance measured anew after each
    calibration_windows: int  # examples whose activations are measured (Minitron: 512–1024)
    context: int  # tokens per example
    seed: int  # choice of the examples


def main(*, teacher: Path, tokens: Path, out: Path, params: Params, journal: Journal) -> None:
    """teacher: Base; tokens: tokenize folder (phase 2 calibrates); out: the smaller model and mapping.json."""
    from models import checkpoints, kernels
    from models.calibration import calibration
    from models.pruning import CUT, prune
    from models.shapes import describe, shape_of

    batches = calibration(tokens, windows=params.calibration_windows, context=params.context, seed=params.seed)
    model: Any = checkpoints.load(teacher)
    model.to(kernels.device())
    target = replace(shape_of(model.config), **params.model_dump(include=set(CUT)))
    student, mapping = prune(model, batches, target=target, rounds=params.rounds)
    checkpoints.save(student, out, tokenizer=teacher)
    (out / "mapping.json").write_text(json.dumps(mapping) + "\n", encoding="utf-8")
    before, after = describe(shape_of(model.config)), describe(shape_of(student.config))
    journal.conclude(shape=after, kept_parameters=round(after["parameters"] / before["parameters"], 4))


if __name__ == "__main__":
    enter(main)
