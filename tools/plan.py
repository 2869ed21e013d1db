"""Says before anything is spent what a profile would do: stages in order, tokens, weights, time, memory, disk."""

import argparse
import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from models.shapes import Shape, rows_for

# Measured on this project's machine of two cores (docs/log.md); a GPU's rate is its bf16 peak times the usual 40 %.
CPU_RATE = 75e9  # trained FLOP per second and core, float32
GPU_RATES = {"h200": 0.4 * 790e12, "paper": 0.4 * 790e12}  # one H200
TEXT_RATE = 0.4e6  # bytes per second and core through ingest, filter and dedup together
CORES = len(os.sched_getaffinity(0))
START = 6.0  # seconds a stage takes to start, import and end
BYTES_PER_WEIGHT = 16  # float32 weight, gradient and two AdamW moments
ACTIVATION_BYTES = 34  # per token, layer and hidden channel, without recomputation (Korthikanti 2022, eq. 1)


def main() -> None:
    """Prints the plan of `--profile`, or of params.yaml when none is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="")
    name = parser.parse_args().profile
    params = YAML(typ="safe").load(Path(f"profiles/{name}.yaml" if name else "params.yaml"))
    entries = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    shapes = family(params)
    rate, device = GPU_RATES.get(name, CPU_RATE * CORES), "one H200" if name in GPU_RATES else f"{CORES} cores"
    print(f"{name or 'params.yaml'}: {len(entries)} stages, time for {device} (within a factor of two)\n")
    total, peak = 0.0, 0.0
    for stage, entry in entries.items():
        cells = len(entry.get("foreach") or next(iter(entry.get("matrix", {"": [0]}).values())))
        seconds = cells * (START + work(stage, params, shapes, rate))
        peak = max(peak, memory(stage, params, shapes))
        total += seconds
        about = f"{tokens:>15,} tokens" if (tokens := params[stage].get("tokens")) else " " * 22
        size = f"{shapes[stage].parameters():>16,} weights" if stage in shapes else " " * 24
        print(f"{stage:12}{f'× {cells}' if cells > 1 else '':5}{about}{size}{duration(seconds):>12}")
    sizes = f"peak memory {peak / 2**30:.1f} GiB, disk {disk(params, shapes) / 2**30:.1f} GiB"
    print(f"\nin all {duration(total)}, {sizes}")


def family(params: dict[str, Any]) -> dict[str, Shape]:
    """The shape that each training stage trains, as the stages themselves will make it."""
    rows, first = rows_for(params["tokenizer"]["vocab_size"]), params["pretrain"]
    seed = Shape(vocab_rows=rows, tied=False, context=first["context"], **first["shape"])
    base = Shape(**(vars(seed) | {"layers": params["upscale"]["layers"]}))
    kept = {name: params["prune"][name] for name in ("hidden", "ffn", "heads", "layers")}
    mini = Shape(**(vars(base) | kept | {"tied": True}))
    grown = dict.fromkeys(("upscale", "midtrain", "extend"), base)
    return {"pretrain": seed, **grown, **dict.fromkeys(("prune", "distill", "sft", "dpo"), mini)}


def work(stage: str, params: dict[str, Any], shapes: dict[str, Shape], rate: float) -> float:
    """Seconds of a stage's own work, from its arithmetic or its bytes."""
    own = params[stage]
    if "tokens" in own:
        shape, teacher = shapes[stage], {"distill": shapes["extend"], "dpo": shapes["dpo"]}.get(stage)
        flops = own["tokens"] * shape.flops_per_token(own["context"])
        flops += own["tokens"] * teacher.flops_per_token(own["context"]) / 3 if teacher else 0
        return (flops + muon_flops(shape, own)) / rate
    if stage in ("ingest", "filter", "dedup"):
        return text_bytes(params) / TEXT_RATE / CORES / 3
    if stage == "evaluate":
        asked = own["max_questions"] * 2 * 4 * 30 + own["max_validation_bytes"] * 2 / 3 + 2 * own["kl_tokens"]
        return asked * shapes["dpo"].flops_per_token(256) / 3 / rate * 2
    return 0.0


def muon_flops(shape: Shape, own: dict[str, Any]) -> float:
    """What orthogonalising hidden matrices costs: five Newton–Schulz rounds, about 10 × width per weight and step."""
    hidden = shape.parameters() - (1 if shape.tied else 2) * shape.vocab_rows * shape.hidden
    return own["tokens"] / own["batch_tokens"] * 10 * shape.hidden * hidden if own["optimizer"] == "muon" else 0.0


def memory(stage: str, params: dict[str, Any], shapes: dict[str, Shape]) -> float:
    """Bytes that training holds at once: weights and their optimizer, activations and logits of one micro-batch."""
    own = params[stage]
    if "tokens" not in own:
        return 0.6e9
    shape, at_once = shapes[stage], min(own["batch_tokens"], max(own["context"], 8192))
    held = shape.parameters() * BYTES_PER_WEIGHT + (shapes["extend"].parameters() * 4 if stage == "distill" else 0)
    return 0.6e9 + held + at_once * (shape.layers * shape.hidden * ACTIVATION_BYTES + shape.vocab_rows * 12)


def disk(params: dict[str, Any], shapes: dict[str, Shape]) -> float:
    """Bytes of models, artifacts, the newest training state, and text with its token files."""
    weights = [shape.parameters() for shape in shapes.values()]
    return 4 * sum(weights) + 12 * max(weights) + 12 * weights[-1] + 4 * text_bytes(params)


def text_bytes(params: dict[str, Any]) -> float:
    """Bytes of raw text under ingest.text, compressed files counted threefold."""
    place = Path(params["ingest"]["text"])
    packed = (".gz", ".zst", ".parquet")
    return sum(f.stat().st_size * (3 if f.suffix in packed else 1) for f in [place, *place.rglob("*")] if f.is_file())


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    for unit, size in {"days": 86400.0, "hours": 3600.0, "min": 60.0}.items():
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    main()
