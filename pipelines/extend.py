"""Lengthens the context: a larger RoPE theta and longer windows in a new order. Its result is Base."""

from functools import partial
from pathlib import Path
from typing import Any

from pipelines._journal import Journal
from pipelines._stage import enter
from pipelines._training import Phase, TextParams


class Params(TextParams):
    rope_theta: float  # new base of the rotary angles (midm-facts: marin's 1.5M at 32K)


def main(*, student: Path, tokens: Path, out: Path, scratch: Path, params: Params, journal: Journal) -> None:
    """student: the midtrained model; `context` is the new length; out: Hugging Face folder of Base.

    How the new length is used, before and after, stands in the report (evals/long_context.py).
    """
    from evals.long_context import long_context
    from models import checkpoints, kernels
    from models.growth import with_context

    judge = partial(long_context, tokens=tokens, tokenizer=student, context=params.context)
    phase = Phase(params, tokenizer=student, validation=tokens, scratch=scratch, out=out, journal=journal)
    short: Any = checkpoints.load(student)
    short.to(kernels.device())
    before = judge(short)
    longer = with_context(short.cpu(), context=params.context, rope_theta=params.rope_theta)
    phase.learn(longer, tokens, "phase2", judge=lambda model: {"after": judge(model)}, before=before)


if __name__ == "__main__":
    enter(main)
