"""Knows how the words of any amount of text are counted in bounded memory: a file a shard, then group after group.

Shards are counted in processes of their own (`corpus.engine`). A shard's words lie in its file in groups by length, so
that the sum holds one group of all shards in memory at a time; a killed run goes on with the shards not yet counted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus import engine, shards
from corpus.pretokens import Count, Words

GROUPS = 16
_SCHEMA = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])


class Recipe(NamedTuple):
    """What counts, and how much: a text weighs what `weigh` says of its language and domain, a whole number ≥ 0."""

    count: Count
    weigh: Callable[[str, str], int]
    most: int  # characters of each language, from the folder's beginning


def of_folder(folder: Path, recipe: Recipe, *, scratch: Path) -> tuple[Words, dict[str, int]]:
    """The words of a folder of document shards, and how many characters of each language taught them."""
    before: dict[str, int] = {}
    tasks = {}
    for path in shards.paths(folder):
        tasks[path.stem] = (path, dict(before))
        for lang, size in _sizes(path):
            before[lang] = before.get(lang, 0) + (size if before.get(lang, 0) < recipe.most else 0)
    work = partial(_count_shard, recipe=recipe, out=scratch)
    files = sorted(file for _, file in engine.over(tasks, work, done=scratch / "counted"))
    return total(files), dict(sorted(before.items()))


def of_mapping(counted: Mapping[str, int]) -> Words:
    """Words that were counted elsewhere."""
    return words(table(list(counted), np.fromiter(counted.values(), np.int64, len(counted))))


def total(files: Iterable[Path]) -> Words:
    """The sum of what `write` wrote."""
    sources = [pa.ipc.open_file(pa.memory_map(str(file))) for file in files]
    groups = [
        merged(pa.Table.from_batches([source.get_batch(group) for source in sources], _SCHEMA)) for group in range(GROUPS)
    ]
    return words(pa.concat_tables(groups))


def table(spelled: Sequence[str], counts: np.ndarray) -> pa.Table:
    """Words as columns `word` and `count`."""
    return pa.table({"word": pa.array(spelled, pa.large_string()).cast(pa.large_binary()), "count": counts}, _SCHEMA)


def words(counted: pa.Table) -> Words:
    """Columns as words."""
    return Words(counted["word"].combine_chunks(), counted["count"].to_numpy())


def merged(counted: pa.Table) -> pa.Table:
    """Each word of a table with columns `word` and `count` once, counts summed."""
    summed = counted.group_by("word", use_threads=False).aggregate([("count", "sum")])
    return summed.rename_columns({"count_sum": "count"}).select(_SCHEMA.names)


def write(file: Path, counted: Words) -> None:
    """Writes words in groups by their length."""
    group = pc.binary_length(counted.spelled).to_numpy() % GROUPS
    columns = pa.table({"word": counted.spelled, "count": counted.counts}, _SCHEMA)
    with pa.ipc.new_file(str(file), _SCHEMA) as sink:
        for number in range(GROUPS):
            part = columns.filter(pa.array(group == number)).combine_chunks().to_batches()
            sink.write_batch(part[0] if part else pa.RecordBatch.from_pylist([], _SCHEMA))


def _count_shard(task: tuple[Path, dict[str, int]], *, recipe: Recipe, out: Path) -> Path:
    path, used = task
    texts, weights = [], []
    for row in shards.read_shard(path):
        lang = row["lang"]
        if used.get(lang, 0) < recipe.most:
            used[lang] = used.get(lang, 0) + len(row["text"])
            texts.append(row["text"])
            weights.append(recipe.weigh(lang, row["domain"]))
    file = out / f"{path.stem}.arrow"
    write(file, recipe.count(texts, np.array(weights, np.float64)))
    return file


def _sizes(path: Path) -> Iterable[tuple[str, int]]:
    table = shards.read_table(path)
    return zip(table["lang"].to_pylist(), pc.utf8_length(table["text"]).to_pylist(), strict=True)
