"""Heals and improves the grown model on phase 2, the best of the text, while the learning rate anneals."""

from pathlib import Path

from pipelines._journal import Journal
from pipelines._stage import enter
from pipelines._training import Phase, TextParams


class Params(TextParams):
    pass


def main(*, student: Path, tokens: Path, out: Path, scratch: Path, params: Params, journal: Journal) -> None:
    """student: the upscaled model; tokens: tokenize folder; out: Hugging Face folder."""
    from models import checkpoints

    phase = Phase(params, tokenizer=student, validation=tokens, scratch=scratch, out=out, journal=journal)
    phase.learn(checkpoints.load(student), tokens, "phase2")


if __name__ == "__main__":
    enter(main)
