"""The mixture: lots never change, and sizes are kept."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import mixing

SIZES = st.lists(
    st.tuples(st.integers(0, 10**6).map(str), st.sampled_from(["ko", "en"]), st.integers(1, 500)),
    max_size=60,
    unique_by=lambda row: row[0],
)
ROOM = {"validation_share": 0.2, "validation_characters": 800, "train_characters": {"ko": 3_000, "en": 2_000}}


@settings(deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 99))
def test_every_document_has_one_place_whatever_the_order(sizes, seed):
    placed = mixing.places(sizes, **ROOM)
    assert set(placed) == {name for name, _, _ in sizes}
    random.Random(seed).shuffle(sizes)
    assert mixing.places(sizes, **ROOM) == placed


@settings(deadline=None)
@given(sizes=SIZES)
def test_sizes_are_kept_and_every_language_is_held_out(sizes):
    placed = mixing.places(sizes, **ROOM)
    for lang in {lang for _, lang, _ in sizes}:
        filled = {
            place: [n for name, its, n in sizes if its == lang and placed[name] == place]
            for place in set(placed.values())
        }
        assert sum(filled.get("train", [])) <= ROOM["train_characters"][lang]
        held = filled[mixing.VALIDATION]
        assert len(held) == 1 or sum(held) <= ROOM["validation_characters"]


def test_a_document_stays_held_out_when_others_come():
    names = [str(n) for n in range(500)]
    room = ROOM | {"validation_characters": 10**9, "train_characters": {"ko": 10**9}}
    before = mixing.places([(name, "ko", 10) for name in names[:250]], **room)
    after = mixing.places([(name, "ko", 10) for name in names], **room)
    assert {n for n in before if before[n] == "validation"} <= {n for n in after if after[n] == "validation"}
    assert 0.15 < sum(place == "validation" for place in after.values()) / 500 < 0.25
