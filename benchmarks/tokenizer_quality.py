"""Knows whether a vocabulary helps a model: the demo's Base with each, at equal training FLOPs, same held-out text.

    python -m benchmarks.tokenizer_quality --kept /tmp/quality [--seeds 1 2 3] [--threads 2]

A token of a larger vocabulary costs more (its rows of the head) and holds more text; so each Base is trained on as many
tokens as cost what the demo's own plan costs with 4,096 ids. Bits per byte, so that a token's length plays no part.
Every finished training leaves its row in the folder --kept: a run that is stopped goes on with the others.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import _frame
from benchmarks._quality import interval, whole_documents
from benchmarks.curation import LANGUAGES
from evals.material import held_out_texts
from evals.torch_subject import TorchSubject

GOAL = "bits per byte, both languages together: ours < plain, beyond the 95 % interval over seeds"
MORPHEMES = {"boundary": "morphemes", "bounded": 0.77, "spaced": 0.0}
WAYS: dict[str, dict[str, Any]] = {
    "plain 4096": {"vocab_size": 4096, "boundary": "none", "spaced": 0.0},
    "particles 4096": {"vocab_size": 4096, "boundary": "particles", "bounded": 1.0, "spaced": 0.0},
    "morphemes 4096": {"vocab_size": 4096, **MORPHEMES},
    "plain 8192": {"vocab_size": 8192, "boundary": "none", "spaced": 0.0},
    "morphemes 8192": {"vocab_size": 8192, **MORPHEMES},
}
DATA = ("ingest", "filter", "dedup", "synthesize", "mix")
TRAINING = ("pretrain", "upscale", "midtrain", "extend")


def main() -> None:
    """Trains every way with every seed, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    flags.kept.mkdir(parents=True, exist_ok=True)
    missing = [(seed, way) for seed in flags.seeds for way in flags.ways if not kept(flags.kept, way, seed).exists()]
    if missing:
        with _frame.workspace(_frame.ROOT / "data/sample/text", profile="demo") as folder:
            for name in DATA:
                _frame.stage(name, folder)
            for seed, way in missing:
                row = {"who": f"{way}, seed {seed}", **trained(folder, WAYS[way], seed, flags.threads)}
                kept(flags.kept, way, seed).write_text(json.dumps(row), encoding="utf-8")
                print(row, flush=True)
    runs = {way: [json.loads(kept(flags.kept, way, seed).read_text()) for seed in flags.seeds] for way in flags.ways}
    rows = [row for found in runs.values() for row in found] + [
        {"who": way, **summary(found)} for way, found in runs.items()
    ]
    plain = [row["bpb"] for row in runs["plain 4096"]]
    ratio = {}
    for way in flags.ways[1:]:
        low, middle, high = interval([row["bpb"] - base for row, base in zip(runs[way], plain, strict=True)])
        ratio |= {f"{way} - plain 4096": middle, f"{way} - plain 4096, low": low, f"{way} - plain 4096, high": high}
    _frame.report("tokenizer_quality", goal=GOAL, rows=rows, ratio=ratio)


def kept(folder: Path, way: str, seed: int) -> Path:
    """Where a finished training's row lies."""
    return folder / f"{way}, {seed}.json"


def trained(folder: Path, way: dict[str, Any], seed: int, threads: int) -> dict[str, Any]:
    """Bits per byte of held-out text of the Base with such a vocabulary, and what it saw."""
    rows = -(-way["vocab_size"] // 64) * 64
    plan = _frame.numbers(_frame.ROOT / "profiles/demo.yaml")

    def edit(params: dict) -> None:
        params["tokenizer"].update(way)
        for name, layers in (("pretrain", plan["pretrain"]["shape"]["layers"]), ("midtrain", 0), ("extend", 0)):
            shape = plan["pretrain"]["shape"] | {"layers": layers or plan["upscale"]["layers"]}
            share = flops(shape, 4096, plan[name]["context"]) / flops(shape, rows, plan[name]["context"])
            params[name].update(seed=seed, tokens=round(plan[name]["tokens"] * share))

    _frame.change(folder, edit)
    for name in ("tokenizer", "tokenize"):
        _frame.stage(name, folder)
    seconds = sum(_frame.stage(name, folder, env={"OMP_NUM_THREADS": str(threads)}).seconds for name in TRAINING)
    texts = {
        lang: held_out_texts(folder / "artifacts/mix/validation", lang=lang, max_bytes=1 << 20) for lang in LANGUAGES
    }
    found = judged(folder / "artifacts/extend", texts)
    for name in ("tokenizer", "tokenize", *TRAINING):
        shutil.rmtree(folder / "artifacts" / name)
        shutil.rmtree(folder / ".scratch" / name, ignore_errors=True)
    tokens = sum(
        _frame.numbers(folder / _frame.PARAMS_FILE)[name]["tokens"] for name in ("pretrain", "midtrain", "extend")
    )
    return {**found, "tokens": tokens, "seconds": seconds}


def judged(model: Path, texts: dict[str, list[str]]) -> dict[str, float]:
    """Bits per byte of each language's whole documents and of both together, and bytes per token."""
    subject = TorchSubject(model)
    packed = {
        k: sum(len(t.encode()) for t in own) / sum(len(subject.encode(t)) for t in own) for k, own in texts.items()
    }
    return whole_documents(subject, texts) | {f"bytes/token {lang}": value for lang, value in packed.items()}


def flops(shape: dict[str, Any], rows: int, context: int) -> float:
    """Training FLOPs of a token: six per weight of the matrices, and attention over half the context on average."""
    wide, narrow = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    layer = shape["hidden"] * (2 * wide + 2 * narrow + 3 * shape["ffn"]) + context * wide
    return 6.0 * (shape["layers"] * layer + shape["hidden"] * rows)


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and the interval of the sum."""
    low, middle, high = interval([row["bpb"] for row in found])
    return {key: mean(row[key] for row in found) for key in found[0] if key != "who"} | {
        "bpb": middle,
        "low": low,
        "high": high,
    }


if __name__ == "__main__":
    main()
