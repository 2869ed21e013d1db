"""Knows how to put one evaluation to one subject and what to write down about the answer."""

import hashlib
import json
import math
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evals import metrics
from evals.harness.catalogue import HERE, catalogue, draw, template_hash
from evals.subject import Subject, SubjectError

Record = dict[str, Any]


def ask(subject: Subject, name: str, file: Path | None, *, shots: int, limit: int, seed: int) -> Record:
    """The whole account of one evaluation: score with its interval, chance, marks, and what exactly was asked.

    marks: one "1" or "0" per drawn question, in an order that depends on the draw alone, so that subjects can be
    paired. chance: what guessing gets, the mean of 1 / choices; None where the answer is written.
    """
    from lm_eval.evaluator import evaluate

    from evals.harness.adapter import ChatLM, SubjectLM

    evaluation, drawn = catalogue()[name], draw(name, file, shots=shots, limit=limit, seed=seed)
    for task in drawn.tasks.values():
        task.set_fewshot_seed(seed)  # here, for the tasks are kept for the next subject
    asker = (ChatLM if evaluation.chat else SubjectLM)(subject, max_tokens=evaluation.max_tokens)
    found = evaluate(asker, {"tasks": drawn.tasks, "groups": {}, "group_map": {}}, bootstrap_iters=0)
    metric, _, chosen = evaluation.score.partition("/")
    rows = [row for task in drawn.tasks for row in found["samples"][task] if row["filter"] == (chosen or row["filter"])]
    marks = [_mark(row[metric], f"{name}: {metric}") for row in rows]
    guesses = [1 / len(row["arguments"]) for row in rows if len(row["arguments"]) > 1]
    rate, written = metrics.rate(marks), not guesses
    return {
        "evaluation": name, "subject": subject.name, "lang": evaluation.lang,
        "account": evaluation.account or name.replace("_", "-"), "metric": evaluation.score,
        "value": rate["value"], "low": rate["low"], "high": rate["high"], "n": len(marks), "of": drawn.of,
        "left_out": drawn.left_out,
        "stderr": math.sqrt(rate["value"] * (1 - rate["value"]) / max(1, len(marks) - 1)),
        "chance": None if written else math.fsum(guesses) / len(guesses), "shots": shots, "seed": seed,
        "form": "chat" if evaluation.chat else "plain", "max_tokens": evaluation.max_tokens if written else None,
        "cut": asker.cut, "source": file.name if file else "hub", "lm_eval": version("lm-eval"),
        "tasks": {task: str(made.VERSION) for task, made in drawn.tasks.items()},
        "template": template_hash(drawn.tasks),
        "questions": _digest((row["doc_hash"] + row["prompt_hash"]).encode() for row in rows),
        "marks": "".join("01"[mark] for mark in marks),
    }  # fmt: skip


def fingerprint(model: Path, name: str, file: Path | None, **how: int) -> str:
    """What stands for everything a record depends on: weights, questions, catalogue entry, settings and this code."""
    code = sorted([*HERE.glob("*.py"), *HERE.glob("tasks/*"), *HERE.parent.glob("*subject.py")])
    files = [*sorted(path for path in model.rglob("*") if path.is_file()), *([file] if file else []), *code]
    about = json.dumps([catalogue()[name].model_dump(), how, version("lm-eval")], sort_keys=True)
    return _digest([about.encode(), *(_file_digest(path) for path in files)])


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as stream:
        return path.name.encode() + hashlib.file_digest(stream, "sha256").digest()


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()[:16]


def _mark(value: float, where: str) -> bool:
    if value not in (0, 1):
        raise SubjectError(f"{where} is {value}, not right or wrong; name a metric of 0 or 1 in catalogue.yaml")
    return bool(value)
