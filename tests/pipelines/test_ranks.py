"""A stage under torchrun: two ranks leave what one process leaves, once."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from corpus import bpe

TEXTS = ["대한민국의 수도는 서울이다. 한강이 흐른다.", "The capital of Korea is Seoul. The Han flows there."] * 3
SHAPE = {"hidden": 32, "ffn": 48, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "rope_theta": 1e4}
PARAMS = {
    "shape": SHAPE, "tokens": 512, "batch_tokens": 128, "context": 32, "packing": "separate", "z_loss": 0.0001,
    "optimizer": "adamw", "schedule": "wsd", "learning_rate": 0.005, "warmup": 0.1, "decay": 0.4, "weight_decay": 0.0,
    "clip": 1.0, "save_every": 2, "seed": 1,
}  # fmt: skip
ALONE = [sys.executable]
BOTH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranks")
    bpe.save(bpe.train(TEXTS, vocab_size=320, min_frequency=1), root / "tokenizer", context=32)
    (root / "tokens").mkdir()
    ids = (np.arange(3000) * 7 % 251 + 3).astype("<u2")
    phases = ("phase1", "validation_ko", "validation_en")
    for phase in phases:
        ids.tofile(root / f"tokens/{phase}.bin")
    known = {"documents": 1, "tokens": len(ids), "bytes": 8000, "starts": [0]}
    index = {"dtype": "uint16", "vocabulary": 320, "phases": dict.fromkeys(phases, known)}
    (root / "tokens/index.json").write_text(json.dumps(index))
    return root


def pretrain(place, house, launcher, **environment):
    """Runs the stage in `house`, as its command says; what it printed."""
    house.mkdir()
    (house / "params.yaml").write_text(json.dumps({"pretrain": PARAMS}))
    flags = ["--tokens", place / "tokens", "--tokenizer", place / "tokenizer", "--out", "artifacts/pretrain"]
    own = {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.path.abspath("runtime/src")]), "OPENMIDM_TRACKING": "off"}
    own |= {"OPENMIDM_DEVICE": "cpu", "OPENMIDM_PRODUCTS": "ieee"} | environment
    command = [*launcher, "-m", "pipelines.pretrain", *map(str, flags)]
    done = subprocess.run(command, cwd=house, env=os.environ | own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_ranks_of_a_stage_leave_one_artifact_one_report_and_no_trace_of_the_second(place, tmp_path):
    said = pretrain(place, tmp_path / "alone", ALONE)
    told = pretrain(place, tmp_path / "both", BOTH, OPENMIDM_SHARDED="1")
    alone, both = (
        {str(f.relative_to(tmp_path / name)) for f in (tmp_path / name).rglob("*") if f.is_file()}
        for name in ("alone", "both")
    )
    assert alone == both and {"reports/pretrain.json", "logs/pretrain.jsonl"} < both
    assert len(told.splitlines()) == len(said.splitlines())
    ours, theirs = (load_file(tmp_path / name / "artifacts/pretrain/model.safetensors") for name in ("alone", "both"))
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        np.testing.assert_allclose(theirs[name], weight, rtol=0, atol=1e-5, err_msg=name)
    reports = [json.loads((tmp_path / name / "reports/pretrain.json").read_text()) for name in ("alone", "both")]
    assert reports[0]["steps"] == reports[1]["steps"] == 4 and reports[0]["shape"] == reports[1]["shape"]
    assert reports[1]["loss_ko"] == pytest.approx(reports[0]["loss_ko"], abs=1e-4)
    assert not (tmp_path / "both/.scratch").exists() or not any((tmp_path / "both/.scratch/pretrain").iterdir())
