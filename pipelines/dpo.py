"""Sharpens Mini by preferences: direct preference optimisation against its own frozen copy. Its result is Mini."""

from pathlib import Path

from pipelines._journal import Journal
from pipelines._stage import enter
from pipelines._training import DialogueParams, Phase


class Params(DialogueParams):
    beta: float  # strength of the pull towards the reference
    anchor: float  # share of cross-entropy on chosen replies


def main(
    *, student: Path, preferences: Path, tokens: Path, out: Path, scratch: Path, params: Params, journal: Journal
) -> None:
    """student: the fine-tuned model; preferences: synthesize folder; tokens: for validation only."""
    from models import checkpoints
    from models.batches import Conversations
    from models.chat import preference_rows
    from models.objectives import Preference

    pairs, dropped = preference_rows(
        preferences / "preferences.jsonl", student, context=params.context, limit=params.max_dropped
    )
    model = checkpoints.load(student)
    phase = Phase(params, tokenizer=student, validation=tokens, scratch=scratch, out=out, journal=journal)
    objective = Preference(model, beta=params.beta, anchor=params.anchor)
    phase.train(
        model,
        objective,
        Conversations(pairs, params.seed, "dpo", group=2).batch,
        pairs=len(pairs) // 2,
        dropped=dropped,
    )


if __name__ == "__main__":
    enter(main)
