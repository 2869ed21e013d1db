"""A stage under torchrun: two ranks leave what one process leaves, once."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from corpus import bpe
from pipelines import pretrain
from pipelines._journal import Journal
from tests import token_folder

TEXTS = ["대한민국의 수도는 서울이다. 한강이 흐른다.", "The capital of Korea is Seoul. The Han flows there."] * 3
SHAPE = {"hidden": 32, "ffn": 48, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "rope_theta": 1e4}
PARAMS = {
    "shape": SHAPE, "induction": False, "twins": 0.5, "tokens": 512, "batch_tokens": 128, "context": 32,
    "packing": "separate",
    "z_loss": 0.0001, "optimizer": "adamw", "schedule": "wsd", "learning_rate": 0.005, "warmup": 0.1, "decay": 0.4,
    "weight_decay": 0.0, "clip": 1.0, "save_every": 2, "seed": 1,
}  # fmt: skip
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranks")
    bpe.save(bpe.train(TEXTS, vocab_size=320, min_frequency=1), root / "tokenizer", context=32)
    token_folder.write(root / "tokens", tokens=3000, period=251, vocabulary=320)
    return root


def alone(place, house):
    """One process, which is this one; the folder that it leaves."""
    for name in ("out", "scratch"):
        (house / name).mkdir(parents=True)
    given, journal = {"tokens": place / "tokens", "tokenizer": place / "tokenizer"}, Journal.offline("pretrain", house)
    params = pretrain.Params.model_validate(PARAMS)
    pretrain.main(**given, out=house / "out", scratch=house / "scratch", params=params, journal=journal)
    return house / "out"


def both(place, house):
    """Two ranks, started as the plan of a profile says; the folder that they leave."""
    house.mkdir()
    (house / "params.yaml").write_text(json.dumps({"pretrain": PARAMS}))
    flags = ["--tokens", place / "tokens", "--tokenizer", place / "tokenizer", "--out", "artifacts/pretrain"]
    own = {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.path.abspath("runtime/src")]), "OPENMIDM_TRACKING": "off"}
    command = [*TORCHRUN, "-m", "pipelines.pretrain", *map(str, flags)]
    done = subprocess.run(command, cwd=house, env=os.environ | own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("finished") == done.stdout.count("eval/loss_ko") - 1 == 1
    return house / "artifacts/pretrain"


@pytest.mark.slow
def test_two_ranks_of_a_stage_leave_one_artifact_one_report_and_no_trace_of_the_second(place, tmp_path, monkeypatch):
    for name, value in {"DEVICE": "cpu", "PRECISION": "no", "SHARDED": "1"}.items():
        monkeypatch.setenv(f"OPENMIDM_{name}", value)
    ours, theirs = alone(place, tmp_path / "alone"), both(place, tmp_path / "both")
    assert {file.name for file in ours.iterdir()} == {file.name for file in theirs.iterdir()}
    weights, again = (load_file(out / "model.safetensors") for out in (ours, theirs))
    assert weights.keys() == again.keys()
    for name, weight in weights.items():
        np.testing.assert_allclose(again[name], weight, rtol=0, atol=1e-5, err_msg=name)
    left = {str(file.relative_to(tmp_path / "both")) for file in (tmp_path / "both").rglob("*") if file.is_file()}
    assert left - {f"artifacts/pretrain/{file.name}" for file in theirs.iterdir()} == {
        "params.yaml",
        "logs/pretrain.jsonl",
        "reports/pretrain.json",
    }
    report, same = (json.loads((tmp_path / name / "reports/pretrain.json").read_text()) for name in ("alone", "both"))
    assert report.keys() == same.keys() and report["steps"] == same["steps"] == 4 and report["shape"] == same["shape"]
    assert same["loss_ko"] == pytest.approx(report["loss_ko"], abs=1e-4)
