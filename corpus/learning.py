"""Knows how the judges are learned: `python -m corpus.learning --data ../shared/data --out data/judges`.

From text of known sources (what a source is says `SOURCES`) and from comments labelled by people. One document in ten,
chosen by its id, is held back from all training; so is every source in `UNSEEN`.
"""

import argparse
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from corpus import language, pii, scoring
from corpus.cleaning import fenced, normalise, strip_markup
from corpus.lots import lot

PER_SOURCE = 700  # documents of one source that teach
DOCUMENT_BUCKETS, SENTENCE_BUCKETS, PROGRAM_BUCKETS, CELLS = 1 << 15, 1 << 17, 1 << 15, 1 << 18
LANGUAGE_MODEL_CHARACTERS = 12_000_000
DISCOUNT = 0.75  # of absolute discounting
_DOCS, _BOOK = ("technology", "formal", "documentation"), ("technology", "formal", "textbook")
SOURCES = {  # file → (domain, register, kind); a file without an entry teaches nothing
    **dict.fromkeys(("msdocs_cpp_en", "msdocs_cpp_ko", "msdocs_dotnet_ko", "msdocs_visualstudio_ko"), _DOCS),
    **dict.fromkeys(("msdocs_windows_ko", "fastapi_en", "fastapi_ko", "helm_ko", "hf_diffusers_en"), _DOCS),
    **dict.fromkeys(("react_en", "react_ko", "vue_ko"), _DOCS),
    **dict.fromkeys(("d2l_en", "d2l_ko", "hf_course_en", "rust_book_en", "rust_kr", "pytorch_kr"), _BOOK),
    "kowiki": ("general", "formal", "encyclopedia"), "enwiki": ("general", "formal", "encyclopedia"),
    "korean_law": ("law", "formal", "law"), "standardebooks_en": ("literature", "narrative", "literature"),
    "korean_literature": ("literature", "narrative", "literature"),
    "openstax_economics_en": ("economy", "formal", "textbook"), "digitalgov_en": ("government", "neutral", "blog"),
    "petitions": ("society", "neutral", "petition"), "nltk_state_union_en": ("politics", "formal", "speech"),
    "parallel/bible_krv_ylt": ("religion", "narrative", "scripture"),
    "sgd_dialogue_en": ("life", "colloquial", "dialogue"), "factbook_en": ("geography", "formal", "reference"),
    "news_comments_ko": ("entertainment", "colloquial", "comments"),
    "nsmc_reviews": ("entertainment", "colloquial", "comments"),
}  # fmt: skip
MESS = {"news_comments_ko", "nsmc_reviews"}
UNSEEN = {  # the quality judge never sees these; they measure it
    "opensource_guide_ko", "opensource_guide_en", "korean_literature", "elixirschool_ko", "owasp_cheatsheets_en",
    "nltk_inaugural_en", "nsmc_reviews", "webpack_kr", "sgd_dialogue_en",
}  # fmt: skip


class Example(NamedTuple):
    """A text and where it is from."""

    id: str
    source: str
    lang: str
    text: str

    @property
    def held_back(self) -> bool:
        """Whether the text measures and does not teach."""
        return lot("held back " + self.id) < 0.1


def main() -> None:
    """Writes the judges; what they reach says benchmarks/judges.py."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    every = list(examples(asked.data))
    taught = [one for one in every if not one.held_back]
    unigrams, cells = language_model([one.text for one in taught if one.source not in MESS | UNSEEN])
    document, labels = document_head(taught)
    sentence = sentence_head(comments(asked.data), [one for one in taught if one.source not in MESS])
    heads = {"document": document, "sentence": sentence, "program": program_head(taught)}
    card = {"arrays": ["cells", "unigrams", *heads], "labels": labels}
    for name, (weights, about) in heads.items():
        np.save(asked.out / f"{name}.npy", weights)
        card[name] = about
    np.save(asked.out / "unigrams.npy", unigrams)
    np.save(asked.out / "cells.npy", cells)
    (asked.out / "judges.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def examples(data: Path) -> Iterator[Example]:
    """Cleaned documents of all sources, at most PER_SOURCE of each, those with the smallest lots."""
    for name in sorted(SOURCES | dict.fromkeys(UNSEEN, ())):
        read = [row for row in rows(data / "corpus" / f"{name}.jsonl.gz")]
        texts = {f"{name}/{row.get('id', n)}": _text(row) for n, row in enumerate(read)}
        chosen = sorted(texts, key=lot)[:PER_SOURCE]
        lang = "en" if name.endswith("_en") or name == "enwiki" else "ko"
        clean = (normalise(strip_markup(texts[key])) for key in chosen)
        masked = pii.mask(list(clean))
        yield from (
            Example(key, name, lang, text) for key, (text, _) in zip(chosen, masked, strict=True) if len(text) > 60
        )


def comments(data: Path) -> list[tuple[str, bool, bool]]:
    """(comment, whether people call it hateful or offensive, whether it is held back)."""
    read = rows(data / "safety/korean_hate_speech.jsonl.gz")
    marked = ((normalise(row["comments"]), row["hate"] != "none") for row in read)
    return [(text, toxic, lot("held back " + text) < 0.1) for text, toxic in marked]


def messed(one: Example) -> str:
    """A text turned into mess: words shuffled, lines stripped to keywords, characters garbled, or letters repeated."""
    draw = random.Random(one.id)
    words = one.text[:3000].split()
    if not words:
        return one.text
    kind = draw.randrange(4)
    if kind == 0:
        draw.shuffle(words)
        return " ".join(words)
    if kind == 1:
        return "\n".join(" | ".join(draw.choices(words, k=draw.randrange(1, 5))) for _ in range(40))
    if kind == 2:
        return (
            one.text[:1500].encode("utf-8").decode("latin-1") if one.lang == "ko" else " ".join(w[::-1] for w in words)
        )
    return " ".join(
        draw.choice(words) * draw.randrange(1, 4) + draw.choice(["!!!", "ㅋㅋㅋ", " >>", "★", "^^"]) for _ in range(120)
    )


def language_model(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Unigrams and cells of scoring.LanguageModel: absolute discounting with back-off, the commonest n-grams kept."""
    share = LANGUAGE_MODEL_CHARACTERS / max(sum(min(len(text), scoring.LONGEST) for text in texts), 1)
    texts = [text for text in texts if lot("language model " + text[:200]) < share]
    grams, folded = scoring.read([scoring.excerpt(text) for text in texts])
    inside = np.zeros(len(folded), dtype=bool)
    for start, length in zip(grams.starts.tolist(), grams.lengths.tolist(), strict=True):
        inside[start : start + length] = True
    places = np.flatnonzero(inside)
    counted = []  # per order: code, context's code, count
    for order in range(2, scoring.ORDERS + 1):
        code, first, count = np.unique(grams.codes[order - 1][places], return_index=True, return_counts=True)
        context = grams.codes[order - 2][places[first] - 1]
        kept = count >= order - 1
        counted.append((code[kept], context[kept], count[kept], np.full(kept.sum(), order)))
    code, context, count, orders = (np.concatenate(column) for column in zip(*counted, strict=True))
    ranking = np.lexsort((code, orders, -count))
    bucket = scoring.bucket(code[ranking], CELLS)
    _, winners = np.unique(bucket, return_index=True)
    chosen = np.sort(ranking[winners])
    code, context, count, orders = code[chosen], context[chosen], count[chosen], orders[chosen]
    totals = [
        dict(zip(*map(np.ndarray.tolist, np.unique(grams.codes[n], return_counts=True)), strict=True))
        for n in range(scoring.ORDERS)
    ]
    total = np.array([totals[n - 2][key] for n, key in zip(orders.tolist(), context.tolist(), strict=True)])
    share_of = np.maximum(count - DISCOUNT, 0.25) / total
    left = [dict.fromkeys(table, 1.0) for table in totals]
    for n, key, part in zip(orders.tolist(), context.tolist(), share_of.tolist(), strict=True):
        left[n - 2][key] -= part
    back_off = np.array([left[n - 1].get(key, 1.0) for n, key in zip(orders.tolist(), code.tolist(), strict=True)])
    cells = np.zeros(CELLS, np.uint32)
    packed = scoring.fingerprint(code).astype(np.uint32) << 16 | _tenths(share_of) << 8 | _tenths(back_off)
    cells[scoring.bucket(code, CELLS)] = packed
    seen = np.bincount(folded[places], minlength=scoring.CLASSES)
    chance = (seen + 0.1) / (seen.sum() + 0.1 * len(seen))
    single = (np.arange(scoring.CLASSES, dtype=np.uint32) + np.uint32(1)) * scoring.MIX
    context_left = np.array([left[0].get(key, 1.0) for key in single.tolist()])
    return _tenths(chance) << 8 | _tenths(context_left), cells


def document_head(taught: list[Example]) -> tuple[tuple[np.ndarray, dict], dict[str, list[str]]]:
    """The head for quality and taxonomy, and the labels in the order of its outputs."""
    good = [one for one in taught if one.source not in MESS | UNSEEN]
    bad = [one.text for one in taught if one.source in MESS - UNSEEN] + [messed(one) for one in good]
    texts = [one.text for one in good] + bad
    x, orders, power = features(texts, DOCUMENT_BUCKETS, (1, 2, 3), 0.5)
    columns = [fit(x, np.array([True] * len(good) + [False] * len(bad)))]
    known = [one for one in taught if one.source in SOURCES]
    x, _, _ = features([one.text for one in known], DOCUMENT_BUCKETS, (1, 2, 3), 0.5)
    labels = {}
    for place, name in enumerate(("domain", "register", "kind")):
        said = [SOURCES[one.source][place] for one in known]
        labels[name] = sorted(set(said))
        columns += [fit(x, np.array([one == label for one in said])) for label in labels[name]]
    return packed(columns, orders, power), labels


def sentence_head(labelled: list[tuple[str, bool, bool]], clean: list[Example]) -> tuple[np.ndarray, dict]:
    """The head for abuse in one sentence: labelled comments, and sentences of clean documents as not abusive."""
    said = [(text, toxic) for text, toxic, held_back in labelled if not held_back]
    for one in clean:
        lines = [line for line in one.text.replace(". ", ".\n").split("\n") if len(line) > 15]
        said += [(line[:300], False) for line in sorted(lines, key=lot)[:3]]
    x, orders, power = features([text for text, _ in said], SENTENCE_BUCKETS, (1, 2, 3, 4), 0.5)
    return packed([fit(x, np.array([toxic for _, toxic in said]))], orders, power)


def program_head(taught: list[Example]) -> tuple[np.ndarray, dict]:
    """The head for code: fenced code of manuals, bare and with prose as its comments, against documents, paragraphs."""
    code, prose = [], []
    for one in taught:
        block, text = split_code(one.text)
        paragraphs = sorted((line for line in text.split("\n") if 60 <= len(line) <= 400), key=lot)
        prose += [text, *sorted(paragraphs, key=language.code_signs)[-5:], *paragraphs[:3]]
        if one.source not in UNSEEN and len(block) > 60:
            code += [block, block[: len(block) // 2]]
            code += [f'{block[:800]}\n"""{line}"""\n{block[800:1600]}' for line in paragraphs[:2]]
    x, orders, power = features(code + prose, PROGRAM_BUCKETS, (1, 2, 3), 0.5)
    return packed([fit(x, np.array([True] * len(code) + [False] * len(prose)))], orders, power)


def split_code(text: str) -> tuple[str, str]:
    """What stands in a text's fences, and the rest."""
    parts = fenced(text)
    return "\n\n".join("\n".join(part.strip().split("\n")[1:-1]) for part in parts[1::2]), "".join(parts[::2])


def features(texts: list[str], buckets: int, orders: tuple[int, ...], power: float):
    """Hashed n-grams of each text as a sparse matrix [texts, buckets], weighed by length^-power; orders, power."""
    from scipy.sparse import csr_matrix, vstack

    parts = []
    for chunk in scoring.chunks(texts):
        grams, _ = scoring.read(chunk)
        owners = np.repeat(np.arange(len(chunk)), grams.lengths)
        places = np.concatenate([np.arange(s, s + n) for s, n in zip(grams.starts, grams.lengths, strict=True)])
        columns = [scoring.bucket(grams.codes[order - 1][places], buckets) for order in orders]
        weights = np.tile(1 / np.maximum(grams.lengths, 1)[owners] ** power, len(orders))
        cells = (weights, (np.tile(owners, len(orders)), np.concatenate(columns)))
        parts.append(csr_matrix(cells, shape=(len(chunk), buckets)))
    return vstack(parts).tocsr(), orders, power


def fit(x, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Logistic regression of labels bool [texts] on `features`: a weight per bucket, and the bias."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=3.0, max_iter=300, solver="lbfgs").fit(x, y)
    return model.coef_[0], float(model.intercept_[0])


def packed(columns: list[tuple[np.ndarray, float]], orders: tuple[int, ...], power: float) -> tuple[np.ndarray, dict]:
    """Heads side by side as int8 [buckets, heads], and what else a reader needs: bias, scale, orders, power."""
    weights = np.stack([column for column, _ in columns], axis=1)
    scale = np.abs(weights).max(axis=0) / 127
    about = {"bias": [round(bias, 6) for _, bias in columns], "scale": [round(float(one), 9) for one in scale]}
    return np.rint(weights / scale).astype(np.int8), about | {"orders": list(orders), "power": power}


def _tenths(share: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(-10 * np.log2(np.maximum(share, 1e-9))), 0, 255).astype(np.uint32)


def rows(file: Path) -> Iterator[dict]:
    """Records of a compressed JSON-lines file."""
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def _text(row: dict) -> str:
    return row["text"] if "text" in row else f"{row['ko']}\n{row['en']}"


if __name__ == "__main__":
    main()
