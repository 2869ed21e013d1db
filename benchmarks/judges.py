"""Measures the learned judges on text that did not teach them: `python -m benchmarks.judges --data ../shared/data`."""

import argparse
import random
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from corpus import language, learning, scoring
from corpus.cleaning import normalise

POLICY = {"min_hangul": 0.15, "min_english_words": 0.08}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judges", type=Path, default=Path("data/judges"))
    asked = parser.parse_args()
    judges = scoring.load(asked.judges)
    every = list(learning.examples(asked.data))
    rows = [
        *quality(judges, every),
        *taxonomy(judges, every),
        *toxicity(judges, every, asked.data),
        speed(judges, every),
    ]
    rows += perplexity(judges, every)
    rows += languages(asked.data)
    for row in rows:
        print(*(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()))


def quality(judges: scoring.Judges, every: list[learning.Example]) -> list[dict]:
    """AUC and calibration on documents of sources that never taught; English mess is made of such documents."""
    unseen = [one for one in every if one.source in learning.UNSEEN]
    rows = []
    for lang in ("ko", "en"):
        good = [one for one in unseen if one.lang == lang and one.source not in learning.MESS]
        made = [learning.messed(one) for one in good]
        real = [one.text for one in unseen if one.source in learning.MESS and one.lang == lang]
        for name, bad in (("made mess", made), ("reviews", real)):
            if bad:
                texts = [one.text for one in good] + bad
                y, score = np.array([1] * len(good) + [0] * len(bad)), judges.scores(texts).quality
                rows.append(
                    {
                        "what": f"quality {lang}, unseen sources against {name}",
                        "n": len(texts),
                        "auc": auc(y, score),
                        "ece": calibration(y, score),
                    }
                )
    for source in sorted(learning.UNSEEN):
        texts = [one.text for one in unseen if one.source == source]
        rows.append(
            {
                "what": f"quality of {source}",
                "n": len(texts),
                "p1, p5, median": np.percentile(judges.scores(texts).quality, [1, 5, 50]).round(3).tolist(),
            }
        )
    return rows


def taxonomy(judges: scoring.Judges, every: list[learning.Example]) -> list[dict]:
    """Accuracy of domain, register and kind on the held-back tenth."""
    held = [one for one in every if one.held_back and one.source in learning.SOURCES]
    scores = judges.scores([one.text for one in held])
    rows = []
    for place, name in enumerate(("domain", "register", "kind")):
        right = [
            said == learning.SOURCES[one.source][place] for said, one in zip(getattr(scores, name), held, strict=True)
        ]
        rows.append(
            {
                "what": f"{name} accuracy, held-back documents of known sources",
                "n": len(held),
                "value": float(np.mean(right)),
            }
        )
    return rows


def toxicity(judges: scoring.Judges, every: list[learning.Example], data: Path) -> list[dict]:
    """F1 on held-back comments at 0.5, and how many clean documents lie above the filter's threshold."""
    said = learning.comments(data)
    held = [(text, toxic) for text, toxic, held_back in said if held_back]
    score = judges.scores([text for text, _ in held]).toxicity
    y = np.array([toxic for _, toxic in held])
    rows = []
    for threshold in (0.3, 0.4, 0.5):
        found = score >= threshold
        right = (found & y).sum()
        rows.append(
            {
                "what": f"toxicity F1 at {threshold}, held-back comments",
                "n": len(y),
                "f1": float(2 * right / (found.sum() + y.sum())),
                "precision": float(right / found.sum()),
                "recall": float(right / y.sum()),
            }
        )
    for source in (
        "kowiki",
        "enwiki",
        "korean_law",
        "petitions",
        "news_comments_ko",
        "nsmc_reviews",
        "sgd_dialogue_en",
        "standardebooks_en",
        "korean_literature",
    ):
        texts = [
            one.text
            for one in every
            if one.source == source
            and (one.held_back or source in ("korean_literature",) or source in ("news_comments_ko", "nsmc_reviews"))
        ]
        score = judges.scores(texts).toxicity
        rows.append(
            {
                "what": f"toxicity of {source}",
                "n": len(texts),
                **{f">{t}": float((score > t).mean()) for t in (0.3, 0.4, 0.5)},
                "p50,p99,max": np.percentile(score, [50, 99, 100]).round(3).tolist(),
            }
        )
    return rows


def perplexity(judges, every):
    rows = []
    for source in sorted({one.source for one in every}):
        texts = [one.text for one in every if one.source == source and one.held_back]
        if texts:
            rows.append(
                {
                    "what": f"perplexity of {source}",
                    "n": len(texts),
                    "p1,p50,p99,max": np.percentile(judges.scores(texts).perplexity, [1, 50, 99, 100])
                    .round(2)
                    .tolist(),
                }
            )
    for lang in ("ko", "en"):
        texts = [learning.messed(one) for one in every if one.held_back and one.lang == lang]
        rows.append(
            {
                "what": f"perplexity of made mess {lang}",
                "n": len(texts),
                "p1,p50,p99": np.percentile(judges.scores(texts).perplexity, [1, 50, 99]).round(2).tolist(),
            }
        )
    return rows


def speed(judges, every):
    texts = [one.text for one in every][:6000]
    size = sum(len(text.encode()) for text in texts) / 1e6
    begin = time.process_time()
    judges.scores(texts)
    return {"what": "speed", "n": len(texts), "MB/s": size / (time.process_time() - begin)}


def languages(data: Path) -> list[dict]:
    """Accuracy on paragraphs of 40 to 400 characters; gold is the file's language, scripts checked."""
    draw = random.Random(1)
    gold = defaultdict(list)
    for file, lang in (
        ("kowiki", "ko"),
        ("petitions", "ko"),
        ("korean_law", "ko"),
        ("enwiki", "en"),
        ("digitalgov_en", "en"),
        ("wiki_other_langs", "other"),
    ):
        for row in learning._rows(data / "corpus" / f"{file}.jsonl.gz"):
            paragraphs = [p for p in normalise(row["text"]).split("\n") if 40 <= len(p) <= 400]
            gold[lang, file] += draw.sample(paragraphs, min(2, len(paragraphs)))
    rows, wrong_all, total = [], 0, 0
    for (lang, file), paragraphs in gold.items():
        paragraphs = draw.sample(paragraphs, min(2000, len(paragraphs)))
        said = [language.identify(p, **POLICY)[0] for p in paragraphs]
        wrong = [p[:90] for p, one in zip(paragraphs, said, strict=True) if one != lang]
        wrong_all, total = wrong_all + len(wrong), total + len(paragraphs)
        rows.append(
            {
                "what": f"language of {file}",
                "n": len(paragraphs),
                "accuracy": 1 - len(wrong) / len(paragraphs),
                "wrong": wrong[:6],
            }
        )
    rows.append({"what": "language id", "n": total, "accuracy": 1 - wrong_all / total})
    return rows


def auc(y: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    good, bad = (y == 1).sum(), (y == 0).sum()
    return float((ranks[y == 1].sum() - good * (good + 1) / 2) / (good * bad))


def calibration(y: np.ndarray, score: np.ndarray) -> float:
    """Expected calibration error over ten bins."""
    bins = np.minimum((score * 10).astype(int), 9)
    return float(
        sum(abs(y[bins == b].mean() - score[bins == b].mean()) * (bins == b).mean() for b in set(bins.tolist()))
    )


if __name__ == "__main__":
    main()
