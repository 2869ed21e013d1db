"""Knows whether every artifact reads text as its parent does: 100,000 strings through each library, and through ours.

    python -m benchmarks.export_ids --model artifacts/dpo --artifacts artifacts/export --corpus ../shared/data/corpus

Strings: stretches of up to 300 characters from every corpus file in turn, every tenth of them decomposed (NFD), and
5,000 of code points drawn from what tokenizers disagree on; the gate's hard texts come first.
"""

import argparse
import gzip
import json
import random
import time
import unicodedata
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import midm_mini

from benchmarks import _frame
from export import checkpoint, facts, verify
from export.texts import HARD_TEXTS

GOAL = "0 of 100,000 strings with other ids, by any artifact's own library or by midm_mini"
STRETCH, HARD = 300, 5_000
ODD = [
    *(chr(code) for code in (*range(0x20, 0x7F), *range(0xA0, 0x100), *range(0x1100, 0x1200), *range(0x3130, 0x318F))),
    *(chr(code) for code in (*range(0x2000, 0x2070), *range(0xFE00, 0xFE10), *range(0xFF00, 0xFFF0))),
    *(
        "\n",
        "\r\n",
        "\t",
        "  ",
        "'s",
        "'LL",
        "123",
        "👩‍🚀",
        "🇰🇷",
        "❤️",
        "각",
        "값",
        "뷁",
        "é",
        "ß",
        "ǅ",
        "ا",
        "ह",
        "\U000e0041",
    ),
]


def main() -> None:
    """Reads the strings by the parent once and by every artifact, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--strings", type=int, default=100_000)
    flags = parser.parse_args()
    parent = checkpoint.read(flags.model)
    texts = list(islice(chain(HARD_TEXTS, odd(min(HARD, flags.strings // 20)), stretches(flags.corpus)), flags.strings))
    if len(texts) < flags.strings:
        raise ValueError(f"{flags.corpus} yields {len(texts)} strings; give more text")
    added, alone = (verify.parent_ids(parent, texts, alone=alone) for alone in (False, True))
    rows = [compared(folder, texts, added, alone) for folder in sorted(flags.artifacts.iterdir()) if folder.is_dir()]
    other = sum(row["other ids by its library"] + row["other ids by midm_mini"] for row in rows)
    _frame.report(
        "export_ids", goal=GOAL, rows=rows, ratio={"other ids": other, "tokens per artifact": sum(map(len, alone))}
    )


def compared(folder: Path, texts: list[str], added: list[list[int]], alone: list[list[int]]) -> dict[str, object]:
    """One artifact's row."""
    start = time.perf_counter()
    theirs = facts.read(folder, texts, ()).ids
    wanted = alone if (folder / "genai_config.json").is_file() else added
    library = time.perf_counter()
    with midm_mini.load(folder, threads=1) as model:
        ours = [model.tokenize(text, special=True) for text in texts]
    seconds = {"library s": round(library - start, 1), "midm_mini s": round(time.perf_counter() - library, 1)}
    return {
        "artifact": folder.name,
        "strings": len(texts),
        "other ids by its library": sum(a != b for a, b in zip(theirs, wanted, strict=True)),
        "other ids by midm_mini": sum(a != b for a, b in zip(ours, alone, strict=True)),
    } | seconds


def stretches(corpus: Path) -> Iterator[str]:
    """Stretches of the files in turn, so that each source is read from."""
    files = [_pieces(file) for file in sorted(corpus.rglob("*.jsonl.gz"))]
    number = 0
    while files:
        for file in [*files]:
            if (text := next(file, None)) is None:
                files.remove(file)
                continue
            number += 1
            yield unicodedata.normalize("NFD", text) if number % 10 == 0 else text


def odd(count: int) -> Iterator[str]:
    """Strings of code points that tokenizers disagree on."""
    draw = random.Random(6)
    for _ in range(count):
        yield "".join(draw.choices(ODD, k=draw.randint(1, 40)))


def _pieces(file: Path) -> Iterator[str]:
    draw = random.Random(file.name)
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            text, at = json.loads(line).get("text") or "", 0
            while at < len(text):
                length = draw.randint(1, STRETCH)
                yield text[at : at + length]
                at += 4 * length  # more documents for as many strings


if __name__ == "__main__":
    main()
