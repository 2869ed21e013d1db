"""Knows how a plan becomes shards: documents are surveyed as columns, picked shard by shard, and put in their order.

Text is held one shard at a time; what grows with the corpus are ids and numbers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus import engine, shards
from corpus.accounts import ORGANIC, SYNTHETIC, nested, sums
from corpus.contamination import Hit
from corpus.ledger import KEPT, Ledger
from corpus.lots import lots
from corpus.plan import Documents

CONTAMINATED, LEFT_OUT = "contaminated", "left_out"
_SENTENCE_END = r"[.!?。…]\s|\n"
_KNOWN = ("id", "lang", "domain", "register", "source", "license", "label", "quality", "perplexity")


class Shard(NamedTuple):
    """A shard file of the corpus."""

    path: Path
    number: int  # in reading order
    origin: str  # organic or synthetic


class Surveyed(NamedTuple):
    """What is known of a shard's documents without their text."""

    rows: pa.Table  # what corpus.plan.Documents reads
    hits: dict[str, list[Hit]]  # document id → evaluation items found in it
    urls: dict[tuple[str, str], tuple[str, str]]  # (source, licence) → first and last url


def sources(organic: Sequence[Path], synthetic: Sequence[Path]) -> dict[str, Shard]:
    """The corpus's shards by name, in reading order; organic documents come first."""
    paths = [(ORGANIC, path) for path in organic] + [(SYNTHETIC, path) for path in synthetic]
    return {f"{number:06d}": Shard(path, number, origin) for number, (origin, path) in enumerate(paths)}


def survey(shard: Shard, *, find: Callable[[Sequence[str]], list[list[Hit]]]) -> Surveyed:
    """Sizes and numbers of a shard's documents; `find` looks for evaluation items in organic texts."""
    table = _read(shard)
    texts, names = table["text"], table["id"].to_pylist()
    characters = pc.cast(pc.utf8_length(texts), pa.int64())
    sentences = pc.add(pc.count_substring_regex(texts, _SENTENCE_END), 1)
    cell = pc.binary_join_element_wise(table["lang"], table["domain"], "/")
    columns = {name: table[name] for name in _KNOWN} | {
        "origin": pa.repeat(shard.origin, table.num_rows),
        "cell": pc.binary_join_element_wise(SYNTHETIC, cell, "/") if shard.origin == SYNTHETIC else cell,
        "characters": characters,
        "bytes": pc.cast(pc.binary_length(texts), pa.int64()),
        "sentence": pc.divide(pc.cast(characters, pa.float64()), pc.cast(sentences, pa.float64())),
        "lot": pa.array(lots(names)),
        "address": pa.array((shard.number << 32) + np.arange(table.num_rows)),
    }
    found = zip(names, find(texts.to_pylist()), strict=True) if shard.origin != SYNTHETIC else ()
    ends = table.group_by(["source", "license"]).aggregate([("url", "min"), ("url", "max")]).to_pylist()
    urls = {(row["source"], row["license"]): (row["url_min"], row["url_max"]) for row in ends}
    return Surveyed(pa.table(columns), {name: hits for name, hits in found if hits}, urls)


def gather(
    documents: Documents, parts: Mapping[str, np.ndarray], shards_of: Mapping[str, Shard], *, scratch: Path
) -> None:
    """Writes scratch/<part>/shard-….parquet: the documents of each part, given as rows of `documents` in order."""
    picked = dict(_picks({part: documents.addresses[rows] for part, rows in parts.items()}, shards_of))
    for _ in engine.over(picked, partial(pick, folder=scratch / "picked"), done=scratch / "picks"):
        pass
    sizes = documents.table["bytes"].to_numpy()
    cut = {name: span for part, rows in parts.items() for name, span in _spans(part, sizes[rows], scratch)}
    for _ in engine.over(cut, assemble, done=scratch / "assembled"):
        pass


class Picked(NamedTuple):
    """What a plan takes from one shard."""

    shard: Shard
    places: dict[str, tuple[np.ndarray, np.ndarray]]  # part → rows of the shard and their places, places ascending


def _picks(parts: Mapping[str, np.ndarray], shards_of: Mapping[str, Shard]) -> Iterator[tuple[str, Picked]]:
    """The shards that are needed, by name, for parts given as addresses [places] in their order."""
    where = {part: (addresses >> 32, addresses & 0xFFFFFFFF) for part, addresses in parts.items()}
    for name, shard in shards_of.items():
        at = {part: np.flatnonzero(numbers == shard.number) for part, (numbers, _) in where.items()}
        if any(len(places) for places in at.values()):
            yield name, Picked(shard, {part: (where[part][1][places], places) for part, places in at.items()})


def pick(picked: Picked, *, folder: Path) -> None:
    """Writes folder/<part>/<shard>.arrow for each part: the documents taken, in their order, each with its place."""
    table = _read(picked.shard)
    for part, (rows, places) in picked.places.items():
        taken = table.take(pa.array(rows)).append_column("place", pa.array(places)).combine_chunks()
        file = folder / part / f"{picked.shard.number:06d}.arrow"
        file.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, taken.schema) as writer:
            writer.write_table(taken)


class Span(NamedTuple):
    """One shard to be written: the documents at places [start, stop) of a part."""

    path: Path
    picked: Path  # folder of the part's .arrow files
    start: int
    stop: int


def _spans(part: str, sizes: np.ndarray, folder: Path) -> Iterator[tuple[str, Span]]:
    """The shards of a part by name, cut as `shards.write` cuts: bytes of text [places], in order."""
    share = np.maximum(sizes / shards.BYTES_PER_SHARD, 1 / shards.ROWS_PER_SHARD)
    cuts = (np.flatnonzero(np.diff(np.floor(np.cumsum(share) - share))) + 1).tolist()
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(sizes)], strict=True)):
        path = folder / part / f"shard-{number:05d}.parquet"
        yield f"{part}-{number:05d}", Span(path, folder / "picked" / part, start, stop)


def assemble(span: Span) -> int:
    """Writes a span's documents in their order; returns how many."""
    pieces = [shards.DOCUMENT_SCHEMA.append(pa.field("place", pa.int64())).empty_table()]
    for file in sorted(span.picked.glob("*.arrow")):
        with pa.memory_map(str(file)) as source:
            table = pa.ipc.open_file(source).read_all()
            first, end = np.searchsorted(table["place"].to_numpy(), (span.start, span.stop)).tolist()
            pieces.append(table.slice(first, end - first))
    table = pa.concat_tables(pieces).combine_chunks()
    table = table.take(pc.sort_indices(table["place"])).drop_columns("place")
    span.path.parent.mkdir(parents=True, exist_ok=True)
    shards.write_table(span.path, table)
    return table.num_rows


def booked(documents: Documents, places: Iterable[np.ndarray], contaminated: np.ndarray) -> dict[str, Any]:
    """The ledger's report on organic documents: kept if a place took them, else contaminated (mask [n]) or left out."""
    verdicts = np.where(contaminated, CONTAMINATED, LEFT_OUT).astype(object)
    for rows in places:
        verdicts[rows] = KEPT
    table = documents.table.append_column("verdict", pa.array(verdicts, pa.string()))
    table, ledger = table.filter(pa.array(documents.organic)), Ledger()
    for (verdict, *key, label), row in sums(table, ("verdict", "source", "lang", "label"), ["characters"]).items():
        source, lang = key[0], key[1] or "unknown"
        ledger.documents[verdict, source, lang, label] += row["documents"]
        ledger.characters[verdict, source, lang] += row["characters"]
    kept = int((documents.organic & (verdicts == KEPT)).sum())
    return ledger.report(documents_in=table.num_rows, documents_kept=kept)


def counted(documents: Documents, places: Mapping[str, np.ndarray], by: Sequence[str]) -> dict[str, Any]:
    """Documents and characters of each place by these columns; a document counts each time it comes."""
    taken = {place: documents.table.take(pa.array(rows)) for place, rows in places.items()}
    return {place: nested(sums(table, by, ["characters"])) for place, table in taken.items()}


def origins(documents: Documents, urls: Iterable[Mapping[tuple[str, str], tuple[str, str]]]) -> dict[str, Any]:
    """Per source and licence: documents and characters, and the part that all urls share."""
    counts = sums(documents.table, ("source", "license"), ["characters"])
    ends: dict[tuple[str, ...], list[str]] = {}
    for key, found in chain.from_iterable(part.items() for part in urls):
        ends.setdefault(key, []).extend(found)
    return nested({key: row | {"url": _shared(min(ends[key]), max(ends[key]))} for key, row in counts.items()})


def _shared(first: str, last: str) -> str:
    """What two texts begin with."""
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))


def _read(shard: Shard) -> pa.Table:
    """The shard's columns; a synthetic document is of that kind, and of its source's domain if it has no own."""
    table = shards.read_table(shard.path)
    synthetic = shard.origin == SYNTHETIC
    domain = pc.if_else(pc.equal(table["domain"], ""), table["source"] if synthetic else "unknown", table["domain"])
    table = table.set_column(table.column_names.index("domain"), "domain", domain)
    kind = pa.repeat(SYNTHETIC, table.num_rows) if synthetic else table["kind"]
    return table.set_column(table.column_names.index("kind"), "kind", kind)
