"""Keeps the documents worth learning from: every document is cleaned, masked, and gets a verdict with a reason."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from corpus import pii, shards
from corpus.ledger import KEPT, Ledger
from corpus.rules import REASONS, Policy, judge
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter

Judged = tuple[Ledger, Counter[str], list[dict], dict[str, int]]  # of one shard, as judge_shard says


class Params(StageParams, Policy):
    """The policy of corpus/rules.py, which says what each number measures."""


def main(*, documents: Path, out: Path, params: Params, journal: Journal) -> None:
    """Writes kept/ and dropped/ shards, and verdicts.jsonl with rule and measured value of every dropped document."""
    (out / "kept").mkdir()
    (out / "dropped").mkdir()
    ledger, masked, rows = Ledger(), Counter[str](), Counter[str]()
    paths, work = shards.paths(documents), partial(judge_shard, out=out, policy=params)
    workers = min(len(os.sched_getaffinity(0)), len(paths))  # the result is the same for any number

    def verdicts(parts: Iterable[Judged]) -> Iterator[dict]:
        for part, counts, dropped, written in parts:
            ledger.merge(part)
            masked.update(counts)
            rows.update(written)
            journal.step(rows["in"], kept=rows["kept"], dropped=rows["dropped"])
            yield from dropped

    with multiprocessing.get_context("spawn").Pool(workers) if workers > 1 else nullcontext() as pool:
        shards.write_lines(out / "verdicts.jsonl", verdicts(pool.imap(work, paths) if pool else map(work, paths)))
    report = ledger.report(documents_in=rows["in"], documents_kept=rows["kept"])
    if not rows["kept"]:
        raise StageError(f"{documents}: every document was dropped {report['dropped']}; loosen filter.*")
    journal.conclude(**report, masked=dict(sorted(masked.items())), labelled=ledger.judgement(REASONS))


def judge_shard(path: Path, *, out: Path, policy: Policy) -> Judged:
    """Writes one shard's documents to out/kept (cleaned) and out/dropped (as they were, masked).

    Returns the counts, the masked personal data by type, the verdicts of the dropped, and the rows in, kept, dropped.
    """
    documents = list(shards.read_shard(path))
    ledger, masked, verdicts = Ledger(), Counter[str](), []
    parts: dict[str, list[dict]] = {"kept": [], "dropped": []}
    for document, verdict in zip(documents, judge([document["text"] for document in documents], policy), strict=True):
        kept = verdict.reason == KEPT
        text = verdict.text if kept else pii.mask([document["text"]])[0][0]
        judged = document | {"lang": verdict.lang, "text": text}
        parts["kept" if kept else "dropped"].append(judged)
        ledger.add(verdict.reason, judged, characters_in=len(document["text"]))
        masked.update(verdict.masked if kept else {})
        row = {"id": document["id"], "reason": verdict.reason, "rule": verdict.rule, "value": verdict.value}
        verdicts += [] if kept else [row]
    written = {part: shards.write_shard(out / part / path.name, rows) for part, rows in parts.items()}
    return ledger, masked, verdicts, {"in": len(documents), **written}


if __name__ == "__main__":
    enter(main)
