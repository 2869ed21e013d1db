"""Trains the seed model from nothing on phase 1 of the corpus."""

from pathlib import Path

from pydantic import Field

from pipelines._journal import Journal
from pipelines._stage import StageParams, enter
from pipelines._training import Phase, TextParams


class ShapeParams(StageParams):
    """The seed's shape; vocabulary rows follow from the tokenizer."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_theta: float


class Params(TextParams):
    shape: ShapeParams
    induction: bool  # heads that find what followed a token before are given to it, and held (models/induction.py)
    twins: float = Field(ge=0, lt=1)  # cosine at which a word's embeddings, with and without a space before it, begin


def main(*, tokens: Path, tokenizer: Path, out: Path, scratch: Path, params: Params, journal: Journal) -> None:
    """tokens: tokenize folder; out: Hugging Face folder of the seed, embeddings untied as in the reference Base."""
    from models import induction
    from models.batches import vocabulary_of
    from models.shapes import Shape, build, rows_for, twins_of

    rows = rows_for(vocabulary_of(tokens))
    shape = Shape(vocab_rows=rows, tied=False, context=params.context, **params.shape.model_dump())
    phase = Phase(params, tokenizer=tokenizer, validation=tokens, scratch=scratch, out=out, journal=journal)
    model = build(shape, seed=params.seed, twins=twins_of(tokenizer), alike=params.twins)
    if params.induction:
        induction.induce(model, seed=params.seed)
    phase.learn(model, tokens, "phase1")


if __name__ == "__main__":
    enter(main)
