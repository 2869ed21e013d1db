"""Knows what a training loses when it is killed: SIGKILL at random times and at every call of a save, ours and HF's.

    OMP_NUM_THREADS=1 python -m benchmarks.kills --kept /tmp/kills [--kills 200] [--ways ours "HF Trainer"]

A small training that saves every few steps is killed and started again until it is done, and then another, until the
count is reached. The parent imports torch once and forks each life, so that a life costs a second and not ten. HF
Trainer runs the same model, batches and steps with save_total_limit=2 and resumes from what its get_last_checkpoint
finds; when that fails, its newest checkpoint is removed by hand, as its user would, and counted.
Every finished training leaves its row in the folder --kept: a campaign that is stopped goes on with the others.
"""

import argparse
import functools
import hashlib
import json
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import _frame

GOAL = "ours: >= 200 kills, 0 unusable states; weights, optimizer and loss log sha256-equal to the uninterrupted run"
STEPS, BATCH, CONTEXT, SAVE_EVERY = 160, 4, 64, 4
CALLS = ("open", "write", "fsync", "close", "rename", "mkdir", "unlink", "rmdir")
SHORT, BOUNDARY_STEP = 12, 8  # steps of the training, and the save, that are killed at each call of the save
Train = Callable[[Path], None]


def main() -> None:
    """Runs each way's campaign, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["ours", "HF Trainer"])
    flags = parser.parse_args()
    flags.kept.mkdir(parents=True, exist_ok=True)
    import_once()
    rows = [campaign(way, flags.kept, flags.kills) for way in flags.ways]
    if "ours" in flags.ways:
        rows.insert(1, boundaries(flags.kept))
    unusable = {f"{row['who']}: unusable states per kill": row["unusable"] / row["kills"] for row in rows}
    _frame.report("kills", goal=GOAL, rows=rows, ratio=unusable)


def import_once() -> None:
    """What every life needs, before the first fork; one thread, for a fork copies no others."""
    import accelerate  # noqa: F401
    import torch
    import transformers

    from models import fit  # noqa: F401

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    _ = transformers.Trainer, transformers.LlamaForCausalLM, transformers.TrainingArguments  # they load when named


def campaign(way: str, kept: Path, kills: int) -> dict[str, Any]:
    """Trainings killed at random times until there were `kills`; the sums over them."""
    whole, rows = reference(way, kept), list[dict[str, Any]]()
    while sum(row["kills"] for row in rows) < kills:
        place = kept / f"{way}, {len(rows)}"
        row_file = place.with_suffix(".json")
        if not row_file.exists():
            shutil.rmtree(place, ignore_errors=True)
            row = survived(way, place, whole, random.Random(len(rows)))
            row_file.write_text(json.dumps(row), encoding="utf-8")
            print(way, row, flush=True)
        rows.append(json.loads(row_file.read_text(encoding="utf-8")))
    return {"who": way, "trainings": len(rows), **{name: sum(row[name] for row in rows) for name in rows[0]}}


def survived(way: str, place: Path, whole: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """One training, killed again and again; each life may last up to a third of what the whole takes."""
    counts = {"kills": 0, "kills in a save": 0, "unusable": 0}
    while (status := life(WAYS[way], place, draw.uniform(0, whole["seconds"] / 3))) != 0:
        if status == -9:
            counts["kills"] += 1
            counts["kills in a save"] += in_a_save(place)
            continue
        counts["unusable"] += 1
        shutil.rmtree(max(place.glob("checkpoint-*"), key=lambda found: int(found.name.split("-")[1])))
    said = (place / "log.txt").read_text(encoding="utf-8")
    counts["unusable"] += said.count("from the beginning")
    ended = {f"{name} equal": int(digest == whole[name]) for name, digest in digests(place).items()}
    return counts | {"fell back": said.count("refused")} | ended


def boundaries(kept: Path) -> dict[str, Any]:
    """A short training of ours, killed at every system call of one save, from the first on, and resumed each time."""
    row_file, whole = kept / "ours, boundaries.json", reference("ours, short", kept)
    counts = {"kills": 0, "kills in a save": 0, "unusable": 0, "fell back": 0}
    equal = dict.fromkeys((f"{name} equal" for name in whole if name != "seconds"), 0)
    while not row_file.exists():
        place = kept / "ours, boundary"
        shutil.rmtree(place, ignore_errors=True)
        if life(functools.partial(dying, call=counts["kills"]), place, None) == 0:
            row_file.write_text(json.dumps(counts | equal), encoding="utf-8")
            break
        counts["kills"] += 1
        counts["kills in a save"] += in_a_save(place)
        counts["unusable"] += life(WAYS["ours, short"], place, None) != 0
        said = (place / "log.txt").read_text(encoding="utf-8")
        counts["unusable"] += said.count("from the beginning")
        counts["fell back"] += said.count("refused")
        for name, digest in digests(place).items():
            equal[f"{name} equal"] += digest == whole[name]
    row = json.loads(row_file.read_text(encoding="utf-8"))
    return {"who": "ours, every call of a save", "trainings": row["kills"], **row}


def dying(place: Path, *, call: int) -> None:
    """Our training, which ends itself without a word at the `call`-th system call of one save, half a write done."""
    from models import states

    left, real, save = [call], {name: getattr(os, name) for name in CALLS}, states.save

    def counted(name: str, *arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            if name == "write":
                real["write"](arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            os._exit(9)
        return real[name](*arguments, **options)

    def watched(folder: Path, step: int, **state: Any) -> None:
        if step == BOUNDARY_STEP:
            for name in CALLS:
                setattr(os, name, functools.partial(counted, name))
        save(folder, step, **state)
        for name in CALLS:
            setattr(os, name, real[name])

    states.save = watched
    ours(place, steps=SHORT)


def reference(way: str, kept: Path) -> dict[str, Any]:
    """Digests and seconds of the uninterrupted run."""
    row_file, place = kept / f"{way}, whole.json", kept / f"{way}, whole"
    if not row_file.exists():
        shutil.rmtree(place, ignore_errors=True)
        start = time.monotonic()
        if life(WAYS[way], place, None) != 0:
            raise RuntimeError(f"{way} fails without any kill: see {place}/log.txt")
        row_file.write_text(json.dumps({"seconds": time.monotonic() - start, **digests(place)}), encoding="utf-8")
    return json.loads(row_file.read_text(encoding="utf-8"))


def life(train: Train, place: Path, seconds: float | None) -> int:
    """Runs `train` in a child and kills it after `seconds`: its exit status, or minus the signal that ended it."""
    place.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        log = os.open(place / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        try:
            train(place)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    start = time.monotonic()
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if seconds is not None and time.monotonic() - start > seconds:
            os.kill(child, 9)
            seconds = None
        time.sleep(0.002)


def in_a_save(place: Path) -> bool:
    """Whether the kill left a half-written state: our draft, or HF's folder without the file it writes last."""
    unfinished = [found for found in place.glob("checkpoint-*") if not (found / "trainer_state.json").exists()]
    return bool(unfinished or list(place.glob("state/.draft-*")))


def digests(place: Path) -> dict[str, str]:
    """sha256 of a finished training's weights, optimizer and loss log."""
    if (place / "state").exists():
        from safetensors.torch import load_file

        newest = max((place / "state").glob("step-*"))
        tensors = load_file(newest / "state.safetensors")
        parts = {"weights": "model.", "optimizer": "optimizer"}
        own = {
            name: _sha256(b"".join(tensors[key].numpy().tobytes() for key in sorted(tensors) if key.startswith(start)))
            for name, start in parts.items()
        }
        return own | {"loss log": _sha256((newest / "facts.json").read_bytes())}
    newest = place / f"checkpoint-{STEPS}"
    log = json.loads((newest / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    losses = json.dumps([(row["step"], row["loss"]) for row in log if "loss" in row]).encode()
    files = {"weights": "model.safetensors", "optimizer": "optimizer.pt"}
    return {name: _sha256((newest / file).read_bytes()) for name, file in files.items()} | {"loss log": _sha256(losses)}


def ours(place: Path, *, steps: int = STEPS) -> None:
    """The loop of models/fit.py."""
    from models import kernels
    from models.fit import Plan, fit
    from models.objectives import next_token

    kernels.peak_flops = lambda: 1e12  # the probe of the device is half a second of every life
    rates = {"optimizer": "adamw", "schedule": "wsd", "learning_rate": 3e-3, "warmup": 0.1, "decay": 0.2}
    rest = {"weight_decay": 0.1, "clip": 1.0, "save_every": SAVE_EVERY, "log_every": 1}
    plan = Plan(steps=steps, batch=BATCH, context=CONTEXT, **rates, **rest)
    calls = {"on_step": lambda step, **curve: None, "probe": lambda model, step: {}}
    fit(small(), next_token, lambda step, size: windows(step), plan=plan, state=place / "state", **calls)


def trainer(place: Path) -> None:
    """HF Trainer, resumed as its manual says."""
    import torch
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    class Windows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return STEPS * BATCH

        def __getitem__(self, index: int) -> dict[str, Any]:
            ids = windows(index // BATCH)["ids"][index % BATCH]
            return {"input_ids": ids, "labels": ids}

    saves = {"save_steps": SAVE_EVERY, "save_total_limit": 2, "logging_steps": 1, "report_to": [], "disable_tqdm": True}
    rates = {"learning_rate": 3e-3, "weight_decay": 0.1, "max_grad_norm": 1.0, "adam_beta2": 0.95}
    plan = {"max_steps": STEPS, "per_device_train_batch_size": BATCH, "use_cpu": True, "seed": 0}
    arguments = TrainingArguments(str(place), **plan, **rates, **saves)
    run = Trainer(model=small(), args=arguments, train_dataset=Windows())
    run.train(resume_from_checkpoint=get_last_checkpoint(str(place)))


def small() -> Any:
    """A demo in small: the same class, a tenth of the weights in each direction."""
    from models.shapes import Shape, build

    numbers = {"hidden": 64, "ffn": 128, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 16}
    return build(Shape(vocab_rows=512, tied=False, rope_theta=1e4, context=CONTEXT, **numbers), seed=1)


def windows(step: int) -> dict[str, Any]:
    """The batch of a step: numbers that grow by a stride of each row's own."""
    import torch

    draw = torch.Generator().manual_seed(step)
    first, stride = torch.randint(3, 500, (2, BATCH, 1), generator=draw)
    rows = (first + (stride % 7 + 1) * torch.arange(CONTEXT + 1)) % 509 + 3
    return {"ids": rows[:, :-1], "targets": rows[:, 1:]}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


WAYS: dict[str, Train] = {"ours": ours, "HF Trainer": trainer, "ours, short": functools.partial(ours, steps=SHORT)}


if __name__ == "__main__":
    main()
