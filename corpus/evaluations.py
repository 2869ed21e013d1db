"""Knows the evaluation sets: data/evaluations/*.yaml says where each lies and which of its fields make up an item."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from corpus.reading import read_rows

LONGEST_ROW = 1 << 24  # bytes


class Evaluation(BaseModel):
    """An evaluation set as data/evaluations/<name>.yaml describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: str
    lang: str  # ko, en, or "" for several
    files: str  # glob pattern below the folders that the caller names
    dataset: str = ""  # on the Hugging Face hub, read only through the `hub` that the caller gives
    configs: list[str] = []  # none: all that there are
    split: str = ""
    where: dict[str, list[str]] = {}  # only rows with one of these values; a row without the field counts
    id: str = ""  # field that names an item; without one its number in the set does
    question: list[str]  # fields of the question; a row may have some of them
    options: list[str] = []  # fields of the choices, which count where the question alone is short
    license: str
    url: str


class Item(NamedTuple):
    """A question of a set; the texts of `question`, and of `options`, may stand in any order near each other."""

    set: str
    id: str
    question: tuple[str, ...]
    options: tuple[str, ...] = ()


class Sets(NamedTuple):
    """The items that could be read, and per absent set the reason."""

    items: list[Item]
    absent: dict[str, str]


def evaluations(folder: Path) -> list[Evaluation]:
    """The catalogue, sorted by name; ValueError names the file and the key that is wrong."""
    from ruamel.yaml import YAML, YAMLError

    found = []
    for file in sorted(folder.glob("*.yaml")):
        try:
            found.append(Evaluation.model_validate(YAML(typ="safe", pure=True).load(file)))
        except (ValidationError, YAMLError) as error:
            raise ValueError(f"{file}: {' '.join(str(error).split())}; compare with the other files there") from None
        if found[-1].name != file.stem:
            raise ValueError(f"{file}: name is {found[-1].name!r}; make it equal to the file's name")
    return found


def read_sets(
    catalogue: Path, folders: Sequence[Path], hub: Callable[[Evaluation], Iterable[dict]] | None = None
) -> Sets:
    """Every evaluation set of the catalogue: from the folders, else from the hub if given (`from_hub`), else absent."""
    sets = Sets([], {})
    for evaluation in evaluations(catalogue):
        files = sorted({file for folder in folders for file in folder.glob(evaluation.files)})
        if files:
            sets.items.extend(_items(evaluation, chain.from_iterable(map(_local, files))))
        elif evaluation.dataset and hub:
            sets.items.extend(_items(evaluation, hub(evaluation)))
        else:
            sets.absent[evaluation.name] = f"no {evaluation.files} in {', '.join(map(str, folders)) or 'any folder'}"
    return sets


def from_hub(evaluation: Evaluation) -> Iterator[dict]:
    """The rows of an evaluation set's datasets on the Hugging Face hub."""
    from datasets import get_dataset_config_names, load_dataset

    for config in evaluation.configs or get_dataset_config_names(evaluation.dataset):
        yield from load_dataset(evaluation.dataset, config, split=evaluation.split)


def _items(evaluation: Evaluation, rows: Iterable[dict]) -> Iterator[Item]:
    """The items of an evaluation set; ValueError if a row has none of the question's fields."""
    for number, row in enumerate(rows, start=1):
        if any(str(row.get(key, values[0])) not in values for key, values in evaluation.where.items()):
            continue
        question, options = (tuple(chain.from_iterable(_texts(row.get(key)) for key in keys))
                             for keys in (evaluation.question, evaluation.options))  # fmt: skip
        if not question:
            raise ValueError(
                f"{evaluation.name}: row {number} has no {' or '.join(evaluation.question)}; mend its yaml"
            )
        yield Item(evaluation.name, str(row.get(evaluation.id, number)), question, options)


def _texts(value: object) -> list[str]:
    """The texts in a field: itself, its list, or one text if the list holds single letters."""
    if isinstance(value, list):
        return ["".join(value)] if all(isinstance(it, str) and len(it) <= 1 for it in value) else [*map(str, value)]
    return [] if value is None else [str(value)]


def _local(file: Path) -> Iterator[dict]:
    for line, row in enumerate(read_rows(file, file.name, max_record_bytes=LONGEST_ROW), start=1):
        if not isinstance(row, dict):
            raise ValueError(f"{file}: row {line} is no row of an evaluation set ({row}); mend or remove the file")
        yield row
