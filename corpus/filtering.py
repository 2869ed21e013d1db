"""Knows how the filter works on a shard: first its plain text and lines, then, with all lines counted, its verdicts."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpus import engine, lines, pii, rejects, rules, scoring, shards
from corpus.ledger import KEPT, Ledger

_JUDGED = ("domain", "register", "kind", "quality", "perplexity")  # columns that the judges fill


class Judged(NamedTuple):
    """What is small of a judged shard."""

    ledger: Ledger
    masked: Counter[str]  # personal data by type
    rows: Counter[str]  # documents in, kept, dropped
    verdicts: list[dict]  # of the dropped
    examples: list[dict]  # rejects to look at


def judge_folder(documents: Path, *, scratch: Path, policy: rules.Policy, judges: Path) -> Iterator[tuple[str, Judged]]:
    """Judges every shard of a folder, yields (name, its figures) as they are done; writes kept/ and dropped/

    A finished shard leaves a mark in `scratch`, so that a killed run goes on with the unfinished ones.
    """
    paths = {path.name: path for path in shards.paths(documents)}
    sizes: Counter[str] = Counter()
    for _, counted in engine.over(paths, partial(prepare, out=scratch, policy=policy), done=scratch / "prepared"):
        sizes += counted
    count_lines(scratch, list(paths), bits=policy.line_cells)
    work = partial(judge_shard, folder=scratch, sizes=sizes, policy=policy, judges=judges)
    yield from engine.over(paths, work, done=scratch / "judged")


def prepare(path: Path, *, out: Path, policy: rules.Policy) -> Counter[str]:
    """Writes a shard's plain texts to out/plain and its lines' numbers to out/lines; counts documents by source."""
    raw, sources = (shards.read_table(path)[name].to_pylist() for name in ("text", "source"))
    texts = rules.plain(raw, policy)
    for folder in ("plain", "lines"):
        (out / folder).mkdir(exist_ok=True)
    pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), out / "plain" / path.name, compression="lz4")
    if "lines" in policy.stages:
        _, owners, keys = lines.keys(texts, sources)
        np.save(out / "lines" / f"{path.name}.npy", np.stack(lines.documents_per_key(owners, keys)))
    return Counter(sources)


def count_lines(folder: Path, names: list[str], *, bits: int) -> None:
    """Adds the numbers of all lines up in folder/sketch.npy."""
    sketch = lines.Sketch.of(bits)
    for file in (folder / "lines" / f"{name}.npy" for name in names):
        if file.exists():
            keys, counts = np.load(file)
            sketch.add(keys, counts)
    np.save(folder / "sketch.npy", sketch.cells)


def judge_shard(path: Path, *, folder: Path, sizes: Counter[str], policy: rules.Policy, judges: Path) -> Judged:
    """Writes a shard's documents to folder/kept and folder/dropped, cleaned and masked as the rules saw them."""
    documents = list(shards.read_shard(path))
    plain = pq.read_table(folder / "plain" / path.name)["text"].to_pylist()
    seen = lines.Sketch(np.load(folder / "sketch.npy", mmap_mode="r"))
    cleaned = rules.clean(plain, [row["source"] for row in documents], policy, seen=seen, sizes=sizes)
    raw = [len(row["text"]) for row in documents]
    verdicts = rules.judge(cleaned, raw, policy, judges=scoring.load(judges))
    result = Judged(Ledger(), Counter(), Counter({"in": len(documents)}), [], [])
    parts: dict[str, list[dict]] = {"kept": [], "dropped": []}
    names, urls = _masked([row["id"] for row in documents]), _masked([row.get("url") or "" for row in documents])
    for document, name, url, size, one, verdict in zip(documents, names, urls, raw, cleaned, verdicts, strict=True):
        part = "kept" if verdict.reason == KEPT else "dropped"
        scores = {key: verdict.scores.get(key) for key in _JUDGED}
        judged = document | scores | {"id": name, "lang": verdict.lang, "url": url, "text": one.text}
        parts[part].append(judged)
        result.ledger.add(verdict.reason, judged, characters_in=size)
        result.masked.update(one.masked if part == "kept" else {})
        if part == "dropped":
            row = {"id": name, "stage": rules.STAGE_OF[verdict.reason], "reason": verdict.reason}
            result.verdicts.append(row | {"rule": verdict.rule, "value": verdict.value})
            result.examples.append(result.verdicts[-1] | {"source": document["source"], "text": one.text})
    for part, rows in parts.items():
        (folder / part).mkdir(exist_ok=True)
        result.rows[part] = shards.write_shard(folder / part / path.name, rows)
    return result._replace(examples=rejects.sample(result.examples))


def _masked(names: list[str]) -> list[str]:
    """Ids or addresses without personal data; one that held some stays distinct by a hash."""
    digests = (hashlib.blake2b(name.encode(), digest_size=6).hexdigest() for name in names)
    return [name + f"#{digest}" * bool(found) for (name, found), digest in zip(pii.mask(names), digests, strict=True)]
