"""Says what a profile's training takes on many GPUs: FLOPs, hours, memory of a rank, disk, and how to launch it."""

from typing import Any

from models import parallel
from models.shapes import Shape
from tools import bill

PEAK = 989e12  # dense bf16 FLOP/s of an H100 or H200, vendor's datasheet
CARDS = {"h100": 80e9, "h200": 141e9}  # bytes
PER_NODE = 8
AT_ONCE = 65_536  # tokens of a micro-batch: models/fit.py's MICRO_TOKENS on CUDA, which halves what does not fit


def lines(
    params: dict[str, Any], shapes: dict[str, Shape], entries: dict[str, Any], *, gpus: int, mfu: float, card: str
) -> list[str]:
    """The table of training stages and the launch recipe; what does not fit, or cannot be divided, says so."""
    found = [f"{gpus} × {card} at {mfu:.0%} of {PEAK / 1e12:.0f} TFLOP/s, states sharded (FSDP2), layers recomputed\n"]
    found += [
        f"{'stage':10}{'tokens':>19}{'FLOPs':>10}{'time':>11}{'GiB a rank':>12}{'tokens at once':>16}{'disk':>10}"
    ]
    total = 0.0
    stages = [name for name in entries if "tokens" in params[name] and name in shapes]
    for stage in stages:
        flops = bill.flops(stage, params, shapes)
        seconds = flops / (gpus * mfu * PEAK)
        total += seconds
        row = f"{stage:10}{params[stage]['tokens']:>19,}{flops:>10.2g}{bill.duration(seconds):>11}"
        bytes_of, tokens = largest(stage, params, shapes, gpus=gpus, room=parallel.ROOM * CARDS[card])
        row += f"{bytes_of / 2**30:>12.1f}{tokens:>16,}{checkpoints(shapes[stage], params[stage]) / 2**30:>6.0f} GiB"
        found += [row, *trouble(stage, params, shapes, gpus=gpus, room=parallel.ROOM * CARDS[card])]
    disk = sum(checkpoints(shapes[s], params[s]) for s in stages)
    found += [
        f"\nin all {bill.duration(total)}, {total * gpus / 3600:,.0f} GPU hours, checkpoints {disk / 2**30:,.0f} GiB"
    ]
    return [*found, "", *recipe(entries["pretrain"]["cmd"], gpus)]


def largest(
    stage: str, params: dict[str, Any], shapes: dict[str, Shape], *, gpus: int, room: float
) -> tuple[float, int]:
    """Bytes on a rank at the largest micro-batch that fits, and its tokens; one example's, fitting or not, at least."""
    own, least = params[stage], example(stage, params)
    tokens = max(least, min(AT_ONCE, own["batch_tokens"] // own["context"] // gpus * least))
    while (held := rank_bytes(stage, params, shapes, gpus=gpus, tokens=tokens)) > room and tokens > least:
        tokens = max(least, tokens // 2)
    return held, tokens


def example(stage: str, params: dict[str, Any]) -> int:
    """Tokens of one example at most: of preferences it is a pair of rows, of which a rank takes both."""
    return params[stage]["context"] * (2 if stage == "dpo" else 1)


def rank_bytes(stage: str, params: dict[str, Any], shapes: dict[str, Shape], *, gpus: int, tokens: int) -> float:
    """What one rank holds in a stage, the sharded frozen model beside the trained one included."""
    layout = {"ranks": gpus, "tokens": tokens, "recomputed": True}
    held = parallel.memory(shapes[stage], optimizer=params[stage]["optimizer"], **layout).total()
    if frozen := bill.frozen_of(stage, shapes):
        beside = parallel.memory(frozen, optimizer="adamw", **layout)
        held += beside.states / 4 + beside.gathered / 3 + beside.logits / 3  # no gradient, no moments
    if stage == "dpo":
        held += 12.0 * tokens * shapes[stage].vocab_rows  # objectives.reply_log_likelihood keeps all logits
    return held


def trouble(stage: str, params: dict[str, Any], shapes: dict[str, Shape], *, gpus: int, room: float) -> list[str]:
    """What stands against running a stage on so many ranks, and the remedy; nothing when nothing does."""
    own = params[stage]
    rows = own["batch_tokens"] // own["context"]
    if rows % gpus:
        return [f"  ! a step has {rows} examples, which {gpus} ranks cannot share evenly: take a divisor of {rows}"]
    if largest(stage, params, shapes, gpus=gpus, room=room)[0] <= room:
        return []
    sizes = [2**power for power in range(1, 15)]
    held = [rank_bytes(stage, params, shapes, gpus=size, tokens=example(stage, params)) for size in sizes]
    enough = [size for size, total in zip(sizes, held, strict=True) if total <= room]
    remedy = f"take {enough[0]} ranks" if enough else "no number of ranks is enough: shorten the context"
    return [f"  ! one example does not fit a card: {remedy}"]


def checkpoints(shape: Shape, own: dict[str, Any]) -> float:
    """Bytes of two generations of fp32 weights and moments, and of the finished model."""
    state = parallel.memory(shape, ranks=1, tokens=0, optimizer=own["optimizer"], recomputed=True).states
    return 2 * (state - 4 * shape.parameters()) + 4 * shape.parameters()  # no gradients


def recipe(command: str, gpus: int) -> list[str]:
    """How to start a stage on several nodes that share a file system, by torchrun or by accelerate."""
    nodes, ranks = -(-gpus // PER_NODE), min(gpus, PER_NODE)
    program = " ".join(command.split()).removeprefix("python ")
    return [
        f"on each of {nodes} nodes, in one clone on a shared file system, NODE=0…{nodes - 1}, HEAD=address of node 0:",
        f"  torchrun --nnodes {nodes} --nproc-per-node {ranks} --node-rank $NODE --rdzv-backend c10d \\",
        f"    --rdzv-endpoint $HEAD:29500 {program}",
        f"or: accelerate launch --multi_gpu --num_machines {nodes} --num_processes {gpus} --machine_rank $NODE \\",
        f"    --main_process_ip $HEAD --main_process_port 29500 --mixed_precision bf16 {program}",
        "then on node 0, so that DVC knows it: dvc commit pretrain; the other training stages likewise (dvc.yaml: cmd)",
    ]
