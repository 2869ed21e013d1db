"""A teacher's draws are unbiased, small, the same bytes again, and refused where they do not belong."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models import checkpoints, teacher_cache
from models.batches import Packed, TokenShard
from models.distillation import CachedDistillation, Distillation
from models.shapes import build
from models.teacher_cache import TeacherCache
from tests.models.conftest import TINY

DRAWS, CONTEXT = 12, 16


@pytest.fixture(autouse=True)
def few_windows(monkeypatch):
    monkeypatch.setattr(teacher_cache, "SHARD", 8)


@pytest.fixture
def teacher(tmp_path):
    """A folder and its model, sharper than a fresh one."""
    model = build(TINY, seed=9)
    with torch.no_grad():
        model.lm_head.weight.mul_(30)
    model.save_pretrained(tmp_path / "teacher")
    (tmp_path / "teacher/tokenizer.json").write_text("{}")
    return tmp_path / "teacher", checkpoints.load(tmp_path / "teacher")


@pytest.fixture
def packed(tokens):
    return Packed(TokenShard.open(tokens, "phase2"), CONTEXT, seed=1)


def origin_of(teacher, tokens, packed, **others):
    return teacher_cache.provenance(teacher, tokens, packed, **{"draws": DRAWS, "temperature": 1.0} | others)


def filled(folder, teacher, tokens, packed, windows=20):
    origin = origin_of(teacher[0], tokens, packed)
    teacher_cache.write(folder, origin, teacher[1], packed, windows=windows)
    return origin


def spread(batch, rows=TINY.vocab_rows):
    """Drawn shares as dense distributions [B,T,V]."""
    dense = torch.zeros(*batch["drawn"].shape[:2], rows)
    return dense.scatter_add_(-1, batch["drawn"], batch["shares"])


def test_the_expectation_of_the_drawn_shares_is_the_teachers_distribution():
    draw, positions = np.random.default_rng(0), 4000
    logits = torch.randn(40, generator=torch.Generator().manual_seed(0)) * 2
    drawn = teacher_cache.draw(logits.expand(positions, -1), draw.random(positions), DRAWS)
    chances = logits.double().softmax(-1).numpy()
    found = np.stack([(drawn == token).mean(1) for token in range(40)], axis=1)  # [positions, ids]
    error = found.std(0) / positions**0.5 + 1e-4
    assert (np.abs(found.mean(0) - chances) < 4.5 * error).all()
    assert (np.abs(found - chances) < 1 / DRAWS + 1e-9).all()  # systematic: no id is off by a whole draw


def test_the_mean_gradient_of_many_draws_approaches_dense_forward_kl(tiny, teacher, packed):
    model, batch, draw = teacher[1], packed.batch(0, 2), np.random.default_rng(0)
    with torch.no_grad():
        logits = model(batch["ids"]).logits.flatten(0, 1)

    def gradient(objective, batch):
        tiny.zero_grad()
        objective(tiny, batch)[0].backward()
        return torch.cat([weight.grad.flatten() for weight in tiny.parameters()])

    numbers = {"temperature": 1.0, "ce_weight": 0.0}
    dense = gradient(Distillation(model, tiny, divergence="forward_kl", **numbers), batch)

    def of_draws():
        drawn = torch.from_numpy(teacher_cache.draw(logits, draw.random(len(logits)), 4)).view(2, CONTEXT, 4)
        return gradient(
            CachedDistillation(model, tiny, **numbers),
            batch | {"drawn": drawn, "shares": torch.full(drawn.shape, 0.25)},
        )

    rows = [of_draws() for _ in range(64)]
    one, few, many = (float((sum(rows[:n]) / n - dense).norm() / dense.norm()) for n in (1, 8, 64))
    assert many < 0.25 * one and many < 0.6 * few and many < 0.1, (one, few, many)


def test_a_batch_is_the_plain_one_with_shares_that_are_the_teachers(tmp_path, teacher, tokens, packed):
    origin = filled(tmp_path / "cache", teacher, tokens, packed)
    cache = TeacherCache.open(tmp_path / "cache", origin, packed, windows=24)
    batch = cache.batch(1, 6)  # windows 6…11 reach over the edge of a shard
    for name, tensor in packed.batch(1, 6).items():
        assert torch.equal(batch[name], tensor)
    with torch.no_grad():
        chances = teacher[1](batch["ids"]).logits.softmax(-1)
    dense = spread(batch)
    torch.testing.assert_close(dense.sum(-1), torch.ones(6, CONTEXT))
    assert float((dense - chances).abs().max()) < 1 / DRAWS + 1e-5
    assert float((spread(cache.batch(2, 6)) - chances).abs().max()) > 2 / DRAWS  # others have others


def test_writing_again_gives_the_same_bytes_and_a_killed_writing_goes_on(
    tmp_path, teacher, tokens, packed, monkeypatch
):
    filled(tmp_path / "whole", teacher, tokens, packed)
    plain, done = teacher_cache._replace, []

    def killed(file, content):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(plain(file, content))

    monkeypatch.setattr(teacher_cache, "_replace", killed)
    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "broken", teacher, tokens, packed)
    monkeypatch.setattr(teacher_cache, "_replace", plain)
    origin = origin_of(teacher[0], tokens, packed)
    with pytest.raises(ValueError, match=r"holds no provenance\.json"):
        TeacherCache.open(tmp_path / "broken", origin, packed, windows=8)
    assert teacher_cache.write(tmp_path / "broken", origin, teacher[1], packed, windows=20) == 8
    names = ["00000.bin", "00001.bin", "00002.bin", "provenance.json"]
    assert sorted(file.name for file in (tmp_path / "broken").iterdir()) == names
    for name in names:
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_second_student_finds_everything_and_a_longer_one_writes_the_rest(tmp_path, teacher, tokens, packed):
    origin = filled(tmp_path / "cache", teacher, tokens, packed)
    assert teacher_cache.write(tmp_path / "cache", origin, teacher[1], packed, windows=24) == 0
    assert teacher_cache.write(tmp_path / "cache", origin, teacher[1], packed, windows=25) == 8
    assert TeacherCache.open(tmp_path / "cache", origin, packed, windows=32).batch(3, 8)["ids"].shape == (8, CONTEXT)


def test_what_is_packed_comes_back_in_half_of_three_bytes_for_each_id():
    draw = np.random.default_rng(1)
    rows_NK = np.sort(draw.choice(8192, size=(64 * 128, 32), p=draw.dirichlet(np.full(8192, 0.1))), axis=1)
    rows_NK[0] = teacher_cache.MOST_IDS - 1  # the largest id and, in a row of one, the most draws
    runs = teacher_cache._runs(rows_NK)
    content = teacher_cache._packed(*runs)
    for found, wanted in zip(teacher_cache._unpacked(content), runs, strict=True):
        np.testing.assert_array_equal(found, wanted)
    counts_N, ids, draws = runs
    np.testing.assert_array_equal(np.repeat(ids, draws).reshape(rows_NK.shape), rows_NK)
    assert len(content) < 1.5 * len(ids) and counts_N[0] == 1


def test_bytes_per_token_are_those_of_the_files(tmp_path, teacher, tokens, packed):
    origin = filled(tmp_path / "cache", teacher, tokens, packed, windows=8)
    cache = TeacherCache.open(tmp_path / "cache", origin, packed, windows=8)
    assert cache.bytes_per_token == (tmp_path / "cache/00000.bin").stat().st_size / (8 * CONTEXT) <= 40


def changed_teacher(teacher, tokens, packed):
    with torch.no_grad():
        teacher[1].model.norm.weight[0] += 1e-3
    teacher[1].save_pretrained(teacher[0])
    return origin_of(teacher[0], tokens, packed)


def changed_tokenizer(teacher, tokens, packed):
    (teacher[0] / "tokenizer.json").write_text("{ }")
    return origin_of(teacher[0], tokens, packed)


OTHERS = {
    "teacher": changed_teacher,
    "tokenizer": changed_tokenizer,
    "tokens": lambda teacher, tokens, packed: origin_of(teacher[0], tokens, packed) | {"tokens": "other"},
    "order": lambda teacher, tokens, packed: origin_of(teacher[0], tokens, replace(packed, seed=2)),
    "draws": lambda teacher, tokens, packed: origin_of(teacher[0], tokens, packed, draws=13),
    "temperature": lambda teacher, tokens, packed: origin_of(teacher[0], tokens, packed, temperature=2.0),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_cache_of_something_else_is_refused_by_name(tmp_path, teacher, tokens, packed, what):
    before = filled(tmp_path / "cache", teacher, tokens, packed, windows=8)
    origin = OTHERS[what](teacher, tokens, packed)
    with pytest.raises(ValueError, match=rf"drawn from something else \({what}: cached") as error:
        TeacherCache.open(tmp_path / "cache", origin, packed, windows=8)
    assert ";" not in str(error.value).split(")")[0], "names one difference only"
    with pytest.raises(ValueError, match="drawn from something else"):
        teacher_cache.write(tmp_path / "cache", origin, teacher[1], packed, windows=8)
    assert teacher_cache.place(tmp_path, origin) != teacher_cache.place(tmp_path, before)


def test_a_cache_that_is_too_short_or_whose_bytes_changed_is_refused(tmp_path, teacher, tokens, packed):
    origin = filled(tmp_path / "cache", teacher, tokens, packed)
    with pytest.raises(ValueError, match="24 of 25 windows"):
        TeacherCache.open(tmp_path / "cache", origin, packed, windows=25)
    shard = tmp_path / "cache/00001.bin"
    whole = bytearray(shard.read_bytes())
    whole[100] ^= 1
    shard.write_bytes(whole)
    with pytest.raises(ValueError, match=r"00001\.bin is not what was written"):
        TeacherCache.open(tmp_path / "cache", origin, packed, windows=24).batch(1, 8)


def test_more_draws_than_a_byte_counts_are_refused(tmp_path, teacher, tokens, packed):
    origin = origin_of(teacher[0], tokens, packed, draws=257)
    with pytest.raises(ValueError, match="at most 256"):
        teacher_cache.write(tmp_path / "cache", origin, teacher[1], packed, windows=8)
    assert not (tmp_path / "cache").exists()
