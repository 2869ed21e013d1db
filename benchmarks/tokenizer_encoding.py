"""Measures how fast text becomes ids: each encoder on one core, Korean and English encyclopedia.

    python -m benchmarks.tokenizer_encoding --data ../shared/data --tokenizer "/tmp/vocabularies/ours (131384)"

Ours is the tokenizers library, by which the stage `tokenize` (in batches) and the runtime (one by one) encode. tiktoken
is given our merges and regex, llama.cpp our GGUF file; rs-bpe cannot load a vocabulary and encodes with its own o200k.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_mini.gguf_backend import GgufBackend
from midm_mini.onnx_backend import BYTE_OF

from benchmarks import _frame
from benchmarks.tokenizer_runtimes import exported
from corpus.pretokens import PRETOKENIZER
from corpus.reading import read_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GOAL = "none set: MB of UTF-8 per second beside encoders of tiktoken's class"
SOURCES = {"ko": "kowiki", "en": "enwiki"}
CHARACTERS = 4_000_000
Encode = Callable[[list[str]], Any]


def main() -> None:
    """Times each encoder twice on each language, keeps the better, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    flags = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = "1"
    texts = {lang: documents(flags.data / f"corpus/{name}.jsonl.gz") for lang, name in SOURCES.items()}
    rows = []
    with tempfile.TemporaryDirectory(prefix="openmidm-bench-") as name:
        for who, encode in encoders(flags.tokenizer, Path(name)).items():
            speeds = {f"MB/s {lang}": max(speed(encode, own) for _ in range(2)) for lang, own in texts.items()}
            rows.append({"who": who, **speeds})
            print(rows[-1], flush=True)
    ours = rows[0]
    ratio = {f"{key}, ours to {row['who']}": ours[key] / row[key] for row in rows[1:] for key in row if key != "who"}
    _frame.report("tokenizer_encoding", goal=GOAL, rows=rows, ratio=ratio)


def documents(file: Path) -> list[str]:
    """A file's first documents."""
    texts: list[str] = []
    size = 0
    for row in read_file(file, file.name, max_record_bytes=1 << 24):
        if size < CHARACTERS and isinstance(row, dict):
            texts.append(row["text"])
            size += len(row["text"])
    return texts


def encoders(folder: Path, scratch: Path) -> dict[str, Encode]:
    """Each encoder that is at hand."""
    import tiktoken
    from rs_bpe.bpe import openai
    from tokenizers import Tokenizer

    coder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    _, bundles = exported(folder, scratch)
    backend = GgufBackend(bundles["llama.cpp"], threads=1, context=16)
    theirs = tiktoken.Encoding("ours", pat_str=PRETOKENIZER, mergeable_ranks=ranks(coder), special_tokens={})
    o200k = openai.o200k_base()
    return {
        "ours, in batches": lambda texts: coder.encode_batch_fast(texts, add_special_tokens=False),
        "ours, one by one": lambda texts: [coder.encode(text, add_special_tokens=False) for text in texts],
        "tiktoken, our vocabulary": lambda texts: [theirs.encode_ordinary(text) for text in texts],
        "llama.cpp, our vocabulary": lambda texts: [backend.encode(text, special=False) for text in texts],
        "rs-bpe, o200k": lambda texts: [o200k.encode(text) for text in texts],
    }


def ranks(coder: "Tokenizer") -> dict[bytes, int]:
    """Our tokens in tiktoken's form: bytes → order of merging."""
    vocabulary = coder.get_vocab(with_added_tokens=False)
    added = {token.content for token in coder.get_added_tokens_decoder().values()}
    return {
        bytes(BYTE_OF[letter] for letter in token): rank for token, rank in vocabulary.items() if token not in added
    }


def speed(encode: Encode, texts: list[str]) -> float:
    """MB of UTF-8 per second."""
    size = sum(len(text.encode()) for text in texts) / 1e6
    start = time.perf_counter()
    encode(texts)
    return size / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
