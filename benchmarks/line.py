"""Knows what each step from seed to Mini brings, over several seeds: the stages themselves, at a share of the budget.

    python -m benchmarks.line laptop --run <a finished run> --kept /tmp/line [--seeds 1 2 3] [--scale 0.3]

`--run` gives the tokens, the vocabulary, and the numbers that are not of training. Mini stands beside students of the
same shape, tokens and order: pruned alike but taught by labels or by the teacher alone, and from fresh weights. Every
model is judged on the held-out text in windows of pretrain's context. Finished models lie in --kept: a run that is
stopped goes on.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks import _frame
from benchmarks._quality import held_out, interval

GOAL = "bits per byte: midtrained < seed; Mini < pruned, not taught < from scratch; every interval of the ratios < 1"
LINE = {
    "pretrain": "seed",
    "upscale": "grown, not trained",
    "midtrain": "midtrained",
    "extend": "extended (Base)",
    "prune": "pruned, not trained",
    "distill": "Mini: pruned, distilled",
}
ALONE = {
    "untaught": "pruned, cross-entropy",
    "teacher": "pruned, teacher alone",
    "scratch": "from scratch, cross-entropy",
}
COMPARED = [
    (LINE["midtrain"], LINE["pretrain"]),
    (LINE["distill"], ALONE["untaught"]),
    (LINE["distill"], ALONE["teacher"]),
    (LINE["distill"], ALONE["scratch"]),
    (ALONE["untaught"], ALONE["scratch"]),
]


def main() -> None:
    """Trains every seed's line and both students beside it, prints the table and records it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("profile", choices=("demo", "laptop"))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--scale", type=float, default=1.0, help="of every training's tokens")
    flags = parser.parse_args()
    found = [trained(flags.profile, flags.run.resolve(), flags.kept.resolve(), s, flags.scale) for s in flags.seeds]
    rows = [{"who": who} | over([own[who] for own in found]) for who in found[0]]
    for seed, own in zip(flags.seeds, found, strict=True):
        rows += [{"who": f"{who}, seed {seed}", **numbers} for who, numbers in own.items()]
    ratio = {}
    for ours, theirs in COMPARED:
        low, middle, high = interval([own[ours]["bpb"] / own[theirs]["bpb"] for own in found])
        ratio |= {f"{ours} / {theirs}": middle, f"{ours} / {theirs}, low": low, f"{ours} / {theirs}, high": high}
    _frame.report(f"line_{flags.profile}", goal=GOAL, rows=rows, ratio=ratio)


def trained(profile: str, run: Path, kept: Path, seed: int, scale: float) -> dict[str, dict[str, Any]]:
    """{tokens, bpb, bpb_ko, bpb_en} of every model of one seed."""
    line = place(profile, run, kept / f"{profile} {scale:g} {seed}", seed, scale)
    for stage in LINE:
        step(line, stage)
    students = {name: line.with_name(f"{line.name} {name}") for name in ALONE}
    for name, folder in students.items():
        if not folder.exists():
            shutil.copytree(line, folder, symlinks=True, ignore=shutil.ignore_patterns("distill*", ".scratch", "found"))
            weigh(folder, labels=0.0 if name == "teacher" else 1.0)
            if name == "scratch":
                alike = _frame.numbers(folder / _frame.PARAMS_FILE)["pretrain"]["twins"]
                refresh(folder / "artifacts/prune", seed, alike=alike)
        step(folder, "distill")
    return {who: judged(line, stage) for stage, who in LINE.items()} | {
        who: judged(students[name], "distill") for name, who in ALONE.items()
    }


def place(profile: str, run: Path, folder: Path, seed: int, scale: float) -> Path:
    """A folder where stages run with a profile's numbers, every training with its own seed and its share of tokens."""
    if folder.exists():
        return folder
    (folder / "artifacts").mkdir(parents=True)
    for part in ("tokenize", "tokenizer"):
        (folder / "artifacts" / part).symlink_to(run / "artifacts" / part)
    shutil.copyfile(_frame.ROOT / "profiles" / f"{profile}.yaml", folder / _frame.PARAMS_FILE)

    def edit(params: dict[str, Any]) -> None:
        for stage in LINE:
            own = params[stage]
            if "tokens" in own:
                own.update(tokens=round(scale * own["tokens"]), seed=10 * seed + own["seed"])

    _frame.change(folder, edit)
    return folder


def weigh(folder: Path, *, labels: float) -> None:
    """How much of the loss is the labels', the rest being the teacher's."""
    _frame.change(folder, lambda params: params["distill"].update(ce_weight=labels))


def step(folder: Path, stage: str) -> None:
    """The stage's model, unless it stands."""
    if not (folder / "artifacts" / stage).exists():
        seconds = _frame.stage(stage, folder).seconds
        print(f"{folder.name}: {stage}, {seconds} s", flush=True)


def refresh(model: Path, seed: int, *, alike: float) -> None:
    """Fresh weights in the same shape, in the place of a model's own."""
    from models import checkpoints
    from models.shapes import build, shape_of, twins_of

    fresh = build(shape_of(checkpoints.load(model).config), seed=seed, twins=twins_of(model), alike=alike)
    draft = model.with_name("fresh")
    checkpoints.save(fresh, draft, tokenizer=model)
    shutil.rmtree(model)
    draft.rename(model)


def judged(folder: Path, stage: str) -> dict[str, Any]:
    """Tokens that the stage trained on, and bits per byte of the held-out text."""
    from models import checkpoints

    file = folder / "found" / f"{stage}.json"
    if not file.exists():
        own = _frame.numbers(folder / _frame.PARAMS_FILE)
        model = checkpoints.load(folder / "artifacts" / stage)
        found = held_out(model, folder / "artifacts/tokenize", own["pretrain"]["context"])
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"tokens": own[stage].get("tokens", 0), **found}), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def over(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds and the interval of bits per byte."""
    bounds = dict(zip(("low", "bpb", "high"), interval([row["bpb"] for row in rows]), strict=True))
    means = {f"bpb_{lang}": interval([row[f"bpb_{lang}"] for row in rows])[1] for lang in ("ko", "en")}
    return {"tokens": rows[0]["tokens"], **bounds, **means}


if __name__ == "__main__":
    main()
