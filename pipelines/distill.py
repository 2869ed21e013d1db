"""Teaches the pruned model what Base knows: next-token distributions matched token by token."""

from pathlib import Path
from typing import Literal

from pipelines._journal import Journal
from pipelines._stage import enter
from pipelines._training import Phase, TrainingParams


class Params(TrainingParams):
    divergence: Literal["forward_kl", "reverse_kl", "jsd"]
    temperature: float  # of both distributions
    ce_weight: float  # share of plain cross-entropy


def main(
    *, teacher: Path, student: Path, tokens: Path, out: Path, scratch: Path, params: Params, journal: Journal
) -> None:
    """teacher: Base; student: the pruned model; tokens: tokenize folder; out: Hugging Face folder."""
    from models import checkpoints
    from models.batches import Packed, TokenShard
    from models.objectives import Distillation

    model, settings = checkpoints.load(student), params.model_dump(include={"divergence", "temperature", "ce_weight"})
    objective = Distillation(checkpoints.load(teacher), model, **settings)
    packed = Packed(TokenShard.open(tokens, "phase2"), params.context, params.seed)
    phase = Phase(params, tokenizer=student, validation=tokens, scratch=scratch, out=out, journal=journal)
    phase.train(model, objective, packed.batch)


if __name__ == "__main__":
    enter(main)
