"""Knows whether curation helps: the laptop's seed model on raw and on curated text, same tokens, same held-out text.

    python -m benchmarks.curation --data ../shared/data/corpus --seeds 1 2

Raw is what ingest read, less what is neither Korean nor English: no rule, no masking, no dedup. The tokenizer is that
of the curated text for both. Held out are curated documents; the raw text loses these and all copies of them, or it
would have learnt the test. Bits per byte, so that a token's length plays no part.
"""

import argparse
import json
import math
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import _frame
from corpus import shards

GOAL = "bits per byte of held-out text: curated <= raw, in both languages"
LANGUAGES = ("ko", "en")


def main() -> None:
    """Prepares both texts, trains on each, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--tokens", type=int, help="instead of the profile's budget")
    parser.add_argument("--threads", type=int, default=2, help="of the training; one leaves the machine usable")
    flags = parser.parse_args()
    with _frame.workspace(flags.data) as curated, _frame.workspace(flags.data) as raw:
        for folder in (curated, raw) if flags.tokens else ():
            _frame.change(folder, lambda params: params["pretrain"].update(tokens=flags.tokens))
        prepare(curated, raw)
        trained = {
            (name, seed): train(folder, seed, flags.threads)
            for seed in flags.seeds
            for name, folder in (("raw", raw), ("curated", curated))
        }
        about = {
            name: _frame.conclusion(folder, "mix")["documents"] for name, folder in (("raw", raw), ("curated", curated))
        }
    rows = [
        {"who": f"{name}, seed {seed}", "documents": about[name]["phase1"], **found}
        for (name, seed), found in trained.items()
    ]
    means = {
        name: [mean(trained[name, seed][f"bpb_{lang}"] for seed in flags.seeds) for lang in LANGUAGES] for name in about
    }
    ratio = {f"raw to curated, {lang}": means["raw"][at] / means["curated"][at] for at, lang in enumerate(LANGUAGES)}
    _frame.report("curation", goal=GOAL, rows=rows, ratio=ratio)


def prepare(curated: Path, raw: Path) -> None:
    """Runs the data stages of both, so that both hold the same tokenizer and the same held-out tokens."""
    for name in ("ingest", "filter", "dedup", "synthesize", "mix", "tokenizer", "tokenize"):
        _frame.stage(name, curated)
    _frame.change(raw, lambda params: params["filter"].update(stages=[]))
    for name in ("ingest", "filter"):
        _frame.stage(name, raw)
    held = {row["id"] for row in shards.read(curated / "artifacts/mix/validation")}
    out, kept = raw / "artifacts/dedup", raw / "artifacts/filter/kept"
    shards.write(out, without(shards.read(kept), held | copies(curated / "artifacts/dedup/clusters.jsonl", held)))
    for name in ("synthesize", "mix"):
        _frame.stage(name, raw)
    for part in ("tokenizer", "mix/validation"):
        shutil.rmtree(raw / "artifacts" / part, ignore_errors=True)
        shutil.copytree(curated / "artifacts" / part, raw / "artifacts" / part)
    _frame.stage("tokenize", raw)


def without(documents: Iterator[dict], ids: Collection[str]) -> Iterator[dict]:
    """Documents but for those with these ids."""
    return (row for row in documents if row["id"] not in ids)


def copies(file: Path, ids: Collection[str]) -> set[str]:
    """All members of the clusters that hold one of the ids."""
    groups = ({group["kept"], *group["copies"]} for group in map(json.loads, file.open(encoding="utf-8")))
    return set().union(*(group for group in groups if group & set(ids)))


def train(folder: Path, seed: int, threads: int) -> dict[str, Any]:
    """Bits per byte of the held-out text after the laptop's pretrain with this seed, and the tokens it saw."""
    _frame.change(folder, lambda params: params["pretrain"].update(seed=seed))
    run = _frame.stage("pretrain", folder, env={"OMP_NUM_THREADS": str(threads)})
    report, parts = (_frame.conclusion(folder, name) for name in ("pretrain", "tokenize"))
    shutil.rmtree(folder / "artifacts/pretrain")
    bits = {}
    for lang in LANGUAGES:
        held = parts["phases"][f"validation_{lang}"]
        bits[f"bpb_{lang}"] = report[f"loss_{lang}"] * held["tokens"] / held["bytes"] / math.log(2)
    return {"tokens": report["curve"][-1]["tokens"], **bits, "seconds": run.seconds}


if __name__ == "__main__":
    main()
