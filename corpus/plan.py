"""Knows the training plan: what is held out, and which documents each phase takes, how often and in which order.

Everything follows from ids, sizes and a seed. `Documents` stand in the order of their lots, so neither shards nor
files nor workers can change a plan.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from corpus.accounts import ORGANIC, Group
from corpus.lots import redrawn

FILE = "plan.jsonl"  # in a mix folder: per phase the number of the first document of each bucket
Order = Literal["as_read", "shuffled", "curriculum"]
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


class Weight(BaseModel):
    """One part of a mixture."""

    model_config = _STRICT
    share: float  # of the phase's characters, relative to the shares of the other weights
    epochs: int  # how often a document is taken at most, where there are too few of them
    min_quality: float  # of a document, 0 to 1; unmeasured documents have 0


class Phase(BaseModel):
    """What a training phase is made of."""

    model_config = _STRICT
    characters: int  # of the whole phase; a weight that lacks documents falls short, the others do not grow
    weights: dict[str, Weight]  # shell pattern of [synthetic/]language/domain; the longest match counts
    sources: list[str]  # shell patterns of the organic sources that may be taken
    within: str  # an earlier phase, by name, whose documents alone are taken; "" for any


class Documents(NamedTuple):
    """All documents as columns [n], in the order of their lots."""

    ids: pa.StringArray
    groups: list[Group]
    group: np.ndarray  # int, into groups
    characters: np.ndarray
    bytes: np.ndarray
    lots: np.ndarray  # uint64, of the ids alone
    addresses: np.ndarray  # int64, where they were read: shard << 32 | row
    quality: np.ndarray
    perplexity: np.ndarray  # per character; 0: not measured
    sentence: np.ndarray  # characters per sentence

    @classmethod
    def of(cls, table: pa.Table, groups: list[Group]) -> "Documents":
        """From the columns id, group, characters … sentence, in any order; ValueError when two have one id."""
        table = table.take(pc.sort_indices(table, [("lots", "ascending"), ("id", "ascending")]))
        ids, *numbers = (column.combine_chunks() for column in table.itercolumns())
        if twins := ids[1:].filter(pc.equal(ids[1:], ids[:-1])).to_pylist():
            raise ValueError(f"documents {twins[:3]} occur twice; ids must differ: rerun ingest and synthesize")
        return cls(ids, groups, *(column.to_numpy() for column in numbers))

    def among(self, ids: Sequence[str]) -> np.ndarray:
        """Mask [n] of the documents with these ids."""
        return np.array(pc.is_in(self.ids, pa.array(ids, pa.string())), dtype=bool)

    def where(self, wanted: Collection[Group]) -> np.ndarray:
        """Mask [n] of the documents of these groups."""
        return np.array([group in wanted for group in self.groups] or [False])[self.group]

    def counted(self, rows: np.ndarray, by: Callable[[Group], tuple[str, ...]]) -> dict[tuple[str, ...], Counter[str]]:
        """Documents and characters of the rows by keys of their groups; a row counts each time it comes."""
        documents = np.bincount(self.group[rows], minlength=len(self.groups)).tolist()
        characters = np.bincount(self.group[rows], self.characters[rows], minlength=len(self.groups)).tolist()
        counts: dict[tuple[str, ...], Counter[str]] = {}
        for group, count, size in zip(self.groups, documents, characters, strict=True):
            if count:
                counts.setdefault(by(group), Counter()).update(documents=count, characters=int(size))
        return counts


class Drawn(NamedTuple):
    """A phase's plan: the document at each place, where the difficulty buckets begin, and what each weight reached."""

    rows: np.ndarray  # int64 [places], into Documents
    starts: list[int]  # first place of each bucket
    weights: dict[str, dict[str, int]]  # pattern → characters: target, reached, available (once each)


def held_out(documents: Documents, eligible: np.ndarray, *, share: float, characters: int) -> np.ndarray:
    """Mask [n] of the organic documents kept for validation: those with the first lots of each language, up to a size.

    The first of a language is held out even when the share is small, so that every language can be measured.
    """
    held = np.zeros(len(eligible), dtype=bool)
    for lang in {group.lang for group in documents.groups}:
        filled, own = 0, documents.where({it for it in documents.groups if (it.origin, it.lang) == (ORGANIC, lang)})
        for row in np.flatnonzero(eligible & own).tolist():
            size = int(documents.characters[row])
            if filled and documents.lots[row] >= share * 2.0**64:
                break
            if not filled or filled + size <= characters:
                held[row] = True
                filled += size
    return held


def drawn(
    documents: Documents, eligible: np.ndarray, phases: Mapping[str, Phase], *, seed: int, order: Order, buckets: int
) -> dict[str, Drawn]:
    """The plan of every phase, made of the eligible documents (mask [n]); ValueError for an unknown `within`."""
    plans: dict[str, Drawn] = {}
    for name, phase in sorted(phases.items()):
        allowed = eligible & documents.where(_open_to(phase, documents.groups))
        if phase.within:
            if phase.within not in plans:
                raise ValueError(
                    f"mix.phases.{name}.within: no phase '{phase.within}' before it; name one or leave it ''"
                )
            allowed &= np.isin(np.arange(len(allowed)), plans[phase.within].rows)
        lots = redrawn(documents.lots, f"{seed}/{name}")
        plans[name] = _phase(documents, allowed, phase, lots, order, buckets if order == "curriculum" else 1)
    return plans


def bucket_starts(folder: Path) -> dict[str, list[int]]:
    """What stands in a mix folder's plan, by phase; ValueError if it holds none."""
    try:
        rows = [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]
        return {row["phase"]: row["starts"] for row in rows}
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{folder / FILE}: not a plan of phases and starts; rerun mix") from None


def in_order(documents: Documents, rows: np.ndarray, order: Order) -> np.ndarray:
    """The rows as they are written when no phase orders them: as read, or by lot."""
    return rows[np.argsort(documents.addresses[rows])] if order == "as_read" else np.sort(rows)


def _phase(
    documents: Documents, allowed: np.ndarray, phase: Phase, lots: np.ndarray, order: Order, buckets: int
) -> Drawn:
    owners = np.array([_owner(group.cell, phase.weights) for group in documents.groups] or [""])[documents.group]
    whole, weights = sum(weight.share for weight in phase.weights.values()), {}
    taken, turns, levels = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for pattern, weight in sorted(phase.weights.items()):
        members = np.flatnonzero(allowed & (owners == pattern) & (documents.quality >= weight.min_quality))
        queue = members[np.argsort(lots[members], kind="stable")]
        sizes = documents.characters[queue].astype(np.int64)
        target = round(phase.characters * weight.share / whole)
        copies = _copies(sizes, target=target, epochs=weight.epochs)
        entries, counted = np.repeat(queue, copies), np.cumsum(copies) - copies
        taken.append(entries)
        turns.append(np.arange(len(entries)) - np.repeat(counted, copies))  # which time the document comes
        levels.append(_levels(documents, entries, buckets))
        reached, available = int(sizes @ copies), int(sizes.sum())
        weights[pattern] = {"target": target, "reached": reached, "available": available}
    rows, turn, level = (np.concatenate(parts) for parts in (taken, turns, levels))
    place = documents.addresses[rows] if order == "as_read" else redrawn(lots[rows] + turn.astype(np.uint64), "place")
    sequence = np.lexsort((turn, rows, place, level))
    starts = np.searchsorted(level[sequence], np.arange(buckets)).tolist()
    return Drawn(rows[sequence], starts, weights)


def _open_to(phase: Phase, groups: Iterable[Group]) -> set[Group]:
    def named(source: str) -> bool:
        return any(fnmatchcase(source, pattern) for pattern in phase.sources)

    return {group for group in groups if group.origin != ORGANIC or named(group.source)}


def _copies(sizes: np.ndarray, *, target: int, epochs: int) -> np.ndarray:
    """How often each document of a queue is taken, int64 [n]: whole rounds, then once more while there is room."""
    total = int(sizes.sum())
    rounds, room = divmod(target, total) if total else (0, 0)
    copies = np.full(len(sizes), min(rounds, epochs), dtype=np.int64)
    if rounds < epochs:
        for place, size in enumerate(sizes.tolist()):
            if size <= room:
                copies[place] += 1
                room -= size
    return copies


def _levels(documents: Documents, rows: np.ndarray, buckets: int) -> np.ndarray:
    """Difficulty bucket of each row of one weight, 0 the easiest, with the same characters in each, int64 [rows].

    Difficulty is the mean rank in perplexity and in sentence length, or the latter's alone where nobody measured the
    former. Ranks within a weight, so that every bucket has the mixture of the whole and no language comes first.
    """
    perplexity, characters = documents.perplexity[rows], documents.characters[rows].astype(np.int64)
    known, ranks = perplexity > 0, _ranks(documents.sentence[rows])
    ranks[known] = (ranks[known] + _ranks(perplexity[known])) / 2
    climb = np.argsort(ranks, kind="stable")
    ends = np.cumsum(characters[climb])
    levels = np.zeros(len(climb), dtype=np.int64)
    levels[climb] = (2 * ends - characters[climb]) * buckets // (2 * max(int(characters.sum()), 1))
    return levels


def _ranks(values: np.ndarray) -> np.ndarray:
    """Share of smaller values, equal for equal ones."""
    return np.searchsorted(np.sort(values), values) / max(len(values), 1)


def _owner(cell: str, patterns: Mapping[str, Weight]) -> str:
    found = [(len(pattern), pattern) for pattern in patterns if fnmatchcase(cell, pattern)]
    return max(found)[1] if found else ""
