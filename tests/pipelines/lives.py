"""Small trainings of sft and dpo, and what each leaves when it is whole, or killed and resumed: `lives PLACE`."""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from corpus import bpe
from models import checkpoints
from models.shapes import Shape, build
from pipelines import dpo, sft
from pipelines._journal import Journal
from tests import token_folder

TEXTS = [
    "질문: 수도는? 답: 서울이다. 한강이 흐른다.",
    "user assistant Question: which capital? Answer: Seoul, by the Han.",
] * 3
WIDTHS = {"hidden": 32, "ffn": 48, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16}
SHAPE = Shape(vocab_rows=320, tied=True, rope_theta=1e4, context=64, **WIDTHS)
RATES = {
    "tokens": 12 * 256, "batch_tokens": 256, "context": 64, "optimizer": "muon", "schedule": "wsd",
    "learning_rate": 0.005, "warmup": 0.1, "decay": 0.4, "weight_decay": 0.0, "clip": 1.0, "save_every": 4, "seed": 1,
    "max_dropped": 0.1,
}  # fmt: skip
LORA = {"rank": 4, "alpha": 8, "targets": ["q_proj", "down_proj"]}
SFT = sft.Params(
    **RATES, packing="separate", replay=0.25, opening=1.0, embedding_rate=1.0, copies=0.0, adapter=LORA | {"rank": 0}
)
DPO = dpo.Params(**RATES, likelihood="per_token", beta=2.0, anchor=0.5)
TRAININGS = {
    "sft": (sft, SFT),
    "lora": (sft, SFT.model_copy(update={"adapter": sft.Adapter(**LORA), "copies": 0.25})),
    "dpo": (dpo, DPO),
}
KILLED_AT = 6


def world(root):
    """Tokenizer, a random student, conversations, preferences and tokens below `root`, once."""
    bpe.save(bpe.train(TEXTS, vocab_size=320, min_frequency=1), root / "tokenizer", context=64)
    checkpoints.save(build(SHAPE, seed=0), root / "student", tokenizer=root / "tokenizer")
    token_folder.write(root / "tokens", tokens=3000, period=251, vocabulary=320)
    (root / "talks").mkdir(), (root / "given").mkdir()
    (root / "given/README.md").write_text("Pairs of your own.")
    asked = [[{"role": "user", "content": f"which capital {n}?"}] for n in range(24)]
    talks = [
        {"kind": "fact" if n % 3 else "repeat", "messages": [*a, {"role": "assistant", "content": f"Seoul {n % 5}"}]}
        for n, a in enumerate(asked)
    ]
    pairs = [{"prompt": a, "chosen": "Seoul", "rejected": f"by the Han {n}"} for n, a in enumerate(asked)]
    for name, rows in {"dialogues": talks, "preferences": pairs}.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (root / f"talks/{name}.jsonl").write_text(lines, encoding="utf-8")


def train(root, name, house, *, dies_at=None):
    """One training in its house; SIGKILL takes the process when step `dies_at` is told."""
    stage, params = TRAININGS[name]
    out, scratch, journal = house / "out", house / "scratch", Journal.offline(name, house)
    out.mkdir(parents=True, exist_ok=True), scratch.mkdir(exist_ok=True)
    told = journal.step

    def step(number, **curve):
        told(number, **curve)
        if number == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    journal.step = step
    flags = {"dialogues": root / "talks"} if stage is sft else {"preferences": root / "talks", "given": root / "given"}
    call = {"student": root / "student", "tokens": root / "tokens", "out": out, "scratch": scratch}
    stage.main(**flags, **call, params=params, journal=journal)
    journal.close("FINISHED")


def life(*arguments, **options):
    """The same in a process of its own: its exit status."""
    child = os.fork()
    if child == 0:
        try:
            train(*arguments, **options)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left(house):
    """sha256 of every file of the out and the report, whose curve is the loss log."""
    files = [file for part in ("out", "reports") for file in (house / part).rglob("*") if file.is_file()]
    return {file.relative_to(house).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)  # a fork copies no others
    root = Path(sys.argv[1])
    world(root)
    found = {}
    for name in TRAININGS:
        whole, killed = root / name / "whole", root / name / "killed"
        ends = [life(root, name, whole), life(root, name, killed, dies_at=KILLED_AT)]
        states = sorted(path.name for path in (killed / "scratch/state").iterdir())
        ends.append(life(root, name, killed))
        found[name] = {"ends": ends, "states": states, "whole": left(whole), "resumed": left(killed)}
    (root / "found.json").write_text(json.dumps(found))
