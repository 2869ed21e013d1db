"""Knows how the harm heads are learned: `python -m evals.teaching --data ../shared/data/safety --out data/harm`.

From korean_hate_speech (train; CC BY-SA 4.0), KoSBi and SQuARe (MIT), whose shared parts are called valid and test:
valid teaches but for a tenth, drawn by the text; that tenth, and all of test, only measure. KoSBi and SQuARe bring
English translations, which teach too; no English comments with labels for abuse may teach here, so `toxic` is Korean.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from corpus import learning, scoring
from corpus.lots import lot
from evals.agreement import agreement
from evals.harm import probabilities

BUCKETS, ORDERS, POWER = 1 << 16, (1, 2, 3, 4), 0.5  # twice the buckets gave no better F1


class Example(NamedTuple):
    """A text with its label; `group` is what decides whether it is held back, and stays on one side as a whole."""

    text: str
    label: bool
    group: str
    lang: str
    part: str  # as the source calls it: train, valid or test

    @property
    def measures(self) -> str:
        """What the example measures: "test", "held back", or "" if it teaches."""
        return "test" if self.part == "test" else "held back" if lot("held back " + self.group) < 0.1 else ""


def main() -> None:
    """Writes heads.npy and heads.json, with what the heads reach on text that did not teach them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    sets = examples(asked.data)
    fitted, thresholds = [], []
    for name, own in sets.items():
        taught = [one for one in own if not one.measures]
        if name == "toxic":  # comments alone teach that any text is one: clean statements and questions stand beside
            clean = [*sets["sensitive"], *(one for one in sets["biased"] if not one.label)]
            taught += [one._replace(label=False) for one in clean if not one.measures]
        labels = np.array([one.label for one in taught])
        x, _, _ = learning.features([one.text for one in taught], BUCKETS, ORDERS, POWER)
        fitted.append(learning.fit(x, labels))
        # Nearly all of SQuARe's questions are sensitive: at one half its head says yes to everything.
        thresholds.append(round(float(labels.mean()), 3) if name == "sensitive" else 0.5)
    weights, about = learning.packed(fitted, ORDERS, POWER)
    head = scoring.Head(weights, np.array(about["scale"]), np.array(about["bias"]), ORDERS, POWER)
    measured = {
        name: list(measures(head, own, output, thresholds[output])) for output, (name, own) in enumerate(sets.items())
    }
    card = about | {"names": [*sets], "thresholds": thresholds, "measured": measured}
    asked.out.mkdir(parents=True, exist_ok=True)
    np.save(asked.out / "heads.npy", weights)
    (asked.out / "heads.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def examples(data: Path) -> dict[str, list[Example]]:
    """All labelled texts by head."""
    comments, statements, questions = (
        list(learning.rows(data / f"{name}.jsonl.gz")) for name in ("korean_hate_speech", "kosbi", "square_question")
    )
    ways = (("ko", ""), ("en", "_en"))
    return {
        "toxic": [Example(r["comments"], r["hate"] != "none", r["comments"], "ko", r["split"]) for r in comments],
        "biased": [
            Example(
                f"{r['context' + end]} {r['sentence' + end]}", r["sentence_label"] == "unsafe", r["context"], lang,
                r["split"],
            )
            for r in statements for lang, end in ways
        ],
        "sensitive": [
            Example(r["question" + end], r["sensitive?"] == 1, r["question"], lang, r["split"])
            for r in questions for lang, end in ways
        ],
    }  # fmt: skip


def measures(head: scoring.Head, own: list[Example], output: int, threshold: float) -> Iterator[dict[str, Any]]:
    """Agreement with the labels by part and language; beside it the F1 of a judge that always says yes."""
    for part, lang in sorted({(one.measures, one.lang) for one in own if one.measures}):
        some = [one for one in own if (one.measures, one.lang) == (part, lang)]
        truth = [one.label for one in some]
        found = [bool(p >= threshold) for p in probabilities(head, [one.text for one in some])[:, output]]
        always = agreement(truth, [True] * len(truth))["f1"]
        yield {"part": part, "lang": lang} | agreement(truth, found) | {"always_yes_f1": always}


if __name__ == "__main__":
    main()
