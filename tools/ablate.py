"""Trains lines that differ from params.yaml in one thing, as DVC experiments, and weighs what the thing is worth.

    python -m tools.ablate [--rows depth distillation] [--seeds 1 2 3 4 5]

Each run is `dvc exp run --temp` up to the row's stage: what runs share comes out of DVC's cache. A run that stands in
reports/ablation-<row>.json with the same numbers and code is not made again, so one that was stopped goes on.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.api import DVCFileSystem
from ruamel.yaml import YAML

from corpus import shards
from evals import ablations, metrics
from evals import questions as quiz
from evals.subject import open_subject
from pipelines import _tracking
from tools import bill
from tools.judge import write

DVC = (sys.executable, "-m", "dvc")
REPORTS = Path("reports")


@dataclass(frozen=True)
class Run:
    """One line to train: the arm's overrides, the seed's among them, up to the stage whose model is judged."""

    row: str
    arm: str
    seed: int
    until: str
    overrides: dict[str, Any]  # of params.yaml, by dotted key

    @property
    def name(self) -> str:
        """As a DVC experiment and a run of MLflow."""
        return re.sub(r"[^a-z0-9]+", "-", f"ablate {self.row} {self.arm} {self.seed}".lower())


def main() -> None:
    """Makes what is missing, run by run, and writes each row's report after every one of its runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matrix", type=Path, default=Path("ablations.yaml"))
    parser.add_argument("--rows", nargs="*", default=[])
    parser.add_argument("--seeds", nargs="*", type=int, default=[])
    asked = parser.parse_args()
    matrix = read(asked.matrix)
    names = asked.rows or list(matrix["rows"])
    if unknown := set(names) - set(matrix["rows"]):
        parser.error(f"{asked.matrix} has no row {', '.join(sorted(unknown))}; there are: {', '.join(matrix['rows'])}")
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').absolute()}")  # runs have other folders
    _tracking.experiment()
    params, plan = read(Path("params.yaml")), locked(Path())
    known = {
        run["mark"]: run for file in REPORTS.glob("ablation-*.json") for run in json.loads(file.read_text())["runs"]
    }
    for name in names:
        row, done = matrix["rows"][name], []
        runs = list(planned(name, row, asked.seeds or matrix["seeds"]))
        costs = {run.arm: flops(run, params) for run in runs}
        for number, run in enumerate(runs, 1):
            mark = fingerprint(run, params, plan) + f"-{matrix['questions']}"
            if mark not in known:
                print(f"{name} {number}/{len(runs)}: {run.arm}, seed {run.seed}", flush=True)
                known[mark] = made(run, matrix["questions"]) | {"mark": mark, "name": run.name}
            done.append(known[mark] | {"arm": run.arm, "seed": run.seed})
            effects = ablations.effects(name, done, questions=matrix["questions"])
            found = {"asks": row["asks"], "runs": done, "effects": effects, "flops": costs}
            write(REPORTS / f"ablation-{name}.json", found)
        print("\n".join(ablations.verdicts(effects)), flush=True)


def planned(name: str, row: dict[str, Any], seeds: list[int]) -> Iterator[Run]:
    """The runs of a row: seed by seed, the line first, so that a stopped matrix can be read."""
    for seed in seeds:
        for arm, own in {ablations.LINE: {}, **row["arms"]}.items():
            changed = row["all"] | own | dict.fromkeys(row["seeded"], seed)
            yield Run(name, str(arm), seed, changed.pop("until", row["until"]), changed)


def fingerprint(run: Run, params: dict[str, Any], plan: dict[str, Any]) -> str:
    """md5 of all that decides the run's model: overrides, params and code of every stage up to the last.

    `plan`: what dvc.lock knows of each stage, in the order of dvc.yaml; the lock's own is that of their first runs.
    """
    stages = list(plan)[: list(plan).index(run.until) + 1]
    own = {key: value for key, value in run.overrides.items() if key.split(".")[0] in stages}
    code = [dep for stage in stages for dep in plan[stage]["deps"] if not dep["path"].startswith("artifacts/")]
    about = [run.until, own, {stage: params.get(stage) for stage in stages}, code]
    return hashlib.md5(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def made(run: Run, questions: int) -> dict[str, Any]:
    """Trains, judges, and tells MLflow."""
    with tempfile.TemporaryDirectory() as place:
        trained(run, ("mix/validation", run.until), Path(place))
        unlearnt = {row["id"] for row in shards.read(Path(place, "mix/validation"))}
        found = judged(Path(place, run.until), unlearnt, questions)
    numbers = {f"{key}_{lang}": found[key][lang] for key in ("bpb", "qa") for lang in ablations.LANGUAGES}
    about = {"ablation.row": run.row, "ablation.arm": run.arm, "ablation.seed": str(run.seed)}
    _tracking.annotate(run.name, about, run.overrides, numbers)
    return found


def trained(run: Run, parts: Sequence[str], place: Path) -> None:
    """Makes the experiment, in a folder of DVC's own, and copies those parts of its artifacts to `place`.

    CalledProcessError if a stage failed, whose own words stand above.
    """
    changes = [word for key, value in run.overrides.items() for word in ("-S", f"{key}={hydra(value)}")]
    if subprocess.run(["git", "for-each-ref", f"refs/exps/*/*/{run.name}"], capture_output=True).stdout:
        subprocess.run([*DVC, "exp", "remove", "--quiet", run.name], check=True)  # of other numbers
    command = [*DVC, "exp", "run", "--temp", "--name", run.name, *changes, run.until]
    subprocess.run(command, check=True, stdout=sys.stderr)
    outcome = DVCFileSystem(rev=run.name)
    for part in parts:
        outcome.get(f"artifacts/{part}", f"{place}/{part}", recursive=True)


def hydra(value: Any) -> str:
    """A value in the grammar of `dvc exp run -S`."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{hydra(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def judged(model: Path, unlearnt: set[str], questions: int) -> dict[str, Any]:
    """{nats, bpb, qa} by language: this line's held-out documents that the run did not learn from either."""
    held = [row for row in shards.read(Path("artifacts/mix/validation")) if row["id"] in unlearnt]
    pool, subject = quiz.read_questions(Path("artifacts/synthesize/questions.jsonl")), open_subject(model)
    found: dict[str, Any] = {"nats": {}, "bpb": {}, "qa": {}}
    for lang in ablations.LANGUAGES:
        own = {row["id"]: row["text"] for row in held if row["lang"] == lang}
        weighed = metrics.weighed(subject, list(own.values()))
        found["bpb"][lang] = weighed["bpb"]
        found["nats"][lang] = dict(zip(own, weighed["nats"], strict=True))
        marks = quiz.ask(subject, quiz.sample(pool, lang=lang, n=questions, seed=20))
        found["qa"][lang] = sum(marks) / len(marks)
    subject.close()
    return found


def flops(run: Run, params: dict[str, Any]) -> float:
    """FLOPs of all trainings up to the judged model."""
    own = json.loads(json.dumps(params, default=str))
    for key, value in run.overrides.items():
        *path, last = key.split(".")
        place = own
        for part in path:
            place = place[part]
        place[last] = value
    shapes = bill.family(own)
    trained = [name for name in shapes if name in own and "tokens" in own[name]]
    return sum(bill.flops(name, own, shapes) for name in trained[: trained.index(run.until) + 1])


def locked(folder: Path) -> dict[str, Any]:
    """dvc.lock's entry of every stage that is no matrix, in the order of dvc.yaml."""
    plan, lock = (read(folder / name)["stages"] for name in ("dvc.yaml", "dvc.lock"))
    return {stage: lock[stage] for stage in plan if stage in lock}


def read(file: Path) -> Any:
    return YAML(typ="safe").load(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
