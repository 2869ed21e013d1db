"""Knows what injected faults cost a training: bad batches, spikes, flipped bits, ours and HF Trainer's defaults.

    OMP_NUM_THREADS=2 python -m benchmarks.faults --tokens artifacts/tokenize --kept /tmp/faults [--steps 400]

The demo's seed model on the demo's text, once clean and once with 20 batches whose loss is NaN or infinite, 10
gradients 50 sigma above the clean run's norm, 5 batches without a target, 3 flipped exponent bits of weights and a
stretch of batches of one token; after the warm-up of 70 steps, by lot. HF Trainer meets the same with its defaults.
Every finished training leaves its row in the folder --kept: a run that is stopped goes on with the others.
"""

import argparse
import contextlib
import json
import math
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from benchmarks import _frame
from benchmarks._quality import held_out

GOAL = "ours: all faults detected and logged, no NaN in any state, bits per byte within 0.5 % of the clean run"
KINDS = {"nan": 20, "spike": 10, "masked": 5, "flip": 3}
SHARD = 8  # batches of the repeated-token shard
FIRST = 70  # before, nothing is known that a spike could be measured by
ROWS, CONTEXT, SAVE_EVERY = 8, 128, 20
RATES = {"ours": 0.01, "HF Trainer": 0.003}  # Muon as in the demo; AdamW


def main() -> None:
    """Trains both ways clean and with faults, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--hidden", type=int, default=320)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    flags = parser.parse_args()
    flags.kept.mkdir(parents=True, exist_ok=True)
    rows, ratio = [], {}
    for way in flags.ways:
        clean = kept(way, "clean", flags, {}, [])
        spoilt = kept(way, "faults", flags, drawn(flags.steps), clean.pop("norms"))
        spoilt.pop("norms")
        rows += [clean, spoilt]
        if spoilt["bpb"]:  # else nothing can be compared
            ratio[f"{way}: bits per byte, faults / clean"] = spoilt["bpb"] / clean["bpb"]
    _frame.report("faults", goal=GOAL, rows=rows, ratio=ratio)


def kept(way: str, what: str, flags: Any, faults: dict[int, str], norms: list[float]) -> dict[str, Any]:
    """The row of a finished training, from the folder of those or made now."""
    file, folder = flags.kept / f"{way}, {what}.json", flags.kept / f"{way}, {what}"
    if not file.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        saboteur = Saboteur(flags.tokens, faults, norms)
        row = {"who": f"{way}, {what}", "steps": flags.steps}
        file.write_text(json.dumps(row | WAYS[way](folder, saboteur, flags.steps, flags.hidden)), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def drawn(steps: int) -> dict[int, str]:
    """Batch → the fault that it meets."""
    draw = random.Random(5)
    start = draw.randrange(FIRST, steps - SHARD)
    shard = range(start, start + SHARD)
    places = draw.sample([step for step in range(FIRST, steps) if step not in shard], sum(KINDS.values()))
    kinds = [kind for kind, times in KINDS.items() for _ in range(times)]
    return dict.fromkeys(shard, "repeated") | dict(zip(places, kinds, strict=True))


class Saboteur:
    """Hands out the batches of a tokenize folder, some of them spoilt, and spoils losses, gradients and weights."""

    def __init__(self, tokens: Path, faults: dict[int, str], norms: list[float]) -> None:
        from models.batches import Packed, TokenShard

        self.tokens, self.faults, self.norms = tokens, faults, norms
        self.packed = Packed(TokenShard.open(tokens, "phase1"), CONTEXT, seed=1)
        self.draw, self.flipped = random.Random(7), set[int]()

    def batch(self, index: int) -> dict[str, Any]:
        import torch

        batch, fault = self.packed.batch(index, ROWS), self.faults.get(index)
        if fault == "masked":
            return batch | {"targets": torch.full_like(batch["targets"], -100)}
        return {name: torch.full_like(rows, 42) for name, rows in batch.items()} if fault == "repeated" else batch

    def loss(self, index: int, loss: Any) -> Any:
        """NaN and infinity in turn; or the same loss with a gradient of 50 sigma above the mean of 128 clean steps."""
        fault = self.faults.get(index)
        if fault == "nan":
            return loss * (math.nan if index % 2 else math.inf)
        if fault == "spike":
            before = self.norms[max(0, index - 128) : index]
            wanted = fmean(before) + 50 * pstdev(before)
            return loss + (wanted / self.norms[index] - 1) * (loss - loss.detach())
        return loss

    def flip(self, index: int, model: Any) -> None:
        """Once per place, however often the step is done again: one of the upper three exponent bits of a weight."""
        import torch

        if self.faults.get(index) != "flip" or index in self.flipped:
            return
        self.flipped.add(index)
        weight = self.draw.choice([weight for weight in model.parameters() if weight.ndim == 2])
        words = weight.data.view(-1).view(torch.int32)
        words[self.draw.randrange(len(words))] ^= 1 << self.draw.choice((28, 29, 30))


def ours(folder: Path, saboteur: Saboteur, steps: int, hidden: int) -> dict[str, Any]:
    """The loop of models/fit.py with the demo's numbers; what it told is compared with what was done to it."""
    from models.fit import Plan, fit
    from models.objectives import next_token

    model, at, norms, states = built(saboteur.tokens, hidden), [0], list[float](), list[bool]()

    def batch_at(index: int, size: int) -> dict[str, Any]:
        at[0] = index
        saboteur.flip(index, model)
        return saboteur.batch(index)

    def objective(model: Any, batch: dict[str, Any]) -> Any:
        loss, count = next_token(model, batch)
        return saboteur.loss(at[0], loss), count

    def on_step(step: int, **curve: Any) -> None:
        norms.extend([curve["train/grad_norm"]] if "train/grad_norm" in curve else [])

    def probe(model: Any, step: int) -> dict[str, float]:
        states.append(finite(max((folder / "state").glob("step-*")) / "state.safetensors"))
        return {}

    plan = Plan(
        steps=steps, batch=ROWS, context=CONTEXT, optimizer="muon", schedule="wsd", learning_rate=RATES["ours"],
        warmup=0.02, decay=0.2, weight_decay=0.05, clip=1.0, save_every=SAVE_EVERY, log_every=1,
    )  # fmt: skip
    with (folder / "log.txt").open("w") as log, contextlib.redirect_stdout(log):
        fit(model, objective, batch_at, plan=plan, state=folder / "state", on_step=on_step, probe=probe)
    said = (folder / "log.txt").read_text(encoding="utf-8")
    told = {int(found) for found in re.findall(r"batch (\d+): (?:update skipped|weights changed)", said)}
    met = {index: kind for index, kind in saboteur.faults.items() if index <= at[0]}
    kinds = {f"{kind} told": f"{len(told & own)}/{len(own)}" for kind, own in by_kind(met).items()}
    false = {"false alarms": len(told - met.keys())}
    return {"bpb": bits(model, saboteur.tokens), "states": len(states), "states with NaN": states.count(False)} | (
        kinds | false | {"rolled back": said.count("back to the state"), "norms": norms}
    )


def trainer(folder: Path, saboteur: Saboteur, steps: int, hidden: int) -> dict[str, Any]:
    """HF Trainer with its defaults; only the loss is computed by us, so that the same faults can be put in."""
    import torch
    from transformers import Trainer, TrainingArguments

    class Windows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return steps * ROWS

        def __getitem__(self, index: int) -> dict[str, Any]:
            batch = saboteur.batch(index // ROWS)
            return {"input_ids": batch["ids"][index % ROWS], "targets": batch["targets"][index % ROWS]}

    class Sabotaged(Trainer):
        def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
            saboteur.flip(self.state.global_step, model)
            logits = model(input_ids=inputs["input_ids"]).logits.flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, inputs["targets"].flatten())
            return saboteur.loss(self.state.global_step, loss)

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    where = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "remove_unused_columns": False, "seed": 0}
    plan = {"max_steps": steps, "per_device_train_batch_size": ROWS, "learning_rate": RATES["HF Trainer"]}
    arguments = TrainingArguments(str(folder), **plan, **where, save_steps=SAVE_EVERY, logging_steps=1)
    run = Sabotaged(model=built(saboteur.tokens, hidden), args=arguments, train_dataset=Windows())
    with (folder / "log.txt").open("w") as log, contextlib.redirect_stdout(log):
        run.train()
    states = [finite(found) for found in folder.glob("checkpoint-*/model.safetensors")]
    norms = [float(row["grad_norm"]) for row in run.state.log_history if "grad_norm" in row]
    return {
        "bpb": bits(run.model, saboteur.tokens),
        "states": len(states),
        "states with NaN": states.count(False),
        "norms": norms,
    }  # what it tells of faults is not counted: it judges no update


def by_kind(faults: dict[int, str]) -> dict[str, set[int]]:
    """Kind → the batches that met it."""
    return {kind: {index for index, own in faults.items() if own == kind} for kind in sorted({*faults.values()})}


def built(tokens: Path, hidden: int) -> Any:
    """The demo's seed model, or a narrower one."""
    from models.batches import vocabulary_of
    from models.shapes import Shape, build, rows_for

    numbers = _frame.numbers(_frame.ROOT / "profiles/demo.yaml")["pretrain"]["shape"]
    own = numbers | {"hidden": hidden, "ffn": hidden * numbers["ffn"] // numbers["hidden"]}
    return build(Shape(vocab_rows=rows_for(vocabulary_of(tokens)), tied=False, context=CONTEXT, **own), seed=1)


def bits(model: Any, tokens: Path) -> float | None:
    """Bits per byte of the held-out text of both languages; None when the model has unlearnt to count."""
    found = held_out(model, tokens, CONTEXT)["bpb"]
    return found if math.isfinite(found) else None


def finite(file: Path) -> bool:
    """Whether every number of a safetensors file is one."""
    from safetensors.torch import load_file

    return all(tensor.isfinite().all() for tensor in load_file(file).values() if tensor.is_floating_point())


WAYS: dict[str, Callable[..., dict[str, Any]]] = {"ours": ours, "HF Trainer": trainer}


if __name__ == "__main__":
    main()
