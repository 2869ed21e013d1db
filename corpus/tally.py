"""Knows how the words of any amount of text are counted in bounded memory: a file a shard, then group after group.

Shards are counted in processes of their own (`corpus.engine`). A shard's words lie in its file in groups by length, so
that the sum holds one group of all shards in memory at a time; a killed run goes on with the shards not yet counted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus import engine, shards
from corpus.pretokens import Count, Words

GROUPS = 16
_AT_ONCE = 10_000
_SCHEMA = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])


class Recipe(NamedTuple):
    """What counts, and how much: a text weighs what `weigh` says of its language and domain, a whole number ≥ 0."""

    measure: Count
    weigh: Callable[[str, str], int]
    most: int  # characters of each language, from the folder's beginning


def of_folder(folder: Path, recipe: Recipe, *, scratch: Path) -> tuple[Words, dict[str, int]]:
    """The words of a folder of document shards, and how many characters of each language taught them."""
    paths = {path.stem: path for path in shards.paths(folder)}
    sized = dict(engine.over(paths, _sizes, done=scratch / "sized"))
    used: dict[str, int] = {}
    tasks = {}
    for name, path in paths.items():
        tasks[name] = (path, dict(used))
        _take(*sized[name], used, recipe.most)
    work = partial(_count_shard, recipe=recipe, out=scratch)
    files = sorted(file for _, file in engine.over(tasks, work, done=scratch / "counted"))
    return total(files), dict(sorted(used.items()))


def of_mapping(counted: Mapping[str, int]) -> Words:
    """Words that were counted elsewhere."""
    return words(table(list(counted), np.fromiter(counted.values(), np.int64, len(counted))))


def total(files: Sequence[Path]) -> Words:
    """The sum of what `write` wrote."""
    found = words(pa.concat_tables(_group(files, number) for number in range(GROUPS)))
    pa.default_memory_pool().release_unused()
    return found


def of_texts(texts: Iterable[tuple[str, int]], measure: Count) -> Words:
    """The words of texts [text, weight], some thousand in memory at a time."""
    held = words(table([], np.zeros(0, np.int64)))
    rows = iter(texts)
    while some := list(islice(rows, _AT_ONCE)):
        written, weights = zip(*some, strict=True)
        held = summed(held, measure(pa.array(written, pa.large_string()), np.array(weights, np.float64)))
    return held


def summed(*counted: Words) -> Words:
    """Each word once, with the sum of its counts."""
    columns = [pa.table({"word": own.spelled, "count": own.counts}, _SCHEMA) for own in counted]
    return words(merged(pa.concat_tables(columns)).combine_chunks())


def table(spelled: Sequence[str], counts: np.ndarray) -> pa.Table:
    """Words as columns `word` and `count`."""
    return pa.table({"word": pa.array(spelled, pa.large_string()).cast(pa.large_binary()), "count": counts}, _SCHEMA)


def words(counted: pa.Table) -> Words:
    """Columns as words, in memory of their own: Arrow's pool keeps what lies around it, the system takes it back."""
    return Words(counted["word"].combine_chunks(memory_pool=pa.system_memory_pool()), counted["count"].to_numpy())


def merged(counted: pa.Table) -> pa.Table:
    """Each word of a table with columns `word` and `count` once, counts summed."""
    sums = counted.group_by("word", use_threads=False).aggregate([("count", "sum")])
    return sums.rename_columns({"count_sum": "count"}).select(_SCHEMA.names)


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
    rows = shards.read_table(path, ["lang", "domain", "text"])
    langs, domains = (rows[name].to_numpy() for name in ("lang", "domain"))
    taken = _take(langs, pc.utf8_length(rows["text"]).to_numpy(), used, recipe.most)
    cells = zip(langs[taken], domains[taken], strict=True)
    weights = np.fromiter((recipe.weigh(lang, domain) for lang, domain in cells), np.float64, taken.sum())
    file = out / f"{path.stem}.arrow"
    write(file, recipe.measure(rows["text"].filter(pa.array(taken)).combine_chunks(), weights))
    return file


def _group(files: Sequence[Path], number: int) -> pa.Table:
    batches = [pa.ipc.open_file(pa.OSFile(str(file))).get_batch(number) for file in files]
    return merged(pa.Table.from_batches(batches, _SCHEMA))


def _sizes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = shards.read_table(path, ["lang", "text"])
    return rows["lang"].to_numpy(), pc.utf8_length(rows["text"]).to_numpy()


def _take(langs: np.ndarray, sizes: np.ndarray, used: dict[str, int], most: int) -> np.ndarray:
    """Which documents [n] come before `most` characters of their language are used; adds theirs to `used`."""
    taken = np.zeros(len(langs), bool)
    for lang in sorted(set(langs)):
        own = langs == lang
        taken[own] = used.get(lang, 0) + np.cumsum(sizes[own]) - sizes[own] < most
        used[lang] = used.get(lang, 0) + int(sizes[own & taken].sum())
    return taken
