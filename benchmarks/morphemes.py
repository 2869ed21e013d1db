"""Measures how often token boundaries are morpheme boundaries in three Korean treebanks, and what it costs in tokens.

    python -m benchmarks.morphemes --data ../shared/data

Gold: in the treebanks a lemma lists a word's morphemes; counted are words whose morphemes spell them out (others, as 했
from 하+었, have no place to cut), and places between syllables. Vocabularies learn from `data/corpus` alone, filtered,
counted and weighted as profile paper says; plain ones of the same size from the same counts.
"""

import argparse
import gzip
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks import _frame, tokenizer
from corpus import bpe, morphemes, tally
from corpus.pretokens import Words
from pipelines import tokenizer as stage

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GOAL = "F1 in each treebank >= 10 points over plain, tokens <= 1.02 of plain's"
TREEBANKS = ("kaist", "gsd", "ksl")
SHARES = {32_768: 0.85, 65_536: 0.85, 131_384: 0.77}  # of the profiles
_FINALS = dict(
    zip("ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ", map(chr, range(0x11A8, 0x11C3)), strict=True)
)


class Sentence(NamedTuple):
    """Text, and of each word with gold its first and last character and those at which a morpheme begins."""

    text: str
    words: list[tuple[int, int, set[int]]]


def main() -> None:
    """Learns each way at each size, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    flags = parser.parse_args()
    banks = {name: list(sentences(flags.data / f"ud/ko_{name}-ud-dev.conllu.gz")) for name in TREEBANKS}
    pud = tokenizer.sentences(flags.data / "ud/ko_pud-ud-test.conllu.gz")
    with _frame.workspace(flags.data / "corpus") as folder:
        tokenizer.prepare(folder)
        own = _frame.numbers(_frame.ROOT / "profiles/paper.yaml")["tokenizer"]
        weigh = partial(stage.grains, weights=own["weights"])
        recipe = tally.Recipe(stage.COUNTS[own["count"]], weigh, own["max_characters"])
        words, _ = tally.of_folder(folder / "artifacts/mix/phase1", recipe, scratch=folder / "words")
    cut = remembered(words)
    rows = []
    for size, share in SHARES.items():
        for name, (taught, way) in ways(words, cut, share).items():
            made = bpe.learn(taught, vocab_size=size, min_frequency=200, **way)
            row: dict[str, Any] = {"who": f"{name} ({size})", "tokens_pud": tokenizer.counter(made)(pud)}
            for bank, gold in banks.items():
                precision, recall, f1 = boundaries(made, gold)
                row |= {f"P {bank}": precision, f"R {bank}": recall, f"F1 {bank}": f1}
                row[f"tokens_{bank}"] = tokenizer.counter(made)([sentence.text for sentence in gold])
            rows.append(row)
            print(row, flush=True)
    found = {row["who"]: row for row in rows}
    ratio = {}
    for size in SHARES:
        plain, ours = found[f"plain ({size})"], found[f"ours ({size})"]
        ratio |= {f"{key}, {size}": ours[key] / plain[key] for key in plain if key.startswith("tokens")}
        ratio |= {f"{key} gained, {size}": 100 * (ours[key] - plain[key]) for key in plain if key.startswith("F1")}
    _frame.report("morphemes", goal=GOAL, rows=rows, ratio=ratio)


def ways(words: Words, cut: morphemes.Cut, share: float) -> dict[str, tuple[Words, dict[str, Any]]]:
    """Name → words to learn from and how: no boundary, particles, hard and soft ones of morphemes, and ours."""
    bounded = bpe.parts(words, cut)
    soft = pa.concat_tables(
        [
            tally.table(kept.spelled.cast(pa.large_string()), np.round(kept.counts * part).astype(np.int64))
            for kept, part in ((words, 0.3), (bounded, 0.7))
        ]
    )
    return {
        "plain": (words, {}),
        "particles, hard": (words, {"cuts": [(morphemes.particles, 1.0)]}),
        "morphemes, hard": (bounded, {}),
        "morphemes, soft": (tally.words(tally.merged(soft)), {}),
        "ours": (words, {"cuts": [(cut, share)]}),
    }


def remembered(words: Words) -> Callable[[Any], Iterator[list[int]]]:
    """Kiwi's cuts of all words, asked once."""
    spelled = words.spelled.cast(pa.large_string()).to_pylist()
    known = {word: places for word, places in zip(spelled, morphemes.morphemes(spelled), strict=True) if places}
    return lambda asked: (known.get(word, []) for word in asked)


def sentences(file: Path) -> Iterator[Sentence]:
    """A treebank's sentences with their gold."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for block in lines.read().split("\n\n"):
            text = re.search(r"^# text = (.*)$", block, re.MULTILINE)
            if text:
                yield Sentence(text[1], list(_gold(text[1], re.findall(r"^\d+\t(.+?)\t(.+?)\t", block, re.MULTILINE))))


def boundaries(made: "Tokenizer", own: list[Sentence]) -> tuple[float, float, float]:
    """Precision, recall and F1 of token starts inside the words."""
    right = told = gold = 0
    for sentence, coded in zip(
        own, made.encode_batch([row.text for row in own], add_special_tokens=False), strict=True
    ):
        starts = set(accumulate(map(len, coded.tokens), initial=0))  # in bytes: a byte is a letter of a token's name
        places = list(accumulate((len(letter.encode()) for letter in sentence.text), initial=0))
        for first, last, cuts in sentence.words:
            found = {start for start in starts if places[first] < start < places[last]}
            real = {places[cut] for cut in cuts}
            right, told, gold = right + len(found & real), told + len(found), gold + len(real)
    return right / told, right / gold, 2 * right / (told + gold)


def _gold(text: str, rows: list[tuple[str, str]]) -> Iterator[tuple[int, int, set[int]]]:
    at = 0
    for form, lemma in rows:
        first = text.find(form, at)
        if first < 0:
            continue
        at = first + len(form)
        parts = [_jamo(part) for part in lemma.split("+") if part]
        if re.search("[가-힣]", form) and "".join(parts) == _jamo(form):
            edges = accumulate((len(_jamo(letter)) for letter in form), initial=0)
            begins = set(accumulate(map(len, parts[:-1])))
            yield first, at, {first + place for place, edge in enumerate(edges) if edge in begins}


def _jamo(text: str) -> str:
    return unicodedata.normalize("NFD", "".join(_FINALS.get(letter, letter) for letter in text))


if __name__ == "__main__":
    main()
