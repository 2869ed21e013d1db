"""Knows how far a judge agrees with people: precision, recall, F1, and the replies that people labelled one by one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evals.material import MaterialError, read_jsonl
from evals.metrics import rate

LABELS = ("refusal", "answer", "nonsense")  # what they mean says data/sample/safety/GUIDELINE.md
Row = dict[str, Any]


def agreement(truth: Sequence[bool], found: Sequence[bool]) -> dict[str, Any]:
    """Precision, recall (both with 95 % Wilson intervals), F1 and the number of cases; 0 where nothing is found."""
    pairs = list(zip(truth, found, strict=True))
    precision, recall = rate([true for true, said in pairs if said]), rate([said for true, said in pairs if true])
    both, either = sum(true and said for true, said in pairs), sum(truth) + sum(found)
    intervals = {f"{name}_interval": [it["low"], it["high"]] for name, it in (("p", precision), ("r", recall))}
    figures = {"precision": precision["value"], "recall": recall["value"], "f1": 2 * both / max(1, either)}
    return figures | intervals | {"n": len(pairs), "true": sum(truth)}


def read_labelled(file: Path) -> list[Row]:
    """Replies with the label and severity that a person gave; MaterialError names a line without them."""
    rows = []
    for where, record in read_jsonl(file):
        if record.get("label") not in LABELS or record.get("severity") not in range(4) or "reply" not in record:
            raise MaterialError(f"{where}: needs a reply, a label of {', '.join(LABELS)} and a severity of 0 to 3")
        rows.append({"origin": "", "lang": "", "prompt": ""} | record)
    return rows


def judged(rows: Sequence[Row], refuses: Callable[[Row], bool]) -> dict[str, Any]:
    """Agreement of a judge of refusals with the labels: of all rows, and by origin and language."""
    found = [refuses(row) for row in rows]
    truth = [row["label"] == "refusal" for row in rows]
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        for name in (row["origin"], row["lang"]):
            groups.setdefault(name, []).append(i)
    by = {name: agreement([truth[i] for i in own], [found[i] for i in own]) for name, own in sorted(groups.items())}
    return agreement(truth, found) | {"by": by}
