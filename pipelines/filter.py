"""Keeps the documents worth learning from: every document is cleaned, masked, and gets a verdict with a reason."""

import shutil
from collections import Counter
from pathlib import Path

from corpus import filtering, rejects, shards
from corpus.ledger import Ledger
from corpus.rules import STAGE_OF, Policy
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter


class Params(StageParams, Policy):
    """The policy of corpus/rules.py, which says what each number measures."""


def main(*, documents: Path, judges: Path, out: Path, scratch: Path, params: Params, journal: Journal) -> None:
    """Writes kept/ and dropped/ shards, verdicts.jsonl with what was measured of every dropped document, and rejects/.

    Finished shards lie in `scratch`, so that a killed run goes on where it was. Workers and Ray: corpus/engine.py.
    """
    results, total = {}, len(shards.paths(documents))
    for name, judged in filtering.judge_folder(documents, scratch=scratch, policy=params, judges=judges):
        results[name] = judged
        journal.progress(len(results), total, "shards")
    ordered = [results[name] for name in sorted(results)]
    ledger, masked, rows = Ledger(), Counter[str](), Counter[str]()
    for judged in ordered:
        ledger.merge(judged.ledger)
        masked.update(judged.masked)
        rows.update(judged.rows)
    report = ledger.report(documents_in=rows["in"], documents_kept=rows["kept"])
    if not rows["kept"]:
        raise StageError(f"{documents}: every document was dropped {report['dropped']}; loosen filter.*")
    for part in ("kept", "dropped"):
        shutil.move(scratch / part, out / part)
    shards.write_lines(out / "verdicts.jsonl", (row for judged in ordered for row in judged.verdicts))
    rejects.write(out / "rejects", [row for judged in ordered for row in judged.examples])
    waterfall = ledger.waterfall(STAGE_OF)
    labelled = ledger.judgement(STAGE_OF)
    journal.conclude(**report, masked=dict(sorted(masked.items())), waterfall=waterfall, labelled=labelled)


if __name__ == "__main__":
    enter(main)
