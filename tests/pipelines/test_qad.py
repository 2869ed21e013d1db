"""The qad stage on a tiny Mini: its weights end on the grid, its scales beside them, its own words barely changed."""

import json

import pytest
from safetensors.torch import load_file

from corpus import bpe
from export import checkpoint, grid
from models import checkpoints
from models.shapes import Shape, build
from pipelines import qad
from pipelines._journal import Journal
from tests import token_folder

SHAPE = Shape(
    hidden=64, ffn=96, layers=2, heads=2, kv_heads=1, head_dim=32, vocab_rows=320, tied=True, rope_theta=1e4, context=64
)
TEXTS = ["대한민국의 수도는 서울이다. 한강이 흐른다.", "The capital of Korea is Seoul. The Han flows there."] * 3
PARAMS = qad.Params(
    bits=5.0, text="phase2", calibration_windows=8, replay=0.5, max_dropped=0.0,
    tokens=512, batch_tokens=128, context=64, optimizer="adamw", schedule="cosine",
    learning_rate=1e-4, warmup=0.1, decay=0.0, weight_decay=0.0, clip=1.0, save_every=2, seed=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("qad")
    bpe.save(bpe.train(TEXTS, vocab_size=320, min_frequency=1), root / "mini", context=64)
    checkpoints.save(build(SHAPE, seed=0), root / "hf", tokenizer=root / "mini")
    token_folder.write(root / "tokens", tokens=3000, period=251, vocabulary=320)
    (root / "talks").mkdir()
    turns = [{"role": "user", "content": "수도는?"}, {"role": "assistant", "content": "서울이다."}]
    (root / "talks/dialogues.jsonl").write_text(json.dumps({"messages": turns}, ensure_ascii=False) + "\n")
    return root


def run(place, root, **change):
    out, scratch = root / "out", root / ".scratch/qad/x"
    out.mkdir(parents=True), scratch.mkdir(parents=True, exist_ok=True)
    call = {"model": place / "hf", "dialogues": place / "talks", "tokens": place / "tokens"}
    params = PARAMS.model_copy(update=change)
    qad.main(**call, out=out, scratch=scratch, params=params, journal=Journal.offline("qad", root))
    return json.loads((root / "reports/qad.json").read_text())


def test_what_is_saved_lies_on_the_grid_and_is_what_was_judged(place, tmp_path):
    found = run(place, tmp_path)
    parent = checkpoint.read(tmp_path / "out")
    held = grid.read(parent)
    matrices = {name for name, shape in parent.shapes.items() if len(shape) == 2}
    assert set(held.bits) == matrices and {4, 5} <= set(held.bits.values()) <= {4, 5, 8}
    for name, weight in checkpoint.tensors(parent):
        if name in matrices:
            held.split(name, weight)  # raises if a single value is beside it
    before = load_file(place / "hf/model.safetensors")["model.norm.weight"]
    assert not before.equal(load_file(tmp_path / "out/model.safetensors")["model.norm.weight"]), "norms learn too"
    assert 0 < found["kl_ko"] < 0.05 and 4.5 < found["bits_per_weight"] <= PARAMS.bits


def test_a_run_taken_up_after_its_last_step_leaves_the_same_bytes(place, tmp_path):
    """Settling moves the weights after the last state was saved: a second run from that state must not settle twice."""
    run(place, tmp_path / "first")
    again = tmp_path / "again"
    (tmp_path / "first/.scratch").rename((again.mkdir(), again / ".scratch")[1])
    run(place, again)
    files = ("model.safetensors", grid.SCALES)
    assert all((tmp_path / "first/out" / name).read_bytes() == (again / "out" / name).read_bytes() for name in files)


def test_fewer_bits_than_four_and_a_scale_are_refused_before_any_work():
    with pytest.raises(ValueError, match=r"greater than or equal to 4\.5"):
        qad.Params.model_validate(PARAMS.model_dump() | {"bits": 4.0})
