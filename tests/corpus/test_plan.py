"""The plan: order-free, exact, within its caps; held-out documents never move."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import plan
from corpus.accounts import Group
from corpus.lots import lots

ROWS = st.lists(
    st.tuples(
        st.integers(0, 10**6).map(str),
        st.sampled_from(["ko", "en", "code"]),
        st.sampled_from(["law", "science"]),
        st.sampled_from(["organic", "organic", "synthetic"]),
        st.integers(1, 500),
        st.sampled_from([0.0, 0.3, 0.9]),
        st.sampled_from([0.0, 5.0, 7.5, 20.0]),
    ),
    max_size=60,
    unique_by=lambda row: row[0],
)
ORDERS = st.sampled_from(["shuffled", "curriculum"])


def documents(rows):
    names, langs, domains, origins, sizes, quality, perplexity = zip(*rows, strict=True) if rows else ((),) * 7
    groups = [
        Group(origin, lang, domain, "", f"book_{lang}", "", "")
        for lang, domain, origin in zip(langs, domains, origins, strict=True)
    ]
    known = sorted(set(groups))
    columns = {
        "id": pa.array(names, pa.string()),
        "group": pa.array([known.index(group) for group in groups], pa.int32()),
        "characters": pa.array(sizes, pa.int32()),
        "bytes": pa.array(sizes, pa.int32()),
        "lots": pa.array(lots(names)),
        "addresses": pa.array(range(len(rows)), pa.int64()),
        "quality": pa.array(quality, pa.float32()),
        "perplexity": pa.array(perplexity, pa.float32()),
        "sentence": pa.array([size / 3 for size in sizes], pa.float32()),
    }
    return plan.Documents.of(pa.table(columns), known)


def weight(share, epochs=1, min_quality=0.0):
    return plan.Weight(share=share, epochs=epochs, min_quality=min_quality)


def phase(characters=4_000, sources=("*",), within="", **weights):
    named = {"ko/*": weight(2.0, 2), "ko/law": weight(1.0), "*": weight(1.0, 3, 0.2)} | weights
    return plan.Phase(characters=characters, weights=named, sources=list(sources), within=within)


def drawn(known, phases, order="shuffled", seed=1, buckets=3):
    everyone = np.ones(len(known.lots), dtype=bool)
    return plan.drawn(known, everyone, phases, seed=seed, order=order, buckets=buckets)


def ids(known, rows):
    return known.ids.take(
        pa.array(rows if len(rows) else [], pa.int64()) if rows.dtype != bool else pa.array(np.flatnonzero(rows))
    ).to_pylist()


@settings(deadline=None)
@given(rows=ROWS, order=ORDERS, seed=st.integers(0, 9))
def test_a_plan_is_the_same_whatever_the_order_in_which_documents_were_read(rows, order, seed):
    known = documents(rows)
    first = drawn(known, {"phase1": phase(), "phase2": phase(1_000, within="phase1")}, order, seed)
    random.Random(seed).shuffle(rows)
    again = documents(rows)
    second = drawn(again, {"phase2": phase(1_000, within="phase1"), "phase1": phase()}, order, seed)
    for name, one in first.items():
        other = second[name]
        assert ids(known, one.rows) == ids(again, other.rows)
        assert (one.starts, one.weights) == (other.starts, other.weights)


@settings(deadline=None)
@given(rows=ROWS, order=ORDERS, characters=st.integers(0, 20_000))
def test_each_weight_reaches_its_target_within_one_document_or_takes_all_it_may(rows, order, characters):
    known = documents(rows)
    plans = drawn(known, {"phase1": phase(characters)}, order)["phase1"]
    times = Counter(plans.rows.tolist())
    assert sum(row["target"] for row in plans.weights.values()) == pytest.approx(characters, abs=3)
    assert sum(row["reached"] for row in plans.weights.values()) == known.characters[plans.rows].sum()
    owners = {"ko/law": lambda cell: cell == "ko/law", "ko/*": lambda cell: cell == "ko/science"}
    owners["*"] = lambda cell: not cell.startswith("ko/")
    for pattern, owns in owners.items():
        setting, row = phase().weights[pattern], plans.weights[pattern]
        cells = [known.groups[code].cell for code in known.group]
        members = [n for n, cell in enumerate(cells) if owns(cell) and known.quality[n] >= setting.min_quality]
        copies = {times[n] for n in members} | {0}
        assert max(copies) <= setting.epochs and row["reached"] <= row["target"]
        fresh = [int(known.characters[n]) for n in members if times[n] < setting.epochs]
        assert not fresh or (max(fresh) > 0 and row["target"] - row["reached"] < max(fresh))
        assert max(copies) - min([times[n] for n in members] or [0]) <= 1


@settings(deadline=None)
@given(rows=ROWS, seed=st.integers(0, 9))
def test_a_curriculum_takes_what_the_shuffled_order_takes_and_each_bucket_has_the_mixture_of_the_whole(rows, seed):
    known = documents(rows)
    easy, lots = (drawn(known, {"phase1": phase()}, order, seed)["phase1"] for order in ("curriculum", "shuffled"))
    assert sorted(easy.rows) == sorted(lots.rows) and lots.starts == [0] and easy.starts[0] == 0
    largest = max([row[4] for row in rows], default=0)
    for part in np.split(easy.rows, easy.starts[1:]):
        mine = [n for n in part if known.groups[known.group[n]].cell == "ko/law"]
        assert abs(known.characters[mine].sum() - easy.weights["ko/law"]["reached"] / 3) <= largest


@settings(deadline=None)
@given(rows=ROWS, seed=st.integers(0, 99))
def test_held_out_documents_fit_are_organic_and_every_language_has_one(rows, seed):
    known = documents(rows)
    everyone = np.ones(len(rows), dtype=bool)
    held = plan.held_out(known, everyone, share=0.2, characters=800)
    random.Random(seed).shuffle(rows)
    again = documents(rows)
    assert ids(again, plan.held_out(again, everyone, share=0.2, characters=800)) == ids(known, held)
    langs = np.array([known.groups[code].lang for code in known.group])
    organic = np.array([known.groups[code].origin == "organic" for code in known.group], dtype=bool)
    assert organic[held].all()
    for lang in set(langs[organic]):
        sizes = known.characters[held & (langs == lang)]
        assert len(sizes) == 1 or 0 < sizes.sum() <= 800


def test_a_document_stays_held_out_when_others_come():
    rows = [(str(n), "ko", "law", "organic", 10, 0.0, 0.0) for n in range(500)]
    held = []
    for count in (250, 500):
        known = documents(rows[:count])
        mask = plan.held_out(known, np.ones(count, dtype=bool), share=0.2, characters=10**9)
        held.append(set(ids(known, mask)))
    assert held[0] <= held[1] and 0.15 < len(held[1]) / 500 < 0.25


def test_seed_and_phase_change_which_documents_are_drawn_and_their_order():
    known = documents([(str(n), "ko", "law", "organic", 10, 0.0, 0.0) for n in range(200)])
    phases = {"phase1": phase(2_000), "phase2": phase(2_000)}
    one, two = drawn(known, phases), drawn(known, phases, seed=2)
    lists = [one["phase1"].rows, one["phase2"].rows, two["phase1"].rows]
    assert len({tuple(rows) for rows in lists}) == len({tuple(sorted(rows)) for rows in lists}) == 3


def test_sources_quality_and_an_earlier_phase_bound_a_phase():
    known = documents([(str(n), ("ko", "en")[n % 2], "law", "organic", 10, n / 100, 0.0) for n in range(100)])
    best = {"*": weight(1.0, 1, 0.5), "ko/*": weight(1.0, 1, 0.5), "ko/law": weight(1.0, 1, 0.5)}
    phases = {"a": phase(1_200), "b": phase(9_000, ("book_k*",), "a", **best)}
    plans = drawn(known, phases)
    assert set(plans["b"].rows) < set(plans["a"].rows)
    assert {known.groups[known.group[n]].lang for n in plans["b"].rows} == {"ko"}
    assert known.quality[plans["b"].rows].min() >= 0.5
    with pytest.raises(ValueError, match="no phase 'z' before it"):
        drawn(known, {"a": phase(within="z")})


def test_easy_documents_come_first_and_unmeasured_perplexity_leaves_it_to_sentence_length():
    rows = [(str(n), "ko", "law", "organic", 10 + n, 0.0, float(n % 2)) for n in range(60)]
    known = documents(rows)
    easy = drawn(known, {"phase1": phase(10_000)}, "curriculum")["phase1"]
    sentences = [known.sentence[part].mean() for part in np.split(easy.rows, easy.starts[1:])]
    assert sentences == sorted(sentences)


def test_as_read_keeps_the_reading_order():
    known = documents([(str(n), "ko", "law", "organic", 10, 0.0, 0.0) for n in range(50)])
    assert ids(known, drawn(known, {"phase1": phase(9_000)}, "as_read")["phase1"].rows) == [str(n) for n in range(50)]


def test_an_id_that_occurs_twice_is_refused():
    with pytest.raises(ValueError, match=r"\['7'\] occur twice"):
        documents([("7", "ko", "law", "organic", 10, 0.0, 0.0)] * 2)


def test_a_plan_that_is_none_is_named(tmp_path):
    (tmp_path / plan.FILE).write_text('{"phase": 1}\n')
    with pytest.raises(ValueError, match="rerun mix"):
        plan.bucket_starts(tmp_path)


@settings(deadline=None)
@given(rows=ROWS, times=st.integers(0, 3))
def test_counts_by_group_are_exact_each_time_a_document_comes(rows, times):
    known = documents(rows)
    counts = known.counted(np.repeat(np.arange(len(rows)), times), lambda group: (group.lang,))
    for lang in ("ko", "en", "code"):
        own = [row[4] for row in rows if row[1] == lang] * times
        assert counts.get((lang,), Counter()) == Counter(documents=len(own), characters=sum(own))
