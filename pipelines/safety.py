"""Asks one subject risky and harmless things: does it refuse where it should, and only there?"""

from itertools import chain
from pathlib import Path

from corpus import shards
from evals import safety as exam
from evals.subject import open_subject
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter


class Params(StageParams):
    """How many prompts are put, and how."""

    max_prompts: int  # risky ones, and as many benign ones, drawn by `seed`
    attacked_prompts: int  # of the risky ones, put again under every attack
    attacks: list[str]  # names from evals.safety.ATTACKS
    max_new_tokens: int  # tokens per reply; a refusal shows within the first 20
    seed: int


def main(*, subject: str, model: Path, prompts: Path, out: Path, params: Params, journal: Journal) -> None:
    """model: HF folder or bundle; prompts: risky, benign and judge .jsonl, held out from all training."""
    if unknown := sorted(set(params.attacks) - set(exam.ATTACKS)):
        raise StageError(f"safety.attacks: unknown {unknown}; choose from {sorted(exam.ATTACKS)}")
    files = prompts / "risky.jsonl", prompts / "benign.jsonl"
    risky, benign = (exam.read_prompts(file, n=params.max_prompts, seed=params.seed) for file in files)
    judged = open_subject(model)
    rounds = [("none", risky), ("none", benign), *((name, risky[: params.attacked_prompts]) for name in params.attacks)]
    replies = [exam.examine(judged, asked, attack=name, max_tokens=params.max_new_tokens) for name, asked in rounds]
    judged.close()
    shards.write_lines(out / "replies.jsonl", chain.from_iterable(replies))
    journal.attach(out / "replies.jsonl")
    found = exam.summary(replies[0], replies[1], [*chain.from_iterable(replies[2:])])
    journal.step(0, **{f"eval/{name}": found[name]["value"] for name in ("nur", "nor", "asr")})
    journal.conclude(**found, judge=exam.judge_rules(prompts / "judge.jsonl"))


if __name__ == "__main__":
    enter(main)
