"""The plan's arithmetic: the shapes that stages will make, and times that grow with the work."""

import pytest

from tools import plan

PAPER = {
    "ingest": {"text": "nowhere"},
    "tokenizer": {"vocab_size": 131_384},
    "upscale": {"layers": 48},
    "prune": {"hidden": 1792, "ffn": 4608, "heads": 32, "layers": 48},
    "pretrain": {
        "shape": dict(hidden=4096, ffn=14336, layers=32, heads=32, kv_heads=8, head_dim=128, rope_theta=8e6),
        **dict(tokens=10**9, batch_tokens=2**20, context=8192, optimizer="adamw"),
    },
}


@pytest.fixture(scope="module")
def shapes():
    return plan.family(PAPER)


def test_the_family_of_the_paper_has_its_published_sizes(shapes):
    sizes = [shapes[stage].parameters() for stage in ("pretrain", "extend", "dpo")]
    assert sizes == [8_055_951_360, 11_545_743_360, 2_305_517_312]


def test_twice_the_tokens_take_twice_the_time(shapes):
    once = plan.work("pretrain", PAPER, shapes, rate=1e12)
    twice = plan.work("pretrain", PAPER | {"pretrain": PAPER["pretrain"] | {"tokens": 2 * 10**9}}, shapes, rate=1e12)
    assert twice == pytest.approx(2 * once)


def test_muon_costs_more_in_many_small_steps_than_in_few_large_ones(shapes):
    own = PAPER["pretrain"] | {"optimizer": "muon"}
    small, large = (plan.muon_flops(shapes["pretrain"], own | {"batch_tokens": size}) for size in (2**10, 2**12))
    assert small == pytest.approx(4 * large)
    assert plan.muon_flops(shapes["pretrain"], PAPER["pretrain"]) == 0


def test_durations_read_as_a_person_says_them():
    assert [plan.duration(s) for s in (42, 600, 7200, 5 * 86400)] == ["42 s", "10.0 min", "2.0 hours", "5.0 days"]
