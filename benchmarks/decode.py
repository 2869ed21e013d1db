"""Measures replies: ours beside bare llama-cpp-python and onnxruntime-genai, on a small model and one of a gigabyte.

    OMP_NUM_THREADS=1 python -m benchmarks.decode --small artifacts/export --work /tmp/decode [--layers 20]

--small holds a pipeline's artifacts, whose weights stay in the processor's cache; the large model, Mini's shape with
fewer layers and random weights (speed does not depend on what they say), is made in --work and kept there (12 GB of
disk, 12 GB of memory, a quarter of an hour). All take turns within a round, the bandwidth probe (midm_mini.measure)
too; each round gives a ratio and the median counts, so that what else the machine does hits all alike. The share of
bandwidth takes each byte of the weight file as read once per token; GGUF has 8.5 and 4.5 bits per weight, ONNX 9 and 5.
A row's GB/s are those bytes: what a kernel eats from the cache (small) is its ceiling, however fast memory is.
"""

import argparse
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import _frame
from benchmarks._decoders import DECODERS

GOAL = (
    "ours / bare <= 1.02; large: share of bandwidth >= 0.85, ONNX / GGUF tokens per second >= 1; cold start <= 1.05; "
    "first token after a cached system prompt of 1k tokens / uncached <= 0.2"
)
CONTEXT, QUESTION, SYSTEM = 256, 16, 1024  # tokens
BARE = {"gguf": ["llama_cpp_python", "llama_c"], "onnx": ["genai"]}
PAIRS: dict[str, list[tuple[str, ...]]] = {  # GGUF and ONNX at the same bits, or a GGUF alone
    "small": [("gguf-q8_0", "onnx-int8"), ("gguf-q4_k_m", "onnx-int4")],
    "large": [("gguf-q8_0", "onnx-int8"), ("gguf-q4_0", "onnx-int4"), ("gguf-f16",)],
}
Samples = Mapping[tuple[str, str], Sequence[float]]  # (artifact, who) → seconds per token of each round


def main() -> None:
    """Builds what is missing, lets everyone take turns, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=32)
    flags = parser.parse_args()
    build(flags.work, flags.layers)
    cores = len(os.sched_getaffinity(0))
    rows, ratio = measured("small", flags.small, 1, flags.rounds, flags.tokens)
    for more, others in (
        measured("large", flags.work, cores, flags.rounds, flags.tokens),
        remembered([flags.work / name for name in PAIRS["large"][0]], cores),
    ):
        rows, ratio = [*rows, *more], ratio | others
    _frame.report("decode", goal=GOAL, rows=rows, ratio=ratio)


def measured(
    size: str, folder: Path, threads: int, rounds: int, tokens: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Rows and ratios of a model's artifacts: writing at both widths, and cold starts at the wider."""
    rows, ratio = [], dict[str, float]()
    for names in PAIRS[size]:
        paths = [folder / name for name in names]
        seconds, bandwidth = alone(race, paths, threads, rounds, tokens)
        for path in paths:
            at, weights = f"{size} {path.name}", max(file.stat().st_size for file in path.iterdir())
            pace = {who: median(seconds[path.name, who]) for who in ("ours", *bare(path))}
            ratio |= {f"{at}: ours / {who}": over(seconds, (path.name, "ours"), (path.name, who)) for who in bare(path)}
            for who in pace if size == "large" else ():  # what stays in the cache is not bounded by memory
                pairs = zip(seconds[path.name, who], bandwidth, strict=True)
                share = median(weights / 1e9 / took / reach for took, reach in pairs)
                ratio[f"{at}: share of bandwidth, {who}"] = share
            about = {"artifact": at, "MB": weights / 1e6, "threads": threads}
            rows += [
                about | {"who": who, "tokens/s": 1 / took, "GB/s": weights / 1e9 / took} for who, took in pace.items()
            ]
        gguf, *others = names
        ratio |= {f"{size} {onnx} / {gguf}: tokens/s": over(seconds, (gguf, "ours"), (onnx, "ours")) for onnx in others}
        rows.append({"artifact": size, "threads": threads, "who": "bandwidth probe", "GB/s": median(bandwidth)})
    for path in (folder / name for name in PAIRS[size][0]):
        starts = cold_starts(path, threads, 1 + rounds // 3)
        rows += [{"artifact": f"{size} {path.name}", "who": who, "cold start s": took} for who, took in starts.items()]
        ratio |= {f"{size} {path.name}: cold start / {who}": starts["ours"] / starts[who] for who in bare(path)}
    return rows, ratio


def race(
    paths: Sequence[Path], threads: int, rounds: int, tokens: int
) -> tuple[dict[tuple[str, str], list[float]], list[float]]:
    """Seconds per token of everyone and GB/s of the probe, round by round, each round begun by another."""
    from midm_mini.measure import read_bandwidth

    runners = {
        (path.name, who): DECODERS[who](path, threads, CONTEXT) for path in paths for who in ("ours", *bare(path))
    }
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in runners}
    bandwidth = []
    for number in range(-1, rounds):  # the first warms everyone
        turns = list(runners.items())
        for key, decode in turns[number % len(turns) :] + turns[: number % len(turns)]:
            _, steps = decode(prompt(number, QUESTION), tokens + 1)
            seconds[key] += [median(steps)] if number >= 0 else []
        bandwidth += [read_bandwidth(threads, repeats=2)] if number >= 0 else []
    return seconds, bandwidth


def cold_starts(path: Path, threads: int, times: int) -> dict[str, float]:
    """Median seconds from the start of Python to the first token, everyone in turn; bytecode is kept, as of a wheel."""
    kept = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    starts: dict[str, list[float]] = {who: [] for who in ("ours", *bare(path))}
    for who in [*starts] * times:
        words = [_frame.PYTHON, "-m", "benchmarks._decoders", who, path, threads, CONTEXT, time.time()]
        done = subprocess.run([*map(str, words)], cwd=_frame.ROOT, env=kept, capture_output=True, text=True, check=True)
        starts[who].append(float(done.stdout))
    return {who: median(took) for who, took in starts.items()}


def remembered(paths: Sequence[Path], threads: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Rows and ratios of the time to the first token, with the system prompt read before and not."""
    rows, ratio = [], {}
    for path in paths:
        fresh, cached = alone(first_tokens, path, threads)
        rows += [{"artifact": f"large {path.name}", "who": "ours, 1k tokens before", "first token s": fresh}]
        rows += [{"artifact": f"large {path.name}", "who": "ours, 1k tokens cached", "first token s": cached}]
        ratio[f"large {path.name}: first token cached / uncached"] = cached / fresh
    return rows, ratio


def first_tokens(path: Path, threads: int) -> tuple[float, float]:
    """Seconds to the first token of a question after the system prompt: the least of two fresh, the median of five."""
    decode = DECODERS["ours"](path, threads, SYSTEM + CONTEXT)
    fresh = min(decode([*prompt(turn, SYSTEM), *prompt(0, QUESTION)], 1)[0] for turn in (0, 1))
    return fresh, median(decode([*prompt(1, SYSTEM), *prompt(turn, QUESTION)], 1)[0] for turn in range(2, 7))


def prompt(number: int, length: int) -> list[int]:
    """Ids of ordinary tokens; prompts of other numbers begin differently."""
    return [8 + (number * 131 + n * 7919) % 800 for n in range(length)]


def over(seconds: Samples, one: tuple[str, str], other: tuple[str, str]) -> float:
    """The median over rounds of one's seconds over the other's."""
    return median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))


def bare(path: Path) -> list[str]:
    """Who else opens such an artifact."""
    return BARE[path.name.split("-")[0]]


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `work` in a process of its own, so that what it opens goes with it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def build(work: Path, layers: int) -> None:
    """Makes the large model and its artifacts, each once: Mini's shape but for the layers, random bf16 weights."""
    import torch

    from corpus import bpe
    from export import checkpoint, gguf, onnx, quantizing
    from models import checkpoints, shapes

    geometry = {"hidden": 1792, "ffn": 4608, "heads": 32, "kv_heads": 8, "head_dim": 128, "tied": True}
    if not (work / "hf").is_dir():
        texts = (f"{n} 번째 문장 the sentence" for n in range(2000))
        bpe.save(bpe.train(texts, vocab_size=1000, min_frequency=1), work / "tokenizer", context=4096)
        shape = shapes.Shape(vocab_rows=131_392, layers=layers, rope_theta=10_000.0, context=4096, **geometry)
        model = shapes.build(shape, seed=1).to(torch.bfloat16)
        checkpoints.save(model, work / "draft", tokenizer=work / "tokenizer")
        (work / "draft").rename(work / "hf")
    parent = checkpoint.read(work / "hf")
    card = gguf.Card("midm-mini-random", "base", "v0.1", "mit", ("ko", "en"), "none")
    whole, blocks = work / "whole.gguf", onnx.Blocks(32, symmetric=True)  # as Q4_0 and Q8_0 are
    makers: dict[str, Callable[[Path], object]] = {
        "gguf-f16": lambda out: os.link(whole, out / "model.gguf"),
        "gguf-q8_0": lambda out: quantizing.quantize(whole, out / "model.gguf", "Q8_0"),
        "gguf-q4_0": lambda out: quantizing.quantize(whole, out / "model.gguf", "Q4_0"),
        "onnx-int8": lambda out: onnx.make(parent, card, "int8", out, blocks=blocks),
        "onnx-int4": lambda out: onnx.make(parent, card, "int4", out, blocks=blocks),
    }
    missing = [name for name in makers if not (work / name).is_dir()]
    if any(name.startswith("gguf") for name in missing):
        gguf.convert(parent, card, "F16", whole)
    for name in missing:
        shutil.rmtree(draft := work / "draft", ignore_errors=True)
        draft.mkdir()
        makers[name](draft)
        draft.rename(work / name)
    whole.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
