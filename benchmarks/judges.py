"""Measures the learned judges on text that did not teach them: `python -m benchmarks.judges --data ../shared/data`."""

import argparse
import random
import sysconfig
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _frame
from corpus import learning, lexicons, rules, scoring
from corpus.cleaning import normalise, strip_markup
from corpus.learning import Example
from pipelines._stage import load_params
from pipelines.filter import Params

GOAL = "language id >= 0.99; toxic documents among Wikipedia and law <= 0.005; the others are reported"
PARAGRAPHS = {
    "kowiki": "ko", "petitions": "ko", "korean_law": "ko", "rust_kr": "ko", "enwiki": "en", "digitalgov_en": "en",
    "standardebooks_en": "en", "wiki_other_langs": "other",
}  # fmt: skip
Row = dict[str, Any]


def main() -> None:
    """Prints every figure and writes benchmarks/results/judges.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    judges = scoring.load(_frame.ROOT / "data/judges")
    params = load_params("filter", Params, _frame.ROOT / "profiles/laptop.yaml")
    every = list(learning.examples(data))
    paragraphs = list(languages(judges, data, params))
    clean = list(clean_documents(judges, data, params))
    rows = [*quality(judges, every), *taxonomy(judges, every), *toxicity(judges, data, params), *clean, *paragraphs]
    rows += [*code(judges, every, params), *perplexity(judges, every), speed(judges, every)]
    ratio = {"language id": paragraphs[-1]["accuracy"], "false alarms": max(row["share"] for row in clean)}
    _frame.report("judges", goal=GOAL, rows=rows, ratio=ratio)


def quality(judges: scoring.Judges, every: list[Example]) -> Iterator[Row]:
    """AUC and calibration on documents of sources that taught nothing; the made mess is made of such documents."""
    unseen = [one for one in every if one.source in learning.UNSEEN]
    for lang in ("ko", "en"):
        good = [one for one in unseen if one.lang == lang and one.source not in learning.MESS]
        reviews = [one.text for one in unseen if one.lang == lang and one.source in learning.MESS]
        for name, bad in (("made mess", [learning.messed(one) for one in good]), ("reviews", reviews)):
            if bad:
                y = np.array([1] * len(good) + [0] * len(bad))
                score = judges.scores([one.text for one in good] + bad).quality
                what = f"quality {lang}, unseen sources against {name}"
                yield {"what": what, "n": len(y), "auc": auc(y, score), "ece": calibration(y, score)}


def taxonomy(judges: scoring.Judges, every: list[Example]) -> Iterator[Row]:
    """Accuracy on the held-back tenth of sources that taught; of other sources nobody knows the label."""
    held = [one for one in every if one.held_back and one.source in learning.SOURCES]
    scores = judges.scores([one.text for one in held])
    for place, name in enumerate(("domain", "register", "kind")):
        true = [learning.SOURCES[one.source][place] for one in held]
        right = np.mean([said == label for said, label in zip(getattr(scores, name), true, strict=True)])
        yield {"what": f"{name}, held-back documents", "n": len(held), "accuracy": float(right)}


def toxicity(judges: scoring.Judges, data: Path, params: Params) -> Iterator[Row]:
    """F1 on the held-back tenth of the labelled comments, of the classifier, the lexicon, and both.

    The first threshold of the classifier is the one that is best on the other comments, the last is the filter's.
    """
    said = learning.comments(data)
    texts, toxic, held = [text for text, *_ in said], np.array([one[1] for one in said]), [one[2] for one in said]
    score, listed = judges.scores(texts).toxicity, lexicons.per_word(lexicons.ABUSE, texts) > params.max_abuse
    taught = ~np.array(held)
    best = max(np.linspace(0.2, 0.7, 26), key=lambda it: f1(toxic[taught], score[taught] >= it)[0])
    ways = {"lexicon alone": listed}
    for threshold in (best, 0.35, params.max_toxicity):
        ways |= {f"classifier at {threshold:.2f}": score >= threshold}
        ways |= {f"classifier at {threshold:.2f} or lexicon": (score >= threshold) | listed}
    for name, found in ways.items():
        figures = dict(zip(("f1", "precision", "recall"), f1(toxic[held], found[held]), strict=True))
        yield {"what": f"toxic comments, held back: {name}", "n": sum(held), **figures}


def clean_documents(judges: scoring.Judges, data: Path, params: Params) -> Iterator[Row]:
    """Share of encyclopedic and legal documents that the filter would drop as toxic; none of them taught."""
    for source in ("kowiki", "enwiki", "korean_law"):
        names = {one.id for one in learning.examples(data) if one.source == source and not one.held_back}
        rows = [
            row for row in learning.rows(data / f"corpus/{source}.jsonl.gz") if f"{source}/{row['id']}" not in names
        ]
        texts = [normalise(strip_markup(row["text"])) for row in rows[:6000]]
        toxic = judges.scores(texts).toxicity > params.max_toxicity
        toxic |= lexicons.per_word(lexicons.ABUSE, texts) > params.max_abuse
        yield {"what": f"toxic documents of {source}", "n": len(texts), "share": float(toxic.mean())}


def perplexity(judges: scoring.Judges, every: list[Example]) -> Iterator[Row]:
    """Percentiles 1, 50 and 99 of held-back documents, and of mess made of them."""
    for lang in ("ko", "en"):
        held = [one for one in every if one.held_back and one.lang == lang and one.source not in learning.MESS]
        for name, texts in (("good", [one.text for one in held]), ("made mess", [*map(learning.messed, held)])):
            low, middle, high = np.percentile(judges.scores(texts).perplexity, [1, 50, 99]).round(1).tolist()
            yield {"what": f"perplexity {lang}, {name}", "n": len(texts), "p1": low, "p50": middle, "p99": high}


def speed(judges: scoring.Judges, every: list[Example]) -> Row:
    """All judges together, in processor time."""
    texts = [one.text for one in every][:6000]
    start = time.process_time()
    judges.scores(texts)
    rate = sum(len(text.encode()) for text in texts) / 1e6 / (time.process_time() - start)
    return {"what": "all judges", "n": len(texts), "MB/s per core": rate}


def code(judges: scoring.Judges, every: list[Example], params: Params) -> Iterator[Row]:
    """Share found of code that taught nothing, and of documents, freed of their fences, that are taken for code."""
    fences, prose = zip(*(learning.split_code(one.text) for one in every if one.held_back), strict=True)
    library = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = {
        "held-back fences": [text for text in fences if len(text) > 60],
        "modules of Python": [normalise(file.read_text("utf-8")) for file in library],
        "documents taken for code": [text for text in prose if len(text) > 60],
    }
    for name, group in texts.items():
        found = [said == "code" for said, _ in rules.languages(group, params, judges=judges)]
        yield {"what": f"code: {name}", "n": len(group), "share": float(np.mean(found))}


def languages(judges: scoring.Judges, data: Path, params: Params) -> Iterator[Row]:
    """Accuracy on paragraphs of 60 to 400 characters, beside lingua's; the gold label is that of the file.

    Where a Korean page holds a paragraph without Hangul (a citation, code), or an English one mostly figures, the label
    is wrong and the paragraph is left out; so is code in all files.
    """
    from lingua import Language, LanguageDetectorBuilder

    known = (Language.KOREAN, Language.ENGLISH, Language.JAPANESE, Language.CHINESE, Language.VIETNAMESE)
    lingua, names = LanguageDetectorBuilder.from_languages(*known).build(), {known[0]: "ko", known[1]: "en"}
    draw, right = random.Random(1), defaultdict(list)
    for file, lang in PARAGRAPHS.items():
        texts = [normalise(strip_markup(row["text"])) for row in learning.rows(data / f"corpus/{file}.jsonl.gz")]
        parts = [part for text in texts[:3000] for part in text.split("\n") if 60 <= len(part) <= 400]
        parts = [part for part in draw.sample(parts, min(3000, len(parts))) if _labelled_right(part, lang)][:1500]
        ours = [said == lang for said, _ in rules.languages(parts, params, judges=judges)]
        theirs = [names.get(lingua.detect_language_of(part), "other") == lang for part in parts]
        right["ours"] += ours
        right["lingua"] += theirs
        about = {"what": f"language of paragraphs, {file}", "n": len(parts)}
        yield about | {"accuracy": float(np.mean(ours)), "lingua": float(np.mean(theirs))}
    about = {"what": "language of paragraphs", "n": len(right["ours"])}
    yield about | {"accuracy": float(np.mean(right["ours"])), "lingua": float(np.mean(right["lingua"]))}


def _labelled_right(part: str, lang: str) -> bool:
    letters = sum(map(str.isalpha, part))
    hangul = sum("가" <= letter <= "힣" for letter in part)
    prose = letters > 0.6 * len(part) and not set("{};|<>") & set(part)
    return prose and {"ko": hangul > 0.2 * letters, "en": hangul == 0, "other": hangul < 0.05 * letters}[lang]


def f1(true: np.ndarray, found: np.ndarray) -> tuple[float, float, float]:
    """F1, precision and recall."""
    both = (true & found).sum()
    return float(2 * both / (true.sum() + found.sum())), float(both / found.sum()), float(both / true.sum())


def auc(y: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    good, bad = (y == 1).sum(), (y == 0).sum()
    return float((ranks[y == 1].sum() - good * (good + 1) / 2) / (good * bad))


def calibration(y: np.ndarray, score: np.ndarray) -> float:
    """Expected calibration error over ten bins."""
    bins = np.minimum((score * 10).astype(int), 9)
    gaps = [(bins == one, abs(y[bins == one].mean() - score[bins == one].mean())) for one in np.unique(bins)]
    return float(sum(gap * inside.mean() for inside, gap in gaps))


if __name__ == "__main__":
    main()
