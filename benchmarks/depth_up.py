"""Knows what growing in depth saves: FLOPs of seed and growth to the bits per byte of the deep model from scratch.

    python -m benchmarks.depth_up --tokens artifacts/tokenize --kept /tmp/depth [--seeds 1 2 3] [--scale 1.0]

Everything has the demo's shape and recipe, but for a decay that suits scratch better. From scratch, six layers take
`--scale` times the demo's tokens, at the best of RATES on the first seed. A grown model sees the same order of
examples: a prefix with the seed's few layers, the rest with six; its growth is lengthened along GROWTH until it is as
good as scratch, and the FLOPs of the crossing are read from the line between the last two. Muon's own FLOPs are in
neither sum. Every finished training leaves its row in the folder --kept: a run that is stopped goes on with the others.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import _frame
from benchmarks._quality import held_out, interval

GOAL = "FLOPs of seed + growth to scratch's bits per byte <= 0.65x (mean over seeds), for the best method"
RATES = (0.0025, 0.005, 0.01)
DECAY = 0.6  # last share of the steps; with the demo's 0.2 scratch ends at 2.481 for 2.432 (first seed, scale 0.35)
GROWTH = (0.2, 0.25, 0.3, 0.35)  # of scratch's tokens
DEPTH = 6


@dataclass(frozen=True)
class Way:
    """How a model is grown: its seed's layers, share of scratch's tokens and last decay, and how growth begins."""

    method: str
    layers: int = 4
    share: float = 0.55
    decay: float = 0.2  # 0: grown from the plateau of WSD
    momenta: str = "carried"  # along the mapping; or fresh
    writes: str = "shared"  # of what a layer wrote, among its copies; or whole, by each
    pace: float = 0.35  # of scratch's learning rate: growth goes on, it does not begin

    @property
    def young(self) -> str:
        """Name of the seed; ways that grow from the same one share it."""
        return f"seed {self.layers} {self.share:g} {self.decay:g}"


WAYS = {
    "overlap": Way("overlap"),
    "identity": Way("identity", writes="whole"),
    "influence": Way("influence"),
    "angular": Way("angular"),
    "stack 3": Way("stack", layers=3, share=0.7),
    "stack 2": Way("stack", layers=2, share=0.85),
    "stack 2, whole writes": Way("stack", layers=2, share=0.85, writes="whole"),
    "stack 2, from the plateau": Way("stack", layers=2, share=0.85, decay=0.0),
    "stack 2, fresh momenta": Way("stack", layers=2, share=0.85, momenta="fresh"),
    "stack 2, whole rate": Way("stack", layers=2, share=0.85, pace=1.0),
}
SEVERAL = ("overlap", "stack 3", "stack 2")  # ways tried on all seeds; the others differ from one of them in one choice


@dataclass(frozen=True)
class Bench:
    """One seed's trainings: the numbers they share, and where their rows and models lie."""

    tokens: Path
    kept: Path
    seed: int
    total: int  # tokens of the model from scratch
    rate: float
    plan: dict[str, Any]

    def row(self, name: str, work: Any) -> dict[str, Any]:
        """The row of that name, from the folder or by working."""
        file = self.kept / f"{name}, {self.seed}.json"
        if not file.exists():
            file.write_text(json.dumps({"who": f"{name}, seed {self.seed}", **work()}), encoding="utf-8")
            print(file.read_text(encoding="utf-8"), flush=True)
        return json.loads(file.read_text(encoding="utf-8"))

    def shape(self, layers: int) -> Any:
        from models.batches import vocabulary_of
        from models.shapes import Shape, rows_for

        own = self.plan["pretrain"]["shape"] | {"layers": layers}
        rows = rows_for(vocabulary_of(self.tokens))
        return Shape(vocab_rows=rows, tied=False, context=self.plan["pretrain"]["context"], **own)

    def train(
        self, model: Any, name: str, tokens: int, *, skipped: int = 0, begin: Any = None, **numbers: Any
    ) -> dict[str, float]:
        """Trains in place on `tokens` after the first `skipped` of the order: {flops, bpb, bpb_ko, bpb_en}."""
        from models.batches import Packed, TokenShard
        from models.fit import Plan, fit
        from models.objectives import next_token
        from models.shapes import shape_of

        own = self.plan["pretrain"] | {"learning_rate": self.rate, "save_every": 10**9} | numbers
        fields = {key: own[key] for key in Plan.__dataclass_fields__ if key in own}
        size = own["batch_tokens"] // own["context"]
        steps, before = max(1, tokens // own["batch_tokens"]), skipped // own["batch_tokens"]
        plan = Plan(steps=steps, batch=size, log_every=10**9, **fields)
        packed = Packed(TokenShard.open(self.tokens, own.get("phase", "phase1")), own["context"], self.seed)
        if begin:
            begin({"plan": json.dumps(asdict(plan), sort_keys=True)})
        fit(
            model, next_token, lambda step, size: packed.batch(before + step, size), plan=plan,
            state=self.kept / f"{name}, {self.seed}.state", on_step=lambda *_, **__: None, probe=lambda *_: {},
        )  # fmt: skip
        flops = steps * own["batch_tokens"] * shape_of(model.config).flops_per_token(own["context"])
        return {"tokens": steps * own["batch_tokens"], "flops": flops, **held_out(model, self.tokens, own["context"])}

    def scratch(self) -> dict[str, Any]:
        name = f"scratch {self.rate:g}"
        return self.row(name, lambda: self._fresh(name, DEPTH, self.total, decay=DECAY))

    def young(self, way: Way) -> dict[str, Any]:
        """The seed that a way grows from, its weights kept."""
        tokens = round(way.share * self.total)
        return self.row(way.young, lambda: self._fresh(way.young, way.layers, tokens, decay=way.decay))

    def grown(self, name: str, way: Way, share: float) -> dict[str, Any]:
        """The way's model after `share` of scratch's tokens of growth, its seed's FLOPs billed."""
        young, own = self.young(way), f"{name}, {share:g}"

        def work() -> dict[str, Any]:
            """Grows the seed, with its momenta if the way says so, and trains on where the seed stopped."""
            from models import checkpoints
            from models.growth import depth_up

            source = f"{way.young}, {self.seed}"
            seed = checkpoints.load(self.kept / source)
            chosen: Any = {"layers": DEPTH, "method": way.method, "writes": way.writes}
            model, mapping = depth_up(seed, **chosen, batches=calibrating(self.tokens))
            at_birth = held_out(model, self.tokens, self.plan["pretrain"]["context"])["bpb"]
            state = self.kept / f"{own}, {self.seed}.state"
            shutil.rmtree(state, ignore_errors=True)
            begin: Any = None
            if way.momenta == "carried":
                begin = partial(carry, self.kept / f"{source}.state", state, seed, model, mapping)
            numbers = {"skipped": young["tokens"], "warmup": 0.05, "decay": 0.9, "learning_rate": way.pace * self.rate}
            found = self.train(model, own, round(share * self.total), begin=begin, **numbers)
            shutil.rmtree(state)
            bill = {"flops": young["flops"] + found["flops"], "tokens": young["tokens"] + found["tokens"]}
            return {"bpb seed": young["bpb"], "bpb at birth": at_birth, **found, **bill}

        return self.row(own, work)

    def _fresh(self, name: str, layers: int, tokens: int, **numbers: Any) -> dict[str, Any]:
        from models.shapes import build

        model = build(self.shape(layers), seed=self.seed)
        found = self.train(model, name, tokens, **numbers)
        model.save_pretrained(self.kept / f"{name}, {self.seed}")
        return found


def calibrating(tokens: Path) -> Any:
    """The demo's calibration windows."""
    from models.calibration import calibration

    return calibration(tokens, windows=64, context=128, seed=4)


def carry(
    source: Path, place: Path, seed: Any, grown: Any, mapping: list[dict[str, Any]], identity: dict[str, str]
) -> None:
    """Writes the seed's momenta as a state of step 0 of the grown model, each copy with those of its original."""
    from safetensors.torch import load_file

    from models import states

    newest = max(source.glob("step-*"))
    tensors = load_file(newest / "state.safetensors")
    facts = json.loads((newest / "facts.json").read_text(encoding="utf-8"))
    origin = {str(row["layer"]): str(row["from"]) for row in mapping}
    given = {name: number for number, name in numbered(seed).items()}
    kept = {}
    for number, name in numbered(grown).items():
        words = name.split(".")
        old = given[".".join([*words[:2], origin[words[2]], *words[3:]]) if words[1] == "layers" else name]
        kept |= {number + key[len(old) :]: value.clone() for key, value in tensors.items() if key.startswith(f"{old}.")}
    kept |= {f"model.{name}": weight for name, weight in grown.state_dict().items()}
    kept["random.cpu"] = tensors["random.cpu"]
    start = {"step": 0, "cursor": 0, "tokens": 0, "curve": [], "losses": [], "norms": []}
    states.save(place, 0, tensors=kept, facts=facts | start, identity=identity)


def numbered(model: Any) -> dict[str, str]:
    """ "optimizer<n>.<index>", as a saved state calls it, → the weight's name."""
    from types import SimpleNamespace

    from models.optimizers import optimizers_of

    names = {id(weight): name for name, weight in model.named_parameters()}
    plan: Any = SimpleNamespace(optimizer="muon", learning_rate=0.0, embedding_rate=1.0, weight_decay=0.0)
    return {
        f"optimizer{n}.{index}": names[id(weight)]
        for n, optimizer in enumerate(optimizers_of(model, plan))
        for index, weight in enumerate(weight for group in optimizer.param_groups for weight in group["params"])
    }


def crossing(points: Sequence[tuple[float, float]], aim: float) -> float:
    """FLOPs at which (flops, bpb) points, shortest first, come down to `aim`; those of the last if none does."""
    (x_end, y_end), before = points[-1], points[-2:-1]
    if y_end > aim or not before:
        return x_end
    x, y = before[0]
    return x + (x_end - x) * (y - aim) / (y - y_end)


def compared(bench: Bench, name: str, way: Way) -> dict[str, Any]:
    """Grows for longer until scratch is reached: the ratio of FLOPs, and every point on the way."""
    aim, points = bench.scratch(), []
    for share in GROWTH:
        row = bench.grown(name, way, share)
        points.append((row["flops"], row["bpb"]))
        if row["bpb"] <= aim["bpb"]:
            break
    ratio = crossing(points, aim["bpb"]) / aim["flops"]
    shown = {f"bpb at {flops / aim['flops']:.2f}x": bpb for flops, bpb in points}
    own = {"who": f"{name}, seed {bench.seed}", "scratch": aim["bpb"], "ratio": ratio}
    return own | {"reached": points[-1][1] <= aim["bpb"], **shown}


def stages(bench: Bench) -> dict[str, float]:
    """Bits per byte of the demo's own seed, grown, midtrained; and of the seed midtrained without growth."""
    from models import checkpoints
    from models.growth import depth_up

    first, second = bench.plan["pretrain"], bench.plan["midtrain"]
    own = {name: bench.plan["upscale"][name] for name in ("method", "writes")}
    way = Way(**own, layers=first["shape"]["layers"], share=1.0, decay=first["decay"])
    young = replace(bench, rate=first["learning_rate"]).young(way)
    tokens = round(second["tokens"] * bench.total / first["tokens"])

    def midtrained(name: str, layers: int) -> dict[str, Any]:
        seed, numbers = checkpoints.load(bench.kept / f"{way.young}, {bench.seed}"), second | {"phase": "phase2"}
        model, _ = depth_up(seed, layers=layers, **own, batches=calibrating(bench.tokens))
        at_birth = held_out(model, bench.tokens, second["context"])["bpb"]
        numbers = {key: value for key, value in numbers.items() if key not in ("tokens", "seed")}
        return {"bpb at birth": at_birth, **bench.train(model, name, tokens, **numbers)}

    deep, shallow = (
        bench.row(name, partial(midtrained, name, layers))
        for name, layers in (("midtrained", DEPTH), ("midtrained, not grown", way.layers))
    )
    born = {"demo's seed": young["bpb"], "upscaled": deep["bpb at birth"]}
    return born | {"midtrained": deep["bpb"], "midtrained, not grown": shallow["bpb"]}


def main() -> None:
    """Chooses scratch's rate on the first seed, then every way with every seed; prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--scale", type=float, default=1.0)
    flags = parser.parse_args()
    flags.kept.mkdir(parents=True, exist_ok=True)
    plan = _frame.numbers(_frame.ROOT / "profiles/demo.yaml")
    total = round(flags.scale * plan["pretrain"]["tokens"])
    first = Bench(flags.tokens, flags.kept, flags.seeds[0], total, 0.0, plan)
    tried = {rate: replace(first, rate=rate).scratch() for rate in RATES}
    best = min(tried, key=lambda rate: tried[rate]["bpb"])
    benches = [replace(first, rate=best, seed=seed) for seed in flags.seeds]
    found = {
        name: [compared(bench, name, WAYS[name]) for bench in (benches if name in SEVERAL else benches[:1])]
        for name in flags.ways
    }
    steps = [stages(bench) for bench in benches]
    rows = [*tried.values(), *(bench.scratch() for bench in benches[1:]), *(it for own in found.values() for it in own)]
    ratio = {}
    for name, own in found.items():
        low, middle, high = interval([row["ratio"] for row in own])
        ratio[f"{name}, reached"] = mean(row["reached"] for row in own)  # where < 1, the rest are lower bounds
        ratio |= {name: middle} | ({f"{name}, low": low, f"{name}, high": high} if len(own) > 2 else {})
    for name in steps[0]:
        low, middle, high = interval([own[name] for own in steps])
        rows.append({"who": name, "bpb": middle, "low": low, "high": high})
    _frame.report("depth_up", goal=GOAL, rows=rows, ratio=ratio)


if __name__ == "__main__":
    main()
