"""Order is a function of seed, phase and index; targets are shifted once; masks say what bears loss."""

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch

from models.batches import IGNORED, Blend, Conversations, Packed, TokenShard, domains_of, first_fit, pad_rows, positions


@pytest.fixture
def packed(tokens):
    return Packed(TokenShard.open(tokens, "phase1"), 32, seed=1)


def test_targets_are_the_ids_one_place_on(packed):
    batch = packed.batch(0, 4)
    assert (batch["ids"][:, 1:] == batch["targets"][:, :-1]).all()


def test_every_window_of_an_epoch_comes_exactly_once(packed):
    starts = [tuple(packed.window(i)) for i in range(packed.windows)]
    assert len(set(starts)) <= len(starts) == packed.windows
    flat = np.sort(np.concatenate([w[:-1] for w in starts]))
    again = np.sort(np.concatenate([packed.window(i)[:-1] for i in reversed(range(packed.windows))]))
    assert (flat == again).all()


def test_a_batch_does_not_depend_on_what_was_asked_before(packed):
    first = packed.batch(3, 2)["ids"].clone()
    packed.batch(packed.windows, 2)
    assert (packed.batch(3, 2)["ids"] == first).all()


def test_positions_begin_again_at_every_document(packed):
    ids = torch.tensor([[7, 8, 0, 9, 9, 0, 5], [0, 4, 4, 4, 4, 4, 4]])
    assert positions(ids).tolist() == [[0, 1, 0, 1, 2, 0, 1], [0, 1, 2, 3, 4, 5, 6]]
    assert "positions" not in packed.batch(0, 2)
    assert replace(packed, packing="separate").batch(0, 2)["positions"].shape == (2, 32)


def test_seed_phase_and_epoch_change_the_order(tokens, packed):
    other = Packed(TokenShard.open(tokens, "phase1"), 32, seed=2)
    phase2 = Packed(TokenShard.open(tokens, "phase2"), 32, seed=1)
    first = packed.batch(0, 8)["ids"]
    assert not (first == other.batch(0, 8)["ids"]).all()
    assert not (first == phase2.batch(0, 8)["ids"]).all()
    assert not (first == packed.batch(packed.windows // 8 + 1, 8)["ids"]).all()


def test_a_curriculum_keeps_its_buckets_and_draws_inside_them(packed):
    steps = Packed(replace(packed.shard, ids=np.arange(4000, dtype="uint16"), starts=(0, 1600, 3200)), 32, seed=1)
    first = np.array([steps.window(i)[0] // 32 for i in range(steps.windows)])
    assert (np.sort(first) == np.arange(steps.windows)).all()
    assert first[:50].max() < 50 <= first[50:100].min() and first[100:].min() >= 100
    assert (np.diff(first[:50]) < 0).any()


def test_one_bucket_is_the_order_of_a_shuffled_shard(packed):
    same = Packed(replace(packed.shard, starts=(0,)), 32, seed=1)
    draw = np.random.Generator(np.random.Philox(int.from_bytes(sha256(b"1/phase1/0").digest()[:16], "little")))
    order, shift = draw.permutation(same.windows), int(draw.integers(32))
    assert (same.window(5)[:32] == packed.shard.ids[order[5] * 32 + shift :][:32]).all()


def test_a_shard_that_was_cut_short_or_is_unknown_is_refused(tokens, tmp_path):
    (tmp_path / "index.json").write_bytes((tokens / "index.json").read_bytes())
    (tmp_path / "phase1.bin").write_bytes((tokens / "phase1.bin").read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"phase1[.]bin has 3999 tokens"):
        TokenShard.open(tmp_path, "phase1")
    with pytest.raises(ValueError, match="no phase 'phase9'"):
        TokenShard.open(tokens, "phase9")


def test_text_shorter_than_two_windows_is_an_error_that_says_so(tokens):
    with pytest.raises(ValueError, match="give more text"):
        Packed(TokenShard.open(tokens, "phase1"), 4000, seed=0)


def test_the_domains_of_held_out_text_are_its_parts_in_order(tokens, tmp_path):
    index = json.loads((tokens / "index.json").read_text())
    index["phases"]["validation_ko"]["domains"] = {"general": 1500, "law": 2500}
    (tmp_path / "index.json").write_text(json.dumps(index))
    (tmp_path / "validation_ko.bin").write_bytes((tokens / "validation_ko.bin").read_bytes())
    found = domains_of(tmp_path, "validation_ko")
    assert list(found) == ["general", "law"]
    whole = TokenShard.open(tmp_path, "validation_ko").ids
    assert (np.concatenate([shard.ids for shard in found.values()]) == whole).all()
    assert domains_of(tokens, "validation_ko") == {}


def test_padding_and_prompts_bear_no_loss():
    batch = pad_rows([([5, 6, 7, 8], [0, 0, 1, 1]), ([5, 6], [0, 1])])
    assert batch["targets"].tolist() == [[IGNORED, 7, 8], [6, IGNORED, IGNORED]]
    assert batch["ids"].tolist() == [[5, 6, 7], [5, 1, 1]]


def test_pairs_stay_together():
    rows = [([n, n], [0, 1]) for n in range(10)]
    batch = Conversations(rows, 0, "dpo", group=2).batch(0, 5)
    firsts = batch["ids"][:, 0].tolist()
    assert all(b == a + 1 and a % 2 == 0 for a, b in zip(firsts[::2], firsts[1::2], strict=True))


def test_replay_fills_its_share_of_a_batch(packed):
    turns = Conversations([([5, 6, 7], [0, 1, 1])] * 4, 0, "sft")
    batch = Blend(turns, packed, 0.25).batch(0, 8)
    assert batch["ids"].shape == (8, 32)
    assert ((batch["targets"] != IGNORED).sum(-1) == 32).sum() == 2


def test_replay_keeps_its_share_over_steps_where_one_batch_has_no_room_for_it(packed):
    turns = Conversations([([5, 6, 7], [0, 1, 1])] * 4, 0, "sft")
    whole = [
        ((Blend(turns, packed, 0.05).batch(step, 6)["targets"] != IGNORED).sum(-1) == 32).sum() for step in range(40)
    ]
    assert set(map(int, whole)) == {0, 1} and sum(whole) == 40 * 6 * 0.05


def test_what_opens_a_blend_makes_room_evenly_and_costs_the_others_nothing(packed):
    lists = Conversations([([7000, n, n], [0, 1, 1]) for n in range(100, 140)], 0, "copies")
    turns = Conversations([([8000, n, n], [0, 1, 1]) for n in range(200, 260)], 0, "sft")
    opened = Blend(turns, packed, 0.25, first=lists, fading=60)
    batches = [opened.batch(step, 8) for step in range(20)]
    rows = [[tuple(row) for row in batch["ids"][:, :2].tolist()] for batch in batches]
    shares = [sum(row[0] == 7000 for row in batch) for batch in rows]
    assert shares == [5, 5, 5, 4, 3, 3, 2, 1, 1, 1] + [0] * 10  # of six; in sum half of those that fade
    assert all(((batch["targets"] != IGNORED).sum(-1) == 32).sum() == 2 for batch in batches)  # replay keeps its share
    said = [row for batch in rows for row in batch if row[0] == 8000]
    plain = [Blend(turns, packed, 0.25).batch(step, 8)["ids"][:, :2].tolist() for step in range(20)]
    assert said == [tuple(row) for batch in plain for row in batch if row[0] == 8000][: len(said)]


@pytest.fixture
def talks():
    """Ninety conversations of 4 to 18 ids, each of ids of its own."""
    lengths = [4 + n * 7 % 15 for n in range(90)]
    return [
        ([0, *range(1000 + 20 * n, 1000 + 20 * n + size - 1)], [0, 0] + [1] * (size - 2))
        for n, size in enumerate(lengths)
    ]


def test_filled_rows_hold_each_conversation_once_an_epoch_whole_and_from_position_0(talks):
    source = Conversations(talks, 3, "sft", filled=40)
    seen, index, orders = [], 0, []
    for _ in range(3):
        epoch = []
        while len(epoch) < len(talks):
            epoch += source.example(index)
            index += 1
        assert sorted(epoch) == list(range(len(talks)))
        orders.append(epoch)
        seen.append(index)
    assert orders[0] != orders[1] and index <= 1.1 * 3 * sum(len(ids) for ids, _ in talks) / 41 + 3
    batch = source.batch(1, 5)
    assert batch["ids"].shape == (5, 40)
    for row in range(5):
        held = [talks[n] for n in source.example(5 + row)]
        ids, learnt = [i for ids, _ in held for i in ids], [b for _, bears in held for b in bears]
        places = [place for ids, _ in held for place in range(len(ids))]
        inputs = len(ids) - 1  # the last id is a target only
        assert batch["ids"][row, :inputs].tolist() == ids[:inputs]
        assert batch["positions"][row, :inputs].tolist() == places[:inputs]
        targets = [i if b else IGNORED for i, b in zip(ids[1:], learnt[1:], strict=True)]
        assert batch["targets"][row].tolist() == targets + [IGNORED] * (40 - len(targets))
    again = Conversations(talks, 3, "sft", filled=40)
    assert (again.batch(7, 5)["ids"] == source.batch(7, 5)["ids"]).all()  # whatever was asked for before


def test_first_fit_never_overfills_and_wastes_little(talks):
    sizes = {n: len(ids) for n, (ids, _) in enumerate(talks)}
    rows = first_fit(sizes, 41)
    assert all(sum(sizes[name] for name in row) <= 41 for row in rows)
    assert sorted(name for row in rows for name in row) == sorted(sizes)
    assert len(rows) <= 1.05 * sum(sizes.values()) / 41 + 1


def test_replay_beside_filled_rows_has_positions_too(talks, packed):
    batch = Blend(Conversations(talks, 0, "sft", filled=32), packed, 0.5).batch(0, 4)
    assert batch["positions"].shape == batch["ids"].shape == (4, 32)
