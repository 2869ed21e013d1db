"""Knows the evaluations by name (catalogue.yaml) and makes lm-eval's task objects of them, from the hub or a folder."""

import hashlib
import json
import logging
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from corpus.reading import read_rows
from evals.harness.rows import MAKERS, Row
from evals.material import MaterialError

HERE = Path(__file__).parent
LONGEST_ROW = 1 << 24  # bytes
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
TEMPLATE = ("description", "doc_to_text", "doc_to_choice", "doc_to_target", "target_delimiter", "fewshot_delimiter")


class Evaluation(BaseModel):
    """An entry of catalogue.yaml, where the fields are explained."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    lang: str
    tasks: list[str]
    score: str
    limit: int
    folders: list[str] = []
    file: str = ""
    by: str = ""
    rows: str = "as_on_hub"
    ask: str = ""
    pool: str = ""
    shots: int = 0
    max_tokens: int = 256
    chat: bool = False
    programs: bool = False  # runs what the model writes: only when asked to
    account: str = ""


class Drawn(NamedTuple):
    """Tasks by name that hold the drawn questions only, of how many, and rows left out by reason."""

    tasks: dict[str, Any]
    of: int
    left_out: dict[str, int]


@cache
def catalogue() -> dict[str, Evaluation]:
    """All evaluations in the order in which the tables have them; ValueError names an entry that is wrong."""
    from ruamel.yaml import YAML

    entries = YAML(typ="safe", pure=True).load(HERE / "catalogue.yaml")
    try:
        return {name: Evaluation(**entry) for name, entry in entries.items()}
    except ValidationError as error:
        raise ValueError(f"evals/harness/catalogue.yaml: {' '.join(str(error).split())}") from None


def names_of(asked: Sequence[str], *, folder: Path | None) -> list[str]:
    """The evaluations meant: those named, else all that have a file in the folder (all without one, from the hub)."""
    known = catalogue()
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(f"no evaluation {', '.join(unknown)}; there are: {', '.join(known)}")
    able = [name for name, entry in known.items() if not folder or local_file(entry, folder)]
    return list(asked) or [name for name in able if not known[name].programs]


def local_file(evaluation: Evaluation, folder: Path | None) -> Path | None:
    """The evaluation's file in a folder; None if it has none there."""
    names = [f"{evaluation.file}.jsonl", f"{evaluation.file}.jsonl.gz"] if folder and evaluation.file else []
    return next((folder / name for name in names if (folder / name).is_file()), None) if folder else None


@cache
def draw(name: str, file: Path | None, *, shots: int, limit: int, seed: int) -> Drawn:
    """An evaluation's tasks, from the hub if there is no `file`, and `limit` questions drawn of all (0: all)."""
    tasks, left_out = _load(catalogue()[name], file, shots)
    docs = {task: made.eval_docs for task, made in tasks.items()}
    places = [(task, number) for task, rows in docs.items() for number in range(len(rows))]
    drawn: dict[str, list[int]] = defaultdict(list)
    for task, number in random.Random(seed).sample(places, min(limit or len(places), len(places))):
        drawn[task].append(number)
    for task, numbers in drawn.items():
        _keep(tasks[task], docs[task].select(sorted(numbers)))
    return Drawn({task: made for task, made in tasks.items() if task in drawn}, len(places), left_out)


def template_hash(tasks: dict[str, Any]) -> str:
    """What stands for the wording of all tasks: 12 hexadecimal digits of SHA-256."""
    configs = {name: {key: _text(task.dump_config().get(key)) for key in TEMPLATE} for name, task in tasks.items()}
    return hashlib.sha256(json.dumps(configs, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


@cache
def _manager() -> Any:
    """lm-eval's index of the folders that the catalogue names: of all its 14,000 tasks it would take 28 s."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    import lm_eval.tasks

    shipped = Path(lm_eval.tasks.__file__).parent
    folders = sorted({folder for evaluation in catalogue().values() for folder in evaluation.folders})
    places: list[str | Path] = [*(shipped / folder for folder in folders), HERE / "tasks"]
    return lm_eval.tasks.TaskManager(include_defaults=False, include_path=places)


def _load(evaluation: Evaluation, file: Path | None, shots: int) -> tuple[dict[str, Any], dict[str, int]]:
    """All tasks of an evaluation by name, and the local rows left out."""
    manager = _manager()
    if not file:
        tasks = manager.load(list(evaluation.tasks))["tasks"]
        for task in tasks.values():
            task.set_config("num_fewshot", shots)
        return tasks, {}
    rows, left_out = _read(evaluation, file)
    if strange := [name for name in rows if name not in manager.task_index]:
        raise MaterialError(f"{file}: rows for {', '.join(strange)}, which lm-eval does not have; take them away")
    children = [{"task": name, **_local(splits), "num_fewshot": shots} for name, splits in rows.items()]
    return manager.load({"group": "local", "task": children})["tasks"], left_out


def _keep(task: Any, docs: Any) -> None:
    """Makes `docs`, ready questions, all that a task asks."""
    split = task.config.test_split or task.config.validation_split
    task.dataset = {**task.dataset, split: docs}
    task.set_config("process_docs", None)


def _local(splits: dict[str, list[Row]]) -> dict[str, Any]:
    """What a task's configuration says instead when its rows come from a file."""
    from datasets import Dataset

    data = {split: Dataset.from_list(rows) for split, rows in splits.items()}
    names = dict.fromkeys(SPLITS) | {"test_split": "test"} | ({"fewshot_split": "pool"} if "pool" in splits else {})
    return {"custom_dataset": lambda **_: data, "dataset_kwargs": None, **names}


def _read(evaluation: Evaluation, file: Path) -> tuple[dict[str, dict[str, list[Row]]], dict[str, int]]:
    """Per task its rows by part (test, pool), in the file's order, and how many rows cannot be asked, by reason."""
    found: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    refused: Counter[str] = Counter()
    for row in read_rows(file, file.name, max_record_bytes=LONGEST_ROW):
        try:
            split = row.get("split", evaluation.ask) if evaluation.ask else ""
            if part := {evaluation.pool: "pool", evaluation.ask: "test"}.get(split):
                made = MAKERS[evaluation.rows](row)
                found[evaluation.by.format_map(row) if evaluation.by else evaluation.tasks[0]][part].append(made)
        except (AttributeError, KeyError, ValueError) as error:
            refused[str(error) if isinstance(error, ValueError) else f"lacks {error}"] += 1
    rows = {name: dict(parts) for name, parts in sorted(found.items()) if parts["test"]}
    if not rows:
        raise MaterialError(
            f"{file}: no question in it ({next(iter(refused), 'wrong split')}); mend it or take it away"
        )
    return rows, dict(refused)


def _text(value: object) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))  # a partial has no source, but a place in memory
