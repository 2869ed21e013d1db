"""Knows what a teacher is worth: the pruned student, taught or not, beside the same shape from scratch, and the bill.

    python -m benchmarks.distillation --artifacts artifacts --kept /tmp/distillation [--seeds 1 2 3] [--threads 2]

`artifacts` are a run's: tokenize, extend (the teacher), prune (the student), mix (held-out documents). Every way is
trained by `fit` with the numbers of the demo's `distill` at shares of the same tokens, and with the best of several
learning rates, chosen on the first seed. Documents are judged in windows of the context that all were trained with, for
a student from scratch has seen no longer one. Tokens to reach the scratch student are read between budgets, linearly in
their logarithm; a first budget that suffices counts whole. Every row lies in --kept: a run that is stopped goes on.
"""

import argparse
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from benchmarks import _frame
from benchmarks._quality import interval, whole_documents
from benchmarks.curation import LANGUAGES
from evals.material import held_out_texts
from evals.torch_subject import TorchSubject
from models import checkpoints, teacher_cache
from models.batches import Packed, TokenShard
from models.distillation import CachedDistillation, Distillation
from models.fit import Plan, fit
from models.objectives import next_token
from models.shapes import build, shape_of

GOAL = (
    "online tokens to reach scratch / scratch's <= 0.2; cached - online bits per byte <= 0.5 % at equal tokens; "
    "cached / cross-entropy step <= 1.10; cache <= 40 bytes per token"
)
SHARES = (0.1, 0.2, 0.5)  # of the tokens of the student from scratch
TAUGHT = ("pruned, cross-entropy", "pruned, online", "pruned, cached")
RATES = (0.00125, 0.0025, 0.005)  # peak learning rates
TUNED = {"scratch": 1.0, TAUGHT[0]: 0.2, TAUGHT[1]: 0.2}  # tried on the first seed, at which share
STUDENTS = (1, 4)  # that share a cache
DRAWS = 48  # of a position, as the laptop profile, whose Base is the teacher
TIMED, WARM = 30, 3  # steps of each kind that are timed, and that go before
QUIET: dict[str, Callable[..., Any]] = {"on_step": lambda *_, **__: None, "probe": lambda *_: {}}


def main() -> None:
    """Trains what is not yet kept, times, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tokens", type=int, default=450_000)
    parser.add_argument("--timed", type=int, default=TIMED)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    flags.kept.mkdir(parents=True, exist_ok=True)

    def run(way: str, share: float, seed: int, rate: float) -> dict[str, Any]:
        tokens = round(flags.tokens * share)
        name = f"{way}, {tokens} tokens, seed {seed}, rate {rate}"
        make = partial(trained, way, flags.artifacts, flags.kept, tokens=tokens, seed=seed, rate=rate)
        return kept(flags.kept, name, make)

    tried = {way: {rate: run(way, share, flags.seeds[0], rate) for rate in RATES} for way, share in TUNED.items()}
    best = {way: min(rows, key=lambda rate: rows[rate]["bpb"]) for way, rows in tried.items()}
    best |= {TAUGHT[2]: best[TAUGHT[1]]}  # the same lesson
    runs = {("scratch", n): [run("scratch", n, s, best["scratch"]) for s in flags.seeds] for n in (SHARES[-1], 1.0)}
    runs |= {("pruned", 0.0): [run("pruned", 0.0, flags.seeds[0], 0.0)] * len(flags.seeds)}  # no order: no seed
    runs |= {(way, share): [run(way, share, s, best[way]) for s in flags.seeds] for way in TAUGHT for share in SHARES}
    steps = kept(flags.kept, f"steps, {flags.timed}", lambda: timed(flags.artifacts, flags.kept, flags.timed))
    means = [
        {"who": f"{way}, {share:.0%}", **dict(zip(("low", "bpb", "high"), interval(bpb(rows)), strict=True))}
        for (way, share), rows in runs.items()
    ]
    single = {row["who"]: row for found in (*(it.values() for it in tried.values()), *runs.values()) for row in found}
    rows = [*means, *single.values(), steps | {"who": "seconds of a step"}]
    _frame.report("distillation", goal=GOAL, rows=rows, ratio=ratios(runs, steps, shapes(flags.artifacts)))


def kept(folder: Path, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The row of that name, made unless a run before has left it."""
    file = folder / f"{name}.json"
    if not file.exists():
        row = {"who": name, **make()}
        file.write_text(json.dumps(row) + "\n", encoding="utf-8")
        print(row, flush=True)
    return json.loads(file.read_text(encoding="utf-8"))


def trained(way: str, artifacts: Path, folder: Path, *, tokens: int, seed: int, rate: float) -> dict[str, Any]:
    """Bits per byte of the student after `tokens` tokens in the order of `seed`, and the seconds of its training."""
    model, packed = checkpoints.load(artifacts / "prune"), order(artifacts, seed)
    if way == "scratch":
        model = build(shape_of(model.config), seed=seed)
    objective, batch_at, facts = lesson(way, artifacts, folder, model, packed, tokens)
    state, start = folder / f"state of {way}, {tokens}, {seed}, {rate}", time.monotonic()
    if tokens:
        fit(model, objective, batch_at, plan=plan(tokens, rate), state=state, **QUIET)
    seconds = time.monotonic() - start
    checkpoints.save(model, state / "model", tokenizer=artifacts / "prune")
    found = judged(state / "model", artifacts, packed.context)
    shutil.rmtree(state)
    return {**found, "tokens": tokens, "seconds": round(seconds, 1), **facts}


def lesson(
    way: str, artifacts: Path, folder: Path, model: Any, packed: Packed, tokens: int
) -> tuple[Any, Any, dict[str, float]]:
    """What a way minimises, its batches, and what its cache took."""
    if way not in ("pruned, online", "pruned, cached"):
        return next_token, packed.batch, {}
    teacher, own = checkpoints.load(artifacts / "extend"), {"temperature": 1.0, "ce_weight": numbers()["ce_weight"]}
    if way == "pruned, online":
        return Distillation(teacher, model, divergence="forward_kl", **own), packed.batch, {}
    cache, seconds = cached(artifacts, folder, teacher, packed, windows=-(-tokens // packed.context))
    facts = {"bytes/token": cache.bytes_per_token, "writing seconds": round(seconds, 1)}
    return CachedDistillation(teacher, model, **own), cache.batch, facts


def cached(
    artifacts: Path, folder: Path, teacher: Any, packed: Packed, *, windows: int
) -> tuple[teacher_cache.TeacherCache, float]:
    """The teacher's draws, and the seconds of those that were not there yet."""
    start = time.monotonic()
    origin = teacher_cache.provenance(
        artifacts / "extend", artifacts / "tokenize", packed, draws=DRAWS, temperature=1.0
    )
    place = teacher_cache.place(folder / "teacher", origin)
    teacher_cache.write(place, origin, teacher, packed, windows=windows)
    return teacher_cache.TeacherCache.open(place, origin, packed, windows=windows), time.monotonic() - start


def judged(model: Path, artifacts: Path, context: int) -> dict[str, float]:
    """Bits per byte of each language's whole held-out documents and of both together, in windows of `context`."""
    subject, folder = TorchSubject(model), artifacts / "mix/validation"
    subject.context = context
    return whole_documents(subject, {k: held_out_texts(folder, lang=k, max_bytes=1 << 20) for k in LANGUAGES})


def timed(artifacts: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Median seconds of a step of `fit` with each way, three rounds of each in turn in one process."""
    packed, seconds = order(artifacts, seed=1), dict[str, list[float]]()
    steps = plan((rounds + WARM) * numbers()["batch_tokens"], RATES[0])
    for way in TAUGHT * 3:
        model, begun = checkpoints.load(artifacts / "prune"), list[float]()
        tokens = steps.steps * steps.batch * packed.context
        objective, batch_at, _ = lesson(way, artifacts, folder, model, packed, tokens)

        def clocked(step: int, size: int, batch_at: Any = batch_at, begun: list[float] = begun) -> Any:
            begun.append(time.perf_counter())
            return batch_at(step, size)

        with tempfile.TemporaryDirectory() as state:
            fit(model, objective, clocked, plan=steps, state=Path(state), **QUIET)
        seconds.setdefault(way, []).extend(after - before for before, after in pairwise(begun[WARM:]))
    return {way: median(own) for way, own in seconds.items()}


def ratios(
    runs: dict[tuple[str, float], list[dict[str, Any]]], steps: dict[str, float], flops: Any
) -> dict[str, float]:
    """Every number of the goal with its interval over seeds, and the bill in FLOPs of the student from scratch."""
    scratch, found = bpb(runs["scratch", 1.0]), dict[str, float]()
    for way in TAUGHT:
        curves = zip(*(bpb(runs[way, share]) for share in SHARES), strict=True)
        needed = [reached(list(curve), goal) for curve, goal in zip(curves, scratch, strict=True)]
        found |= spread(f"{way}: tokens to reach scratch / scratch's", needed)
        if way == TAUGHT[0]:
            continue
        forward, share = flops["teacher forward"] / flops["student"], mean(needed)
        bills = STUDENTS if way == TAUGHT[2] else (1,)
        found |= {f"{way}: FLOPs / scratch's, teacher shared by {n}": share * (1 + forward / n) for n in bills}
        found[f"{way}: FLOPs / scratch's, without the teacher"] = share
    for share in SHARES:
        pairs = zip(bpb(runs[TAUGHT[2], share]), bpb(runs[TAUGHT[1], share]), strict=True)
        found |= spread(f"cached / online bits per byte, {share:.0%}", [a / b for a, b in pairs])
    for way in TAUGHT[1:]:
        found[f"{way} / cross-entropy step"] = steps[way] / steps[TAUGHT[0]]
    return found | {"cache, bytes per token": mean(row["bytes/token"] for row in runs[TAUGHT[2], SHARES[-1]])}


def reached(curve: list[float], goal: float) -> float:
    """Share of tokens at which bits per byte fall to `goal`; infinite if they do not."""
    for place, value in enumerate(curve):
        if value <= goal:
            if not place:
                return SHARES[0]
            (before, low), (after, high) = ((curve[p], math.log(SHARES[p])) for p in (place - 1, place))
            return math.exp(low + (high - low) * (before - goal) / (before - after))
    return math.inf


def spread(name: str, values: list[float]) -> dict[str, float]:
    """Mean and its interval; where some value is infinite, so is the mean, and there is no interval."""
    if math.inf in values or len(values) < 3:
        return {name: mean(values)}
    low, middle, high = interval(values)
    return {name: middle, f"{name}, low": low, f"{name}, high": high}


def bpb(rows: list[dict[str, Any]]) -> list[float]:
    """Bits per byte of each seed."""
    return [row["bpb"] for row in rows]


def shapes(artifacts: Path) -> dict[str, float]:
    """FLOPs per token: of the student's training, and of the teacher's forward pass, a third of its training."""
    student, teacher = (shape_of(checkpoints.load(artifacts / name).config) for name in ("prune", "extend"))
    context = numbers()["context"]
    return {"student": student.flops_per_token(context), "teacher forward": teacher.flops_per_token(context) / 3}


def plan(tokens: int, rate: float) -> Plan:
    """The demo's plan for `distill` at other tokens and another peak rate."""
    own = numbers()
    examples = own["batch_tokens"] // own["context"]
    steps = max(1, tokens // own["batch_tokens"])
    fields = {name: own[name] for name in Plan.__dataclass_fields__ if name in own} | {"save_every": max(1, steps)}
    return Plan(**{**fields, "learning_rate": rate, "steps": steps, "batch": examples, "log_every": max(1, steps)})


def numbers() -> dict[str, Any]:
    """The demo's `distill` section."""
    return _frame.numbers(_frame.ROOT / "profiles/demo.yaml")["distill"]


def order(artifacts: Path, seed: int) -> Packed:
    """Windows of phase 2 in the order of a seed."""
    return Packed(TokenShard.open(artifacts / "tokenize", "phase2"), numbers()["context"], seed)


if __name__ == "__main__":
    main()
