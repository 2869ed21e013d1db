"""Knows how a plan becomes shards: documents are surveyed as columns, picked shard by shard, and put in their order.

Text is held one shard at a time; what grows with the corpus are ids and numbers.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus import engine, shards
from corpus.accounts import ORGANIC, SYNTHETIC, Group, nested
from corpus.contamination import Hit
from corpus.ledger import KEPT, Ledger
from corpus.lots import lots
from corpus.plan import Documents

CONTAMINATED, LEFT_OUT = "contaminated", "left_out"
_SENTENCE_END = r"[.!?。…]\s|\n"

Find = Callable[[list[str]], list[list[Hit]]]


class Shard(NamedTuple):
    """A shard file of the corpus."""

    path: Path
    number: int  # in reading order
    origin: str  # organic or synthetic


class Surveyed(NamedTuple):
    """What is known of a shard's documents without their text."""

    rows: pa.Table  # what Documents.of reads, but for ids
    groups: list[Group]
    hits: dict[str, list[Hit]]  # document id → evaluation items found in it
    urls: dict[tuple[str, ...], list[str]]  # (source, licence) → first and last url


class Corpus(NamedTuple):
    """What is known of all documents."""

    documents: Documents
    hits: dict[str, list[Hit]]
    urls: dict[tuple[str, ...], list[str]]


def sources(organic: Sequence[Path], synthetic: Sequence[Path]) -> dict[str, Shard]:
    """The corpus's shards by name, in reading order; organic documents come first."""
    paths = [(ORGANIC, path) for path in organic] + [(SYNTHETIC, path) for path in synthetic]
    return {f"{number:06d}": Shard(path, number, origin) for number, (origin, path) in enumerate(paths)}


def surveyed(shards_of: Mapping[str, Shard], *, find: Find, scratch: Path) -> Corpus:
    """Reads every shard once; `find` looks for evaluation items in the organic texts."""
    tables, codes, hits = list[pa.Table](), dict[Group, int](), dict[str, list[Hit]]()
    urls: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for _, part in engine.over(shards_of, partial(survey, find=find), done=scratch / "surveyed"):
        own = np.array([codes.setdefault(group, len(codes)) for group in part.groups], dtype=np.int32)
        tables.append(part.rows.set_column(1, "group", pa.array(own[part.rows["group"].to_numpy()])))
        hits.update(part.hits)
        for key, ends in part.urls.items():
            urls[key] += ends
    return Corpus(Documents.of(pa.concat_tables(tables), list(codes)), hits, urls)


def survey(shard: Shard, *, find: Find) -> Surveyed:
    """Sizes and numbers of one shard's documents, and the evaluation items in them."""
    table = _read(shard)
    texts, names = table["text"], table["id"].to_pylist()
    codes: dict[Group, int] = {}
    strings = zip(*(table[field].to_pylist() for field in Group._fields[1:]), strict=True)
    group = [codes.setdefault(Group(shard.origin, *values), len(codes)) for values in strings]
    characters = pc.cast(pc.utf8_length(texts), pa.int32())
    sentences = pc.add(pc.count_substring_regex(texts, _SENTENCE_END), 1)
    columns = {
        "id": table["id"],
        "group": pa.array(group, pa.int32()),
        "characters": characters,
        "bytes": pc.cast(pc.binary_length(texts), pa.int32()),
        "lots": pa.array(lots(names)),
        "addresses": pa.array((shard.number << 32) + np.arange(table.num_rows)),
        "quality": pc.cast(table["quality"], pa.float32()),
        "perplexity": pc.cast(table["perplexity"], pa.float32()),
        "sentence": pc.divide(pc.cast(characters, pa.float32()), pc.cast(sentences, pa.float32())),
    }
    found = zip(names, find(texts.to_pylist()), strict=True) if shard.origin == ORGANIC else ()
    ends = table.group_by(["source", "license"]).aggregate([("url", "min"), ("url", "max")]).to_pylist()
    urls: dict[tuple[str, ...], list[str]] = {
        (row["source"], row["license"]): [row["url_min"], row["url_max"]] for row in ends
    }
    return Surveyed(pa.table(columns), list(codes), {name: hits for name, hits in found if hits}, urls)


def gather(
    documents: Documents, parts: Mapping[str, np.ndarray], shards_of: Mapping[str, Shard], *, scratch: Path
) -> None:
    """Writes scratch/<part>/shard-….parquet: the documents of each part, given as rows of `documents` in order."""
    picked = dict(_picks({part: documents.addresses[rows] for part, rows in parts.items()}, shards_of))
    for _ in engine.over(picked, partial(pick, folder=scratch / "picked"), done=scratch / "picks"):
        pass
    cut = {name: span for part, rows in parts.items() for name, span in _spans(part, documents.bytes[rows], scratch)}
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
    kept, organic = (
        np.zeros(len(contaminated), dtype=bool),
        documents.where({it for it in documents.groups if it.origin == ORGANIC}),
    )
    for rows in places:
        kept[rows] = True
    ledger = Ledger()
    verdicts = {KEPT: kept, CONTAMINATED: contaminated & ~kept, LEFT_OUT: ~contaminated & ~kept}
    for verdict, mask in verdicts.items():
        for (*key, label), row in documents.counted(mask & organic, attrgetter("source", "lang", "label")).items():
            source, lang = key[0], key[1] or "unknown"
            ledger.documents[verdict, source, lang, label] += row["documents"]
            ledger.characters[verdict, source, lang] += row["characters"]
    return ledger.report(documents_in=int(organic.sum()), documents_kept=int((kept & organic).sum()))


def accounts(documents: Documents, places: Mapping[str, np.ndarray], *by: str) -> dict[str, Any]:
    """Documents and characters of each place by these fields of their groups, nested."""
    return {place: nested(documents.counted(rows, attrgetter(*by))) for place, rows in places.items()}


def origins(documents: Documents, urls: Mapping[tuple[str, ...], list[str]]) -> dict[str, Any]:
    """Per source and licence: documents and characters, and the part that all urls share."""
    counts = documents.counted(np.arange(len(documents.lots)), attrgetter("source", "license"))
    return nested({key: {**row, "url": _shared(min(urls[key]), max(urls[key]))} for key, row in counts.items()})


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
