"""Knows how fast an artifact is on this machine: loading, first token, reading, writing, memory, beside two probes."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from midm_mini.backend import cores
from midm_mini.format import MidmError, artifact_format

PROMPT, QUESTION, ANSWER = 1024, 16, 64  # tokens: a system prompt (less in a small context), a turn, a reply
REPLIES = 5  # of which the median counts
BLOCK = 1 << 26  # float32 numbers per thread that the bandwidth probe reads: 256 MiB, more than most caches hold


def bench(path: Path, threads: Sequence[int] = ()) -> dict[str, Any]:
    """Figures of an artifact, one fresh process per number of threads (by default 1, 2, 4 … all cores).

    "rows": threads, load_s, cold_s (start of Python to first token), first_token_s of a long prompt and
    first_token_cached_s of one whose beginning was read before, read_tokens_per_s, write_tokens_per_s, peak_rss_mib.
    "read_gb_per_s" and "gemm_gflops" are what the machine reaches at as many threads; `share` of that bandwidth is what
    writing takes if it reads every byte of the artifact's weights once per token.
    """
    artifact_format(path)  # or an error here and not in another process
    counts = threads or sorted({*(1 << n for n in range(cores().bit_length()) if 1 << n <= cores()), cores()})
    rows = [_fresh(path, count) for count in counts]
    weights = max(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    for row in rows:
        row["read_gb_per_s"] = read_bandwidth(row["threads"])
        row["share"] = weights * row["write_tokens_per_s"] / 1e9 / row["read_gb_per_s"]
    return {"path": str(path), "weight_bytes": weights, "gemm_gflops": gemm(), "rows": rows}


def read_bandwidth(threads: int, *, repeats: int = 5) -> float:
    """GB/s at which `threads` threads together read memory: the best of `repeats` searches for a maximum, each thread
    in its own 256 MiB. Nothing is written and the search is one vector instruction per 64 bytes, so memory is what
    bounds it; a copy would count the same bytes two or three times.
    """
    blocks = np.ones((threads, BLOCK), np.float32)
    return blocks.nbytes / min(_seconds(lambda: _together(np.max, blocks)) for _ in range(repeats)) / 1e9


def gemm(size: int = 2048) -> float:
    """GFLOP/s of numpy's float32 matrix product with the threads its BLAS takes, the best of five."""
    square = np.ones((size, size), np.float32)
    return 2 * size**3 / min(_seconds(lambda: square @ square) for _ in range(5)) / 1e9


def table(found: dict[str, Any]) -> str:
    """The figures for a terminal."""
    names = list(found["rows"][0])
    lines = [names, *([f"{row[name]:.4g}" for name in names] for row in found["rows"])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head = f"{found['path']}: {found['weight_bytes'] / 1e6:.1f} MB, GEMM {found['gemm_gflops']:.0f} GFLOP/s"
    return "\n".join([head, *("  ".join(map(str.rjust, line, widths)) for line in lines)])


def _fresh(path: Path, threads: int) -> dict[str, Any]:
    words = [sys.executable, "-m", "midm_mini.measure", str(path), str(threads), str(time.time())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MidmError(f"{path}: measuring it failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def _measure(path: Path, threads: int, born: float) -> dict[str, Any]:
    """What one process finds out; `born` is the time of day at which it was started."""
    from midm_mini.model import load

    started = time.perf_counter()
    with load(path, threads=threads) as model:
        loaded = time.perf_counter() - started
        model._opened.ends = lambda _: False  # type: ignore[method-assign]  # replies of a known length
        draw = np.random.default_rng(0)

        def tokens(count: int) -> list[int]:
            return draw.integers(model.vocab_size, size=count).tolist()

        length = min(PROMPT, model.context - QUESTION - ANSWER)
        next(model.stream(tokens(QUESTION), max_tokens=1))
        cold = time.time() - born
        prompt = tokens(length)
        fresh = [next(model.stream([*tokens(1), *prompt[1:]], max_tokens=1)).seconds for _ in range(2)]
        next(model.stream(prompt, max_tokens=1))
        cached = [next(model.stream([*prompt, *tokens(QUESTION)], max_tokens=1)).seconds for _ in range(REPLIES)]
        replies = [list(model.stream(tokens(QUESTION), max_tokens=ANSWER)) for _ in range(REPLIES)]
        pace = median((len(reply) - 1) / (reply[-1].seconds - reply[0].seconds) for reply in replies)
    return {
        "threads": threads,
        "load_s": loaded,
        "cold_s": cold,
        "first_token_s": min(fresh),
        "first_token_cached_s": median(cached),
        "read_tokens_per_s": length / min(fresh),
        "write_tokens_per_s": pace,
        "peak_rss_mib": _peak_mib(),
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _together(work: Callable[[Any], object], blocks: Sequence[Any]) -> None:
    workers = [threading.Thread(target=work, args=(block,)) for block in blocks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _peak_mib() -> float:
    """Peak resident memory of this process; Linux's getrusage would count the parent's before exec."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text("utf-8").split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
