"""Mixing: what a plan takes arrives whole and in its order, and accounts are exact."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import mixing, shards


def corpus(folder, *, rows_per_shard=7, shuffle=None):
    rows = [
        {
            "id": f"d{n}",
            "lang": ("ko", "en")[n % 2],
            "source": "book",
            "text": f"{n} 글." * (n + 1),
            "url": f"http://x/{n}",
        }
        for n in range(40)
    ]
    if shuffle is not None:
        random.Random(shuffle).shuffle(rows)
    shards.write(folder / "organic", rows, rows_per_shard=rows_per_shard)
    made = [
        {"id": f"s{n}", "lang": "ko", "source": "synthetic-qa", "text": "답 " * n, "kind": "qa"} for n in range(1, 9)
    ]
    shards.write(folder / "synthetic", made)
    return mixing.sources(shards.paths(folder / "organic"), shards.paths(folder / "synthetic"))


def none_found(texts):
    return [[] for _ in texts]


@pytest.mark.parametrize("shuffle, rows_per_shard", [(None, 7), (1, 7), (2, 40)])
def test_documents_are_written_whole_in_the_order_of_the_plan_however_the_shards_lie(tmp_path, shuffle, rows_per_shard):
    shards_of = corpus(tmp_path, shuffle=shuffle, rows_per_shard=rows_per_shard)
    known = mixing.surveyed(shards_of, find=none_found, scratch=tmp_path / "s").documents
    rows = np.array([5, 5, 30, 0, 2, 41, 5])
    mixing.gather(known, {"a": rows, "b": rows[:0]}, shards_of, scratch=tmp_path / "s")
    names = [known.ids[int(n)].as_py() for n in rows]
    written = list(shards.read(tmp_path / "s" / "a"))
    assert [document["id"] for document in written] == names
    assert not list(shards.read(tmp_path / "s" / "b"))
    for document in written:
        assert document["domain"] == ("synthetic-qa" if document["id"][0] == "s" else "unknown")
        assert (document["kind"] == "synthetic") == (document["id"][0] == "s")


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(tmp_path):
    shards_of = corpus(tmp_path)
    known = mixing.surveyed(shards_of, find=none_found, scratch=tmp_path / "s").documents
    parts = {"a": np.arange(len(known.lots))}
    for place in ("one", "two"):
        mixing.gather(known, parts, shards_of, scratch=tmp_path / place)
    mixing.gather(known, parts, shards_of, scratch=tmp_path / "two")
    assert [p.read_bytes() for p in shards.paths(tmp_path / "one/a")] == [
        p.read_bytes() for p in shards.paths(tmp_path / "two/a")
    ]


@settings(deadline=None)
@given(st.lists(st.integers(0, 20 << 20), max_size=300))
def test_shards_are_cut_without_gap_or_overlap_and_hold_no_more_than_they_may(sizes):
    cut = [span for _, span in mixing._spans("a", np.array(sizes, dtype=np.int64), Path("x"))]
    assert cut[0].start == 0 and cut[-1].stop == len(sizes)
    assert all(a.stop == b.start for a, b in pairwise(cut))
    for span in cut:
        assert span.stop - span.start <= shards.ROWS_PER_SHARD
        assert span.start < span.stop or not sizes
        assert sum(sizes[span.start : span.stop - 1]) < shards.BYTES_PER_SHARD


def test_every_organic_document_is_booked_once_and_sources_bear_their_licence_and_common_address(tmp_path):
    known, _, urls = mixing.surveyed(corpus(tmp_path), find=none_found, scratch=tmp_path / "s")
    rows = np.array([0, 0, 3])
    tainted = np.zeros(len(known.lots), dtype=bool)
    tainted[7] = True
    booked = mixing.booked(known, [rows], tainted)
    assert booked["documents_in"] == 40 == booked["documents_kept"] + sum(booked["dropped"].values())
    origins = mixing.origins(known, urls)
    assert origins["book"][""] == {"documents": 40, "characters": booked["characters_in"], "url": "http://x/"}
