"""The distill stage on tiny models: students share a teacher's draws, and lessons that cannot be are refused."""

import json
from dataclasses import replace

import pytest

from corpus import bpe
from models import checkpoints
from models.pruning import prune
from models.shapes import Shape, build
from pipelines import distill
from pipelines._journal import Journal
from tests import token_folder

WIDTHS = {"hidden": 32, "ffn": 48, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16}
SHAPE = Shape(vocab_rows=320, tied=False, rope_theta=1e4, context=32, **WIDTHS)
TEXTS = ["대한민국의 수도는 서울이다. 한강이 흐른다.", "The capital of Korea is Seoul. The Han flows there."] * 3
PARAMS = distill.Params(
    logits="cached", draws=8, divergence="forward_kl", temperature=1.0, ce_weight=0.0, layers_weight=0.0, tokens=512,
    batch_tokens=128, context=32, optimizer="muon", schedule="wsd", learning_rate=0.005, warmup=0.1, decay=0.4,
    weight_decay=0.0, clip=1.0, save_every=100, seed=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("distill")
    bpe.save(bpe.train(TEXTS, vocab_size=320, min_frequency=1), root / "tokenizer", context=32)
    base = build(SHAPE, seed=0)
    checkpoints.save(base, root / "base", tokenizer=root / "tokenizer")
    import torch

    target = replace(SHAPE, hidden=16, ffn=32, tied=True)
    student, mapping = prune(base, [torch.arange(3, 27)[None]], target=target)
    checkpoints.save(student, root / "pruned", tokenizer=root / "tokenizer")
    (root / "pruned/mapping.json").write_text(json.dumps(mapping))
    token_folder.write(root / "tokens", tokens=3000, period=251, vocabulary=320)
    return root


def run(place, root, name, **change):
    out, scratch = root / name, root / ".scratch/distill" / name
    out.mkdir(), scratch.mkdir(parents=True)
    call = {"teacher": place / "base", "student": place / "pruned", "tokens": place / "tokens"}
    params = PARAMS.model_copy(update=change)
    distill.main(**call, out=out, scratch=scratch, params=params, journal=Journal.offline("distill", root))
    return json.loads((root / "reports/distill.json").read_text())


def test_a_second_student_reads_what_the_first_ones_teacher_said(place, tmp_path):
    first = run(place, tmp_path, "first")
    shards = {file: file.stat().st_mtime_ns for file in (tmp_path / ".scratch/teacher").rglob("*.bin")}
    second = run(place, tmp_path, "second", learning_rate=0.001)
    assert shards == {file: file.stat().st_mtime_ns for file in (tmp_path / ".scratch/teacher").rglob("*.bin")}
    assert len(shards) == 1 and 0 < first["teacher_bytes_per_token"] == second["teacher_bytes_per_token"] <= 40
    assert (tmp_path / "first/model.safetensors").exists() and first["loss_ko"] != second["loss_ko"]


def test_a_live_teacher_may_show_its_layers_too(place, tmp_path):
    plain = run(place, tmp_path, "plain", logits="online")
    layers = run(place, tmp_path, "layers", logits="online", layers_weight=1.0)
    assert "teacher_bytes_per_token" not in plain and layers["curve"][0]["loss"] > plain["curve"][0]["loss"]


@pytest.mark.parametrize("change", [{"divergence": "jsd"}, {"layers_weight": 0.5}])
def test_what_draws_cannot_teach_is_refused_before_any_is_drawn(place, tmp_path, change):
    with pytest.raises(ValueError, match=r"ask for distill\.logits = online"):
        run(place, tmp_path, "refused", **change)
    assert not (tmp_path / ".scratch/teacher").exists()
