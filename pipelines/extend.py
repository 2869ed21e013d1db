"""Lengthens the context: a larger RoPE theta and longer windows in a new order. Its result is Base."""

from pathlib import Path

from pipelines._journal import Journal
from pipelines._stage import enter
from pipelines._training import Phase, TextParams


class Params(TextParams):
    rope_theta: float  # new base of the rotary angles (midm-facts: marin's 1.5M at 32K)


def main(*, student: Path, tokens: Path, out: Path, scratch: Path, params: Params, journal: Journal) -> None:
    """student: the midtrained model; `context` is the new length; out: Hugging Face folder of Base."""
    from models import checkpoints
    from models.growth import with_context

    phase = Phase(params, tokenizer=student, validation=tokens, scratch=scratch, out=out, journal=journal)
    longer = with_context(checkpoints.load(student), context=params.context, rope_theta=params.rope_theta)
    phase.learn(longer, tokens, "phase2")


if __name__ == "__main__":
    enter(main)
