"""Training on one GPU: tokens/s, MFU and peak memory of our loop beside HF Trainer with Liger, eager and compiled.

Both train the same model (AdamW in fp32 states, bf16 compute, the same random tokens, 65,536 a step) at the largest
micro-batch that fits the card. Each row is measured in a process of its own and kept in --kept, so that a stopped run
goes on. Kernel parity and kill-and-resume on a GPU are tests with the marker gpu.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import _frame
from models.shapes import Shape

WIDE = dict(vocab_rows=131_392, heads=32, kv_heads=8, head_dim=128, tied=True, rope_theta=5e5, context=4096)
SHAPES = {
    "1B": Shape(**(WIDE | dict(hidden=2048, ffn=5632, layers=16, heads=16, kv_heads=4))),
    "2.3B": Shape(**WIDE, hidden=1792, ffn=4608, layers=48),  # Mini's own
    "tiny": Shape(512, 64, 128, layers=2, heads=4, kv_heads=2, head_dim=16, tied=True, rope_theta=1e4, context=64),
}  # fmt: skip
PEERS = ("HF Trainer + Liger", "HF Trainer + Liger + compile")
OURS = ("ours", "ours, Muon")
ROWS = 16  # examples of a step
WARM, MEASURED = 5, 15  # steps; compiling and the allocator's growth fall into the first
OUT_OF_MEMORY = 3  # exit status of a row's process


class Enough(Exception):
    """The last measured step is over: what would follow is saving, which is not measured."""


@dataclass
class Clock:
    """When steps began, the device's queue emptied before."""

    times: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """Notes the start of a step; raises Enough after the last one."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        if len(self.times) > WARM + MEASURED:
            raise Enough

    def tokens_per_second(self, context: int) -> float:
        """Over the measured steps."""
        return ROWS * context * MEASURED / (self.times[WARM + MEASURED] - self.times[WARM])


def main() -> None:
    """Measures every row that --kept lacks, then reports; exits 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kept", type=Path, default=_frame.ROOT / ".scratch" / "train_gpu")
    parser.add_argument("--shape", choices=SHAPES, help=argparse.SUPPRESS)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--row", choices=(*OURS, *PEERS), help=argparse.SUPPRESS)
    parser.add_argument("--micro", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    import torch

    if asked.device == "cuda" and not torch.cuda.is_available():
        print("train_gpu needs a CUDA GPU; benchmarks/train_cpu.py measures this machine", file=sys.stderr)
        sys.exit(2)
    if asked.row:
        one(asked.row, asked.shape, micro=asked.micro, cuda=asked.device == "cuda")
        return
    shapes = [asked.shape] if asked.shape else ["1B", "2.3B"]
    rows = [kept(name, shape, asked.kept, asked.device) for shape in shapes for name in (*OURS, *PEERS)]
    if asked.device == "cpu":
        print(json.dumps(rows, indent=1))  # a dry run: it shows that the code works and nothing else
        return
    speed = {(row["shape"], row["row"]): row["tokens_per_second"] for row in rows}
    best = {shape: max(speed[shape, peer] for peer in PEERS) for shape in shapes}
    ratio = {shape: speed[shape, "ours"] / best[shape] for shape in shapes}
    _frame.report("train_gpu", goal="tokens/s >= 1.0 of the best peer, same optimizer", rows=rows, ratio=ratio)


def kept(name: str, shape: str, folder: Path, device: str) -> dict[str, Any]:
    """A row from its file, or measured now: the micro-batch is halved until it fits."""
    file = folder / f"{shape} {name}.json"
    micro = ROWS
    while not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = ["--row", name, "--shape", shape, "--micro", str(micro), "--device", device]
        env = os.environ | {"OPENMIDM_DEVICE": device, "OPENMIDM_RECOMPUTED": "0"}
        done = subprocess.run([sys.executable, "-m", "benchmarks.train_gpu", *words], env=env, stdout=subprocess.PIPE)
        if done.returncode == 0:
            file.write_bytes(done.stdout.splitlines()[-1])
        elif done.returncode != OUT_OF_MEMORY or micro == 2:
            raise RuntimeError(f"{name} on {shape}, {micro} examples at once, ended with {done.returncode}; see above")
        micro //= 2
    return json.loads(file.read_text(encoding="utf-8"))


def one(name: str, shape_name: str, *, micro: int, cuda: bool) -> None:
    """Measures one row and prints it as the last line; exits OUT_OF_MEMORY when the card is too small."""
    import torch

    from models import kernels

    shape, clock = SHAPES[shape_name], Clock()
    try:
        (ours if name in OURS else peer)(name, shape, clock, micro=micro, cuda=cuda)
    except Enough:
        pass
    except torch.OutOfMemoryError:
        sys.exit(OUT_OF_MEMORY)
    speed, flops = clock.tokens_per_second(shape.context), shape.flops_per_token(shape.context)
    row: dict[str, Any] = {"shape": shape_name, "row": name, "tokens_per_second": round(speed)}
    row |= {"mfu": round(speed * flops / kernels.peak_flops(), 4), "examples_at_once": micro}
    if cuda:
        row |= {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2), "card": torch.cuda.get_device_name()}
    print(json.dumps(row))


def ours(name: str, shape: Shape, clock: Clock, *, micro: int, cuda: bool) -> None:
    """fit() as a stage calls it."""
    from models import fit as loop
    from models.objectives import next_token
    from models.shapes import build

    loop.MICRO_TOKENS = dict.fromkeys(("cpu", "cuda"), micro * shape.context)
    text = windows(shape)
    optimizer: Any = "muon" if "Muon" in name else "adamw"
    plan = loop.Plan(
        steps=WARM + MEASURED + 1, batch=ROWS, context=shape.context, optimizer=optimizer, schedule="cosine",
        learning_rate=1e-4, warmup=0.1, decay=0.0, weight_decay=0.1, clip=1.0, save_every=10**9, log_every=10**9,
    )  # fmt: skip

    def batch_at(step: int, size: int) -> Any:
        clock.begin()
        return text.batch(step, size)

    with tempfile.TemporaryDirectory() as state:
        quiet: dict[str, Any] = {"on_step": lambda step, **_: None, "probe": lambda *_: {}}
        loop.fit(build(shape, seed=0), next_token, batch_at, plan=plan, state=Path(state), **quiet)


def peer(name: str, shape: Shape, clock: Clock, *, micro: int, cuda: bool) -> None:
    """HF Trainer with what it offers: Liger's kernels and fused loss, fused AdamW, bf16, and torch.compile if named."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from models.shapes import build

    text = windows(shape)
    rows = [torch.from_numpy(text.window(n)[:-1]) for n in range(ROWS * (WARM + MEASURED + 1))]

    class Begin(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock.begin()

    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            output_dir=out, max_steps=WARM + MEASURED + 1, per_device_train_batch_size=micro,
            gradient_accumulation_steps=ROWS // micro, learning_rate=1e-4, weight_decay=0.1, adam_beta2=0.95,
            max_grad_norm=1.0, bf16=cuda, use_cpu=not cuda, use_liger_kernel=cuda, torch_compile="compile" in name,
            optim="adamw_torch_fused", save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
        )  # fmt: skip
        examples: Any = [{"input_ids": row, "labels": row} for row in rows]
        Trainer(model=build(shape, seed=0), args=settings, train_dataset=examples, callbacks=[Begin()]).train()


def windows(shape: Shape) -> Any:
    """Random tokens, the same for all rows."""
    import numpy as np

    from models.batches import Packed, TokenShard

    count = (ROWS * (WARM + MEASURED + 1) + 2) * shape.context
    ids = np.random.default_rng(0).integers(3, shape.vocab_rows, count).astype("uint32")
    return Packed(TokenShard(ids, "random"), shape.context, seed=0)


if __name__ == "__main__":
    main()
