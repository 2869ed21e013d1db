"""Near copies: found whatever the order, nothing left to find, and unlike texts stay apart."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import near

SETTINGS = {"hashes": 112, "shingle": 5}
SYLLABLES = [chr(code) for code in range(0xAC00, 0xAC00 + 4000)]


def find(documents, similarity=0.75):
    """Clusters of a dict id → text."""
    texts = [near.units(text) for text in documents.values()]
    marks = near.signatures(texts, **SETTINGS)
    return [*near.clusters(list(documents), near.fingerprints(texts), marks, bands=14, similarity=similarity)]


def korean(draw, words=80):
    return " ".join("".join(draw.choices(SYLLABLES, k=draw.randrange(1, 5))) for _ in range(words))


def edited(draw, text, share):
    """The text with a share of its words replaced."""
    words = text.split()
    for place in draw.sample(range(len(words)), int(len(words) * share)):
        words[place] = "".join(draw.choices(SYLLABLES, k=len(words[place])))
    return " ".join(words)


@pytest.fixture(scope="module")
def corpus():
    """200 texts, 30 of them with a copy in which one word of 40 differs, 10 with one that differs in spacing only."""
    draw = random.Random(5)
    documents = {f"d{n:03d}": korean(draw) for n in range(200)}
    for n in range(30):
        documents[f"e{n:03d}"] = edited(draw, documents[f"d{n:03d}"], 0.025)
    for n in range(30, 40):
        documents[f"s{n:03d}"] = documents[f"d{n:03d}"].replace(" ", "  ", 9).replace(" ", "", 5) + "!"
    return documents


def test_planted_copies_are_found_and_nothing_else_is(corpus):
    groups = find(corpus)
    pairs = {(group.kept, *group.copies) for group in groups}
    planted = {(f"d{n:03d}", f"e{n:03d}") for n in range(30)} | {(f"d{n:03d}", f"s{n:03d}") for n in range(30, 40)}
    assert len(pairs & planted) >= 0.95 * len(planted)
    assert pairs <= planted


def test_what_differs_only_in_spacing_and_punctuation_is_exact(corpus):
    reasons = {name: reason for group in find(corpus) for name, reason in group.copies.items()}
    assert {reasons[f"s{n:03d}"] for n in range(30, 40)} == {"exact_duplicate"}
    assert {reason for name, reason in reasons.items() if name[0] == "e"} == {"near_duplicate"}


def test_the_order_of_documents_does_not_matter(corpus):
    shuffled = list(corpus.items())
    random.Random(1).shuffle(shuffled)
    assert sorted(find(dict(shuffled)), key=lambda g: g.kept) == sorted(find(corpus), key=lambda g: g.kept)


def test_chains_of_copies_leave_nothing_for_a_second_pass():
    draw = random.Random(2)
    documents = {"a000": korean(draw)}
    for n in range(1, 40):  # each a light edit of the one before: the ends of the chain are unlike
        documents[f"a{n:03d}"] = edited(draw, documents[f"a{n - 1:03d}"], 0.02)
    dropped = {name for group in find(documents) for name in group.copies}
    assert dropped
    assert find({name: text for name, text in documents.items() if name not in dropped}) == []


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sets(st.integers(0, 9), min_size=2, max_size=2), min_size=1, max_size=14))
def test_clusters_are_the_connected_components_found_by_hand(pairs):
    marks = np.arange(10 * len(pairs), dtype=np.uint32).reshape(10, -1)  # a band of one hash for each pair
    component = {row: {row} for row in range(10)}
    for band, pair in enumerate(pairs):
        marks[sorted(pair), band] = 10**6
        joined = set.union(*(component[row] for row in pair))
        component |= dict.fromkeys(joined, joined)
    wanted = {tuple(f"n{row}" for row in sorted(group)) for group in component.values() if len(group) > 1}
    names, prints = [f"n{row}" for row in range(10)], np.arange(10, dtype=np.uint64)
    found = near.clusters(names, prints, marks, bands=len(pairs), similarity=0.0)
    assert {(group.kept, *group.copies) for group in found} == wanted


def test_a_stricter_threshold_never_drops_more(corpus):
    dropped = [sum(len(group.copies) for group in find(corpus, similarity)) for similarity in (0.6, 0.75, 0.9)]
    assert dropped == sorted(dropped, reverse=True)


def test_signatures_are_pinned():
    first = near.signatures([near.units("다람쥐 헌 쳇바퀴에 타고파, the quick brown fox")], **SETTINGS)
    assert first.shape == (1, 112)
    assert (
        first[0, :3].tolist()
        == near.signatures([near.units("다람쥐헌 쳇바퀴에 타고파 THE quick brown fox!")], **SETTINGS)[0, :3].tolist()
    )


def test_judgement_does_not_depend_on_which_copy_stays():
    groups = [
        near.Cluster("a", {"b": "near_duplicate"}),
        near.Cluster("x", {"y": "near_duplicate", "z": "exact_duplicate"}),
    ]
    labels = {"a": "duplicate", "b": "keep", "x": "keep", "y": "duplicate", "z": "keep", "q": "duplicate"}
    assert near.judgement(groups, labels) == {"planted": 3, "precision": 2 / 3, "recall": 2 / 3}
