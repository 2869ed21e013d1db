"""Sharpens Mini by preferences: direct preference optimisation against what it said before. Its result is Mini."""

from pathlib import Path
from typing import Literal

from pipelines._journal import Journal
from pipelines._stage import enter
from pipelines._training import DialogueParams, Phase


class Params(DialogueParams):
    likelihood: Literal["summed", "per_token"]  # of a reply; per_token: the mean, so that no reply wins by its length
    beta: float  # strength of the pull towards the reference
    anchor: float  # share of cross-entropy on chosen replies


def main(
    *, student: Path, preferences: Path, given: Path, tokens: Path, out: Path, scratch: Path, params: Params,
    journal: Journal,
) -> None:  # fmt: skip
    """student: the fine-tuned model; preferences: synthesize folder; given: a folder of the user's own pairs; tokens:
    for validation only."""
    from corpus.preferences import read
    from models import checkpoints, parallel, states
    from models.batches import Conversations
    from models.chat import preference_rows
    from models.objectives import Preference, reference_likelihoods

    pairs, none = read(preferences / "preferences.jsonl", given, limit=params.max_dropped)
    rows, long = preference_rows(pairs, student, context=params.context, limit=params.max_dropped)
    model = checkpoints.load(student)
    identity = {"code": states.code_fingerprint(), "data": scratch.name}
    known = states.newest(scratch / "reference", identity=identity)
    said = known[0] if known else {"reference": reference_likelihoods(model, rows)}
    if not known and parallel.ranks().is_main_process:
        states.save(scratch / "reference", 0, tensors=said, facts={}, identity=identity)
    phase = Phase(params, tokenizer=student, validation=tokens, scratch=scratch, out=out, journal=journal)
    objective = Preference(beta=params.beta, anchor=params.anchor, likelihood=params.likelihood)
    talks = Conversations(rows, params.seed, "dpo", group=2, beside=said)
    phase.train(model, objective, talks.batch, pairs=len(rows) // 2, dropped=none | long)


if __name__ == "__main__":
    enter(main)
