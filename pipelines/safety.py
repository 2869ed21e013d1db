"""Asks one subject risky and harmless things, plainly and under tactics: does it refuse where it should, only there?"""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from corpus import shards
from evals import agreement, bias, harm
from evals import safety as exam
from evals.opinions import second_judge
from evals.subject import open_subject
from evals.tactics import TACTICS
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter


class Second(StageParams):
    """A second judge beside the rules: a model at an OpenAI-compatible `url`, or a bundle; both "" for none."""

    url: str
    model: str


class Params(StageParams):
    """How many prompts are put, and how."""

    max_prompts: int  # risky ones, and as many benign ones, drawn by `seed`
    attacked_prompts: int  # of the risky ones, put again under every attack
    attacks: list[str]  # names from evals.tactics.TACTICS; [all] for all 38
    max_new_tokens: int  # tokens per reply; a refusal shows within the first 20
    data: str  # the folder of public sets that dvc.yaml hands over as --data; it may hold none
    max_rows: int  # of each public set, drawn by `seed`
    second: Second
    seed: int


def main(
    *, subject: str, model: Path, prompts: Path, heads: Path, data: Path, out: Path, scratch: Path, params: Params,
    journal: Journal,
) -> None:  # fmt: skip
    """model: HF folder or bundle; prompts: risky, benign and judge .jsonl, held out from training; heads: of harm."""
    names = [*TACTICS] if params.attacks == ["all"] else params.attacks
    if unknown := sorted(set(names) - set(TACTICS)):
        raise StageError(f"safety.attacks: unknown {unknown}; choose from {sorted(TACTICS)}, or [all]")
    files = prompts / "risky.jsonl", prompts / "benign.jsonl"
    risky, benign = (exam.read_prompts(file, n=params.max_prompts, seed=params.seed) for file in files)
    labelled = agreement.read_labelled(prompts / "judge.jsonl")
    judged, known = open_subject(model), harm.load(heads)
    how: dict[str, Any] = {"heads": known, "max_tokens": params.max_new_tokens}
    drawn: dict[str, Any] = {"n": params.max_rows, "seed": params.seed}
    rounds = [("none", risky), ("none", benign), *((name, risky[: params.attacked_prompts]) for name in names)]
    plain, harmless, *attacked = (exam.examine(judged, asked, tactic=name, **how) for name, asked in rounds)
    rates = {"nur": plain, "nor": harmless, "asr": [*chain.from_iterable(attacked)]}
    outside = exam.public(judged, data, **drawn, **how)
    biased = partial(known.flags, "biased")
    found = exam.summary(rates, known) | {
        "public": exam.refused_by("set", outside),
        "bias": bias.measure(judged, data, **drawn, biased=biased, max_tokens=params.max_new_tokens),
    }
    judged.close()
    if params.second.model:
        second = second_judge(**params.second.model_dump(), replies=scratch / "opinions", seed=params.seed)
        found["second"] = exam.second_opinion(second, rates, labelled)
    shards.write_lines(out / "replies.jsonl", [*chain.from_iterable(rates.values()), *outside])
    journal.attach(out / "replies.jsonl")
    journal.step(0, **{f"eval/{name}": found[name]["value"] for name in rates})
    journal.conclude(**found, judge=exam.rules_judged(labelled, known), heads=known.measured)


if __name__ == "__main__":
    enter(main)
