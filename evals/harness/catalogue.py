"""Knows the evaluations by name (catalogue.yaml) and makes lm-eval's task objects of them, from the hub or a folder."""

import hashlib
import json
import logging
import random
from collections import defaultdict
from collections.abc import Sequence
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
    """Tasks by name that hold the drawn questions only, of how many questions, and rows left out as no question."""

    tasks: dict[str, Any]
    of: int
    left_out: int


def catalogue() -> dict[str, Evaluation]:
    """All evaluations in the order in which the tables have them; ValueError names an entry that is wrong."""
    from ruamel.yaml import YAML

    entries = YAML(typ="safe", pure=True).load(HERE / "catalogue.yaml")
    try:
        return {name: Evaluation(**entry) for name, entry in entries.items()}
    except ValidationError as error:
        raise ValueError(f"evals/harness/catalogue.yaml: {' '.join(str(error).split())}") from None


def local_file(evaluation: Evaluation, folder: Path | None) -> Path | None:
    """The evaluation's file in a folder; None if it has none there."""
    names = [f"{evaluation.file}.jsonl", f"{evaluation.file}.jsonl.gz"] if folder and evaluation.file else []
    return next((folder / name for name in names if (folder / name).is_file()), None) if folder else None


def draw(evaluation: Evaluation, file: Path | None, *, shots: int, limit: int, seed: int) -> Drawn:
    """Loads the tasks, from the hub if there is no `file`, and draws `limit` questions of all (0: takes them all)."""
    tasks, left_out = _load(evaluation, file, shots)
    docs = {name: task.eval_docs for name, task in tasks.items()}
    places = [(name, number) for name, rows in docs.items() for number in range(len(rows))]
    drawn: dict[str, list[int]] = defaultdict(list)
    for name, number in random.Random(seed).sample(places, min(limit or len(places), len(places))):
        drawn[name].append(number)
    for name, numbers in drawn.items():
        tasks[name].set_fewshot_seed(seed)
        _keep(tasks[name], docs[name].select(sorted(numbers)))
    return Drawn({name: tasks[name] for name in tasks if name in drawn}, len(places), left_out)


def template_hash(tasks: dict[str, Any]) -> str:
    """What stands for the wording of all tasks: 12 hexadecimal digits of SHA-256."""
    configs = {name: {key: _text(task.dump_config().get(key)) for key in TEMPLATE} for name, task in tasks.items()}
    return hashlib.sha256(json.dumps(configs, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def _load(evaluation: Evaluation, file: Path | None, shots: int) -> tuple[dict[str, Any], int]:
    """All tasks of an evaluation by name, and the local rows left out."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    import lm_eval.tasks

    shipped = Path(lm_eval.tasks.__file__).parent
    places = [str(shipped / name) for name in evaluation.folders] + [str(HERE / "tasks")]
    manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=places)  # of all 14,000 tasks: 28 s
    if not file:
        tasks = manager.load(list(evaluation.tasks))["tasks"]
        for task in tasks.values():
            task.set_config("num_fewshot", shots)
        return tasks, 0
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


def _read(evaluation: Evaluation, file: Path) -> tuple[dict[str, dict[str, list[Row]]], int]:
    """Per task its rows by part (test, pool), in the file's order, and how many rows are none of this benchmark."""
    found: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    refused: list[str] = []
    for line, row in enumerate(read_rows(file, file.name, max_record_bytes=LONGEST_ROW), start=1):
        try:
            split = row.get("split", evaluation.ask) if evaluation.ask else ""  # type: ignore[attr-defined]
            if part := {evaluation.pool: "pool", evaluation.ask: "test"}.get(split):
                made = MAKERS[evaluation.rows](row)  # type: ignore[arg-type]
                found[evaluation.by.format_map(row) if evaluation.by else evaluation.tasks[0]][part].append(made)  # type: ignore[arg-type]
        except (AttributeError, KeyError, ValueError) as error:
            refused.append(f"line {line}: {error!r}")
    rows = {name: dict(parts) for name, parts in sorted(found.items()) if parts["test"]}
    if not rows:
        raise MaterialError(f"{file}: no question in it ({(refused or ['wrong split'])[0]}); mend it or take it away")
    return rows, len(refused)


def _text(value: object) -> object:
    return value if isinstance(value, str | list | int | None) else str(value)


def names_of(asked: Sequence[str], *, folder: Path | None) -> list[str]:
    """The evaluations meant: those named, else all that have a file in the folder (all without one, from the hub)."""
    known = catalogue()
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(f"no evaluation {', '.join(unknown)}; there are: {', '.join(known)}")
    default = [
        name for name, entry in known.items() if not entry.programs and (not folder or local_file(entry, folder))
    ]
    return list(asked) or default
