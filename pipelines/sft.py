"""Teaches Mini to answer in turns: supervised fine-tuning with loss on the assistant's tokens only."""

from pathlib import Path
from typing import Literal

from pipelines._journal import Journal
from pipelines._stage import enter
from pipelines._training import DialogueParams, Phase


class Params(DialogueParams):
    packing: Literal["separate", "none"]  # separate: conversations fill a row, none sees another; none: one a row
    replay: float  # share of each batch that is phase-2 text, against forgetting


def main(
    *, student: Path, dialogues: Path, tokens: Path, out: Path, scratch: Path, params: Params, journal: Journal
) -> None:
    """student: the distilled model; dialogues: synthesize folder; tokens: for replay and validation."""
    from models import checkpoints
    from models.batches import Blend, Conversations, Packed, TokenShard
    from models.chat import conversation_rows
    from models.objectives import next_token

    rows, dropped = conversation_rows(
        dialogues / "dialogues.jsonl", student, context=params.context, limit=params.max_dropped
    )
    packed = Packed(TokenShard.open(tokens, "phase2"), params.context, params.seed)
    filled = params.context if params.packing == "separate" else 0
    blend = Blend(Conversations(rows, params.seed, "sft", filled=filled), packed, params.replay)
    phase = Phase(params, tokenizer=student, validation=tokens, scratch=scratch, out=out, journal=journal)
    phase.train(checkpoints.load(student), next_token, blend.batch, conversations=len(rows), dropped=dropped)


if __name__ == "__main__":
    enter(main)
