"""The plan's arithmetic: the shapes that stages will make, times that grow with the work, and what a card holds."""

import pytest

from tools import bill, cluster, plan

PAPER = {
    "ingest": {"text": "nowhere"},
    "tokenizer": {"vocab_size": 131_384},
    "upscale": {"layers": 48},
    "prune": {"hidden": 1792, "ffn": 4608, "heads": 32, "layers": 48},
    "pretrain": {
        "shape": dict(hidden=4096, ffn=14336, layers=32, heads=32, kv_heads=8, head_dim=128, rope_theta=8e6),
        **dict(tokens=10**9, batch_tokens=2**20, context=8192, optimizer="adamw"),
    },
    "distill": dict(tokens=10**9, batch_tokens=2**20, context=8192, optimizer="muon"),
    "dpo": dict(tokens=10**6, batch_tokens=2**15, context=8192, optimizer="adamw"),
}


@pytest.fixture(scope="module")
def shapes():
    return bill.family(PAPER)


def test_the_family_of_the_paper_has_its_published_sizes(shapes):
    sizes = [shapes[stage].parameters() for stage in ("pretrain", "extend", "dpo")]
    assert sizes == [8_055_951_360, 11_545_743_360, 2_305_517_312]


def test_twice_the_tokens_take_twice_the_time(shapes):
    once = plan.work("pretrain", PAPER, shapes, rate=1e12)
    twice = plan.work("pretrain", PAPER | {"pretrain": PAPER["pretrain"] | {"tokens": 2 * 10**9}}, shapes, rate=1e12)
    assert twice == pytest.approx(2 * once)


def test_muon_costs_more_in_many_small_steps_than_in_few_large_ones(shapes):
    own = PAPER["pretrain"] | {"optimizer": "muon"}
    small, large = (bill.muon_flops(shapes["pretrain"], own | {"batch_tokens": size}) for size in (2**10, 2**12))
    assert small == pytest.approx(4 * large)
    assert bill.muon_flops(shapes["pretrain"], PAPER["pretrain"]) == 0


def test_a_preference_costs_two_rows_of_the_model_and_two_forwards_of_its_reference(shapes):
    own, per_token = PAPER["dpo"], shapes["dpo"].flops_per_token(8192)
    assert bill.flops("dpo", PAPER, shapes) == pytest.approx(2 * own["tokens"] * (per_token + per_token / 3))


def test_durations_read_as_a_person_says_them():
    assert [bill.duration(s) for s in (42, 600, 7200, 5 * 86400)] == ["42 s", "10.0 min", "2.0 hours", "5.0 days"]


ENTRIES = {
    name: {"cmd": f"python -m pipelines.{name} --out artifacts/{name}"} for name in ("pretrain", "distill", "dpo")
}
H100 = dict(mfu=0.4, card="h100")


def text_of(shapes, gpus, params=PAPER):
    return "\n".join(cluster.lines(params, shapes, ENTRIES, gpus=gpus, **H100))


def test_the_same_training_takes_the_same_gpu_hours_on_any_number_of_them(shapes):
    hours = [next(line for line in text_of(shapes, n).splitlines() if "GPU hours" in line) for n in (2, 4)]
    assert hours[0].split(", ")[1:] == hours[1].split(", ")[1:]


def test_distillation_pays_for_its_teacher_in_flops_and_memory(shapes):
    alone = {**shapes, "extend": None}
    teacher = shapes["extend"]
    forward = bill.flops("distill", PAPER, shapes) - bill.flops("distill", PAPER, alone)
    assert forward == pytest.approx(10**9 * teacher.flops_per_token(8192) / 3)
    share = [cluster.rank_bytes("distill", PAPER, found, gpus=64, tokens=8192) for found in (shapes, alone)]
    assert share[0] - share[1] > 4 * teacher.parameters() / 64


def test_more_ranks_hold_less_each(shapes):
    held = [cluster.rank_bytes("pretrain", PAPER, shapes, gpus=n, tokens=8192) for n in (2, 8, 64)]
    assert held == sorted(held, reverse=True) and held[0] - held[2] == pytest.approx(
        16 * 8_055_951_360 * (1 / 2 - 1 / 64)
    )


def test_what_does_not_fit_says_how_many_ranks_do(shapes):
    assert "! one example does not fit a card: take 4 ranks" in text_of(shapes, 1)
    assert "does not fit" not in text_of(shapes, 4).split("distill")[0]


def test_a_micro_batch_is_halved_until_it_fits(shapes):
    roomy, tight = (cluster.largest("pretrain", PAPER, shapes, gpus=4, room=room)[1] for room in (141e9, 68e9))
    assert roomy == 65_536 > tight >= 8192


def test_a_rank_takes_both_rows_of_a_preference(shapes):
    assert cluster.largest("dpo", PAPER, shapes, gpus=4, room=80e9)[1] == 2 * 8192
    assert "cannot share" not in text_of(shapes, 4).split("dpo")[1]


def test_examples_that_ranks_cannot_share_are_named(shapes):
    assert "a step has 4 examples, which 64 ranks cannot share evenly" in text_of(shapes, 64)


def test_the_recipe_names_every_node_and_the_stages_own_command(shapes):
    text = text_of(shapes, 64)
    assert "--nnodes 8 --nproc-per-node 8" in text and "-m pipelines.pretrain --out artifacts/pretrain" in text
