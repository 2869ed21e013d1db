"""Reads raw text from a folder and from named sources into document shards; what cannot be read is quarantined."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from corpus import pii, shards
from corpus.ledger import KEPT, Ledger
from corpus.reading import Quarantined, read_folder, with_distinct_ids
from corpus.sources import catalogue, described, documents
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter


class Params(StageParams):
    """What to read."""

    text: str  # the folder that dvc.yaml hands over as --text
    sources: list[str]  # names of data/sources/*.yaml to read besides the folder
    max_documents: int  # documents taken from each named source
    max_record_bytes: int  # longer lines and files are quarantined, so that one record cannot fill the memory


def main(*, text: Path, sources: Path, out: Path, params: Params, journal: Journal) -> None:
    """Writes document shards and quarantine/records.jsonl; every record read is in exactly one of them."""
    known = catalogue(sources)
    if unknown := sorted(set(params.sources) - set(known)):
        raise StageError(f"ingest.sources: {', '.join(unknown)} not in {sources}; there are {', '.join(sorted(known))}")
    limits = params.model_dump(include={"max_documents", "max_record_bytes"})
    named = (documents(known[name], **limits) for name in params.sources)
    records = chain(read_folder(text, max_record_bytes=params.max_record_bytes), *named)
    ledger, seen, quarantined = Ledger(), Counter[str](), list[Quarantined]()

    def readable() -> Iterator[dict]:
        for record in with_distinct_ids(records):
            seen["records"] += 1
            if seen["records"] % 20_000 == 0:
                journal.step(seen["records"], quarantined=len(quarantined))
            if isinstance(record, Quarantined):
                quarantined.append(record)
                continue
            document = described(record, known.get(record["source"]))
            ledger.add(KEPT, document, characters_in=len(document["text"]))
            yield document

    kept = shards.write(out, readable())
    if not kept:
        raise StageError(f"{text}: {len(quarantined)} records, no document; see the first: {quarantined[:1]}")
    report = ledger.report(documents_in=seen["records"] - len(quarantined), documents_kept=kept)
    (out / "quarantine").mkdir()
    masked = zip(quarantined, pii.mask([row.excerpt for row in quarantined]), strict=True)
    rows = (asdict(record) | {"excerpt": excerpt} for record, (excerpt, _) in masked)
    shards.write_lines(out / "quarantine" / "records.jsonl", rows)
    reasons = dict(sorted(Counter(record.reason for record in quarantined).items()))
    journal.conclude(**report, records_in=seen["records"], documents_quarantined=len(quarantined), quarantined=reasons)


if __name__ == "__main__":
    enter(main)
