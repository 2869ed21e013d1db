"""Knows the bookkeeping of a data stage: every document gets one verdict, and the sums must close."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

KEPT, CUT = "kept", "cut"


@dataclass(frozen=True)
class Ledger:
    """Documents counted by (verdict, source, language, true label); characters by (verdict, source, language).

    A document brings all its characters to its verdict, but for those that were cut from one that stays ("cut").
    """

    documents: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    characters: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, verdict: str, document: dict, *, characters_in: int) -> None:
        """Books one document, as it leaves, under `kept` or the reason for which it is dropped."""
        key = (document["source"], document["lang"], document["label"])
        self.book(verdict, *key, characters_in=characters_in, characters_out=len(document["text"]))

    def book(
        self, verdict: str, source: str, lang: str, label: str, *, characters_in: int, characters_out: int
    ) -> None:
        """Books a document of which only the figures are at hand."""
        lang = lang or "unknown"
        self.documents[verdict, source, lang, label] += 1
        stays = characters_out if verdict == KEPT else characters_in
        self.characters[verdict, source, lang] += stays
        self.characters[CUT, source, lang] += characters_in - stays

    def merge(self, other: "Ledger") -> None:
        """Adds another worker's counts."""
        self.documents.update(other.documents)
        self.characters.update(other.characters)

    def report(self, *, documents_in: int, documents_kept: int) -> dict:
        """Sums for the journal; ValueError unless in = kept + dropped, as counted on both sides of the stage."""
        by_source = self.table(1)
        verdicts = sum(map(Counter, by_source.values()), Counter())
        if verdicts.total() != documents_in or verdicts[KEPT] != documents_kept:
            raise ValueError(f"accounting is broken: {documents_in} in, {documents_kept} kept, verdicts {verdicts}")
        dropped = {verdict: verdicts[verdict] for verdict in sorted(verdicts) if verdict != KEPT}
        documents = {"in": documents_in, "kept": documents_kept, "dropped": documents_in - documents_kept}
        sums = {f"documents_{key}": count for key, count in documents.items()}
        kept = sum(count for (verdict, *_), count in self.characters.items() if verdict == KEPT)
        sums |= {"characters_in": self.characters.total(), "characters_kept": kept}
        return {**sums, "dropped": dropped, "by_source": by_source, "by_language": self.table(2)}

    def judgement(self, reasons: Collection[str]) -> dict:
        """How well dropping agrees with the true labels "keep" and `reasons`; other labels are not this stage's."""
        table = {label: row for label, row in self.table(3).items() if label == "keep" or label in reasons}
        kept = {label: row.get(KEPT, 0) for label, row in table.items()}
        sizes = {label: sum(row.values()) for label, row in table.items()}
        bad = sum(sizes.values()) - sizes.get("keep", 0)
        caught = bad - sum(kept.values()) + kept.get("keep", 0)
        dropped = sum(sizes.values()) - sum(kept.values())
        shares = {"precision": caught / dropped if dropped else None, "recall": caught / bad if bad else None}
        return {"confusion": table, **shares}

    def waterfall(self, stage_of: Mapping[str, str]) -> dict[str, dict[str, dict[str, list[int]]]]:
        """[documents, characters] that each stage took (or cut from what stays), by source and by language."""
        falls: dict[str, dict[str, dict[str, list[int]]]] = {"by_source": {}, "by_language": {}}
        for column, fall in enumerate(falls.values(), start=1):
            books: tuple[Counter[Any], ...] = (self.documents, self.characters)
            for place, counts in enumerate(books):
                for key, count in sorted(counts.items()):
                    row = fall.setdefault(key[column], {}).setdefault(stage_of.get(key[0], key[0]), [0, 0])
                    row[place] += count
        return falls

    def table(self, column: int) -> dict[str, dict[str, int]]:
        """Counts of verdicts by source (1), language (2) or true label (3)."""
        table: dict[str, dict[str, int]] = {}
        for key, n in sorted(self.documents.items()):
            row = table.setdefault(key[column], {})
            row[key[0]] = row.get(key[0], 0) + n
        return table
