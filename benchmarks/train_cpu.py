"""Knows how fast a CPU trains: our loop beside Hugging Face's Trainer, same model, same windows of text, same machine.

    python -m benchmarks.train_cpu --tokens artifacts/tokenize --kept /tmp/train_cpu [--seeds 1 2 3] [--budget 300000]

Speed: every way in turn, three rounds, median step, AdamW for all; the Trainer with and without torch.compile and bf16.
Time to quality: the Trainer's fastest way, its learning rate the best of four, trains the whole budget; ours, its
learning rate the best of four and its decay the demo's, gets shares of the budget until its held-out bits per byte are
as low. Seconds are steps times the median step, so that compiling counts for neither, and both go through their full
schedules, so that neither is stopped in mid-air. On a processor without products of bf16, where such a step takes a
minute, the Trainer is not asked for them. Every training leaves its row in --kept.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import _frame
from benchmarks._quality import held_out, interval
from models import fit as loop
from models import kernels
from models.batches import Packed, TokenShard
from models.objectives import next_token
from models.shapes import Shape, build, rows_for

GOAL = (
    ">= 1.2x tokens/s of the Trainer's best, >= 0.65 of the float32 GEMM probe, <= 0.5x its wall time to the same bits"
)
CONTEXT, BATCH = 128, 8  # of the demo: 1,024 tokens a step
RATES = {"trainer": (0.001, 0.002, 0.004, 0.008), "ours": (0.0025, 0.005, 0.01, 0.02)}
SHARES = (0.2, 0.25, 0.33, 0.4, 0.5, 0.67)
TRAINER = {
    "Trainer eager float32": {},
    "Trainer eager bf16": {"bf16": True},
    "Trainer compiled float32": {"torch_compile": True},
    "Trainer compiled bf16": {"torch_compile": True, "bf16": True},
}
OURS = {  # optimizer, and whether layers are compiled
    "ours AdamW": ("adamw", "0"),
    "ours Muon": ("muon", "0"),
    "ours compiled AdamW": ("adamw", "1"),
    "ours compiled Muon": ("muon", "1"),
}
OUR_BEST = "ours compiled Muon"
Trained = tuple[Any, list[float]]  # the model, and the moment at which each step began


def main() -> None:
    """Measures both claims and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--budget", type=int, default=300_000)
    parser.add_argument("--timed", type=int, default=30, help="steps of a round")
    given = parser.parse_args()
    given.kept.mkdir(parents=True, exist_ok=True)
    speeds = speed(given)
    best = max((row for row in speeds if row["who"].startswith("Trainer")), key=lambda row: row["tokens/s"])
    ours = next(row for row in speeds if row["who"] == "ours compiled AdamW")
    quality = to_quality(given, best["who"])
    ratio = {
        "tokens/s, ours to the Trainer's best": ours["tokens/s"] / best["tokens/s"],
        "share of the GEMM probe": ours["share of GEMM"],
        "seconds to the same bits": quality[1]["seconds"] / quality[0]["seconds"],
    }
    _frame.report("train_cpu", goal=GOAL, rows=[*speeds, *quality], ratio=ratio)


def speed(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Tokens per second of each way, from the median step of all rounds, and what the optimizer costs."""
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    ways: dict[str, Callable[[int], Trained]] = {
        **{who: partial(with_fit, given, who, rate=0.001, seed=1) for who in OURS},
        **{who: partial(with_trainer, given, who, rate=0.001, seed=1) for who in TRAINER if fast or "bf16" not in who},
    }
    seconds: dict[str, list[float]] = {who: [] for who in ways}
    probes = []
    for _ in range(3):
        for who, train in ways.items():
            _, begun = train(given.timed)
            seconds[who].append(_step(begun))
            probes.append(kernels.peak_flops())
    flops, probe = shape_for(given).flops_per_token(CONTEXT), statistics.median(probes)
    rates = {who: BATCH * CONTEXT / statistics.median(steps) for who, steps in seconds.items()}
    print({who: round(rate) for who, rate in rates.items()}, flush=True)
    return [{"who": who, "tokens/s": rate, "share of GEMM": rate * flops / probe} for who, rate in rates.items()]


def to_quality(given: argparse.Namespace, peer: str) -> list[dict[str, Any]]:
    """Seconds of training that each needs for the bits per byte which the Trainer reaches with the whole budget."""
    theirs, ours = {}, {}
    for rate in RATES["trainer"]:
        theirs[rate] = kept(given, peer, partial(with_trainer, given, peer), rate, given.seeds[0], 1.0)
    for rate in RATES["ours"]:
        ours[rate] = kept(given, OUR_BEST, partial(with_fit, given, OUR_BEST), rate, given.seeds[0], 0.33)
    their_rate, our_rate = (min(found, key=lambda rate: found[rate]["bpb"]) for found in (theirs, ours))
    rows = []
    for seed in given.seeds:
        goal = kept(given, peer, partial(with_trainer, given, peer), their_rate, seed, 1.0)
        for share in SHARES:
            mine = kept(given, OUR_BEST, partial(with_fit, given, OUR_BEST), our_rate, seed, share)
            if mine["bpb"] <= goal["bpb"]:
                break
        rows.append((goal, mine))
    ratios = interval([mine["seconds"] / goal["seconds"] for goal, mine in rows])
    both = []
    for who, rate, runs in ((peer, their_rate, [g for g, _ in rows]), (OUR_BEST, our_rate, [m for _, m in rows])):
        means = {key: statistics.mean(run[key] for run in runs) for key in ("tokens", "seconds", "bpb")}
        both.append({"who": f"{who} to quality", "learning rate": rate, **means})
    both[1] |= {"seconds ratio low": ratios[0], "seconds ratio high": ratios[2]}
    return both


def kept(
    given: argparse.Namespace, who: str, train: Callable[..., Trained], rate: float, seed: int, share: float
) -> dict[str, float]:
    """The row of one training: made now, or found in --kept."""
    file = given.kept / f"{who}, {rate}, {seed}, {share}, {given.budget}.json"
    if not file.exists():
        steps = round(given.budget * share / BATCH / CONTEXT)
        model, begun = train(steps, rate=rate, seed=seed)
        row = {
            "tokens": steps * BATCH * CONTEXT,
            "seconds": steps * _step(begun),
            "bpb": held_out(model.eval(), given.tokens, CONTEXT)["bpb"],
        }
        file.write_text(json.dumps(row), encoding="utf-8")
        print(file.stem, {key: round(value, 4) for key, value in row.items()}, flush=True)
    return json.loads(file.read_text(encoding="utf-8"))


def with_fit(given: argparse.Namespace, who: str, steps: int, *, rate: float, seed: int) -> Trained:
    """Our loop, its states and probes off so that both sides do nothing but train."""
    _forget()
    optimizer, os.environ["OPENMIDM_COMPILED"] = OURS[who]
    model, begun = build(shape_for(given), seed=seed), list[float]()
    packed = Packed(TokenShard.open(given.tokens, "phase1"), CONTEXT, seed)

    def batch_at(step: int, size: int) -> dict[str, torch.Tensor]:
        begun.append(time.perf_counter())
        return packed.batch(step, size)

    plan = loop.Plan(
        steps=steps, batch=BATCH, context=CONTEXT, optimizer=optimizer, schedule="wsd", learning_rate=rate, warmup=0.02,
        decay=_demo()["decay"], weight_decay=_demo()["weight_decay"], clip=1.0, save_every=10**9, log_every=100,
    )  # fmt: skip
    quiet = {"on_step": lambda step, **curve: None, "probe": lambda model, step: {}}
    with tempfile.TemporaryDirectory() as state:
        loop.fit(model, next_token, batch_at, plan=plan, state=Path(state), **quiet)
    return model, [*begun, time.perf_counter()]


def with_trainer(given: argparse.Namespace, who: str, steps: int, *, rate: float, seed: int) -> Trained:
    """transformers' Trainer: fused AdamW, cosine schedule, the whole batch at once."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    _forget()
    begun: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            begun.append(time.perf_counter())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            begun.append(time.perf_counter())

    packed = Packed(TokenShard.open(given.tokens, "phase1"), CONTEXT, seed)
    rows = [torch.from_numpy(packed.window(i)[:-1]) for i in range(steps * BATCH)]
    model = build(shape_for(given), seed=seed)
    settings = TrainingArguments(
        output_dir=str(given.kept / "trainer"), max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=rate,
        lr_scheduler_type="cosine", warmup_steps=round(0.02 * steps), weight_decay=0.05, adam_beta2=0.95, seed=seed,
        optim="adamw_torch_fused", use_cpu=True, save_strategy="no", logging_steps=100, report_to=[], disable_tqdm=True,
        dataloader_pin_memory=False, **TRAINER[who],
    )  # fmt: skip
    data = [{"input_ids": row, "labels": row} for row in rows]
    Trainer(model=model, args=settings, train_dataset=data, callbacks=[Clock()]).train()
    return model, begun


def _step(begun: list[float]) -> float:
    """Seconds of a step in the middle of a training: what the first ones compile is counted for neither side."""
    return statistics.median(after - before for before, after in itertools.pairwise(begun[4:]))


def _forget() -> None:
    """Each training as in a process of its own: accelerate keeps one precision, torch a few compiled models."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    torch._dynamo.reset()


def shape_for(given: argparse.Namespace) -> Shape:
    """The demo's seed."""
    rows = rows_for(json.loads((given.tokens / "index.json").read_text(encoding="utf-8"))["vocabulary"])
    return Shape(vocab_rows=rows, tied=False, context=CONTEXT, **_demo()["shape"])


def _demo() -> dict[str, Any]:
    return _frame.numbers(_frame.ROOT / "profiles/demo.yaml")["pretrain"]


if __name__ == "__main__":
    main()
