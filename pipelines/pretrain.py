"""Trains the seed model from nothing on phase 1 of the corpus."""

from pathlib import Path

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


def main(*, tokens: Path, tokenizer: Path, out: Path, scratch: Path, params: Params, journal: Journal) -> None:
    """tokens: tokenize folder; out: Hugging Face folder of the seed, embeddings untied as in the reference Base."""
    from models.batches import vocabulary_of
    from models.shapes import Shape, build, rows_for

    rows = rows_for(vocabulary_of(tokens))
    shape = Shape(vocab_rows=rows, tied=False, context=params.context, **params.shape.model_dump())
    phase = Phase(params, tokenizer=tokenizer, validation=tokens, scratch=scratch, out=out, journal=journal)
    phase.learn(build(shape, seed=params.seed), tokens, "phase1")


if __name__ == "__main__":
    enter(main)
