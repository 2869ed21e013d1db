"""dedup: sums close, planted copies go, and a second pass finds nothing."""

import json
import random

import pytest

from corpus import shards
from corpus.reading import read_folder
from pipelines import dedup
from pipelines._journal import Journal
from pipelines._stage import StageError, load_params
from tests import house

PARAMS = load_params("dedup", dedup.Params, house.ROOT / "profiles/demo.yaml")


def sample():
    return list(read_folder(house.ROOT / "data/sample/text", max_record_bytes=1 << 24))


def run(documents, place, rows_per_shard=8192):
    shards.write(place / "in/kept", documents, rows_per_shard=rows_per_shard)
    (place / "out").mkdir()
    (place / "scratch").mkdir()
    flags = {"documents": place / "in", "out": place / "out", "scratch": place / "scratch"}
    dedup.main(**flags, params=PARAMS, journal=Journal.offline("dedup", place))
    return json.loads((place / "reports/dedup.json").read_text()), list(shards.read(place / "out"))


def test_the_sample_s_planted_copies_are_found_and_no_other_document_is_dropped(tmp_path):
    report, left = run(sample(), tmp_path)
    assert report["labelled"]["planted"] >= 10
    assert report["labelled"]["recall"] >= 0.9
    assert report["labelled"]["precision"] >= 0.9
    assert report["documents_in"] == len(sample()) == len(left) + sum(report["dropped"].values())


def test_clusters_name_the_smallest_id_and_the_reason_of_each_copy(tmp_path):
    _, left = run(sample(), tmp_path)
    clusters = [json.loads(line) for line in (tmp_path / "out/clusters.jsonl").read_text().splitlines()]
    names = {document["id"] for document in left}
    for cluster in clusters:
        assert cluster["kept"] in names
        assert cluster["kept"] < min(cluster["copies"])
        assert names.isdisjoint(cluster["copies"])
        assert set(cluster["copies"].values()) <= {"exact_duplicate", "near_duplicate"}


def test_order_and_shards_do_not_change_who_stays(tmp_path):
    shuffled = sample()
    random.Random(4).shuffle(shuffled)
    _, one = run(sample(), tmp_path / "a")
    _, two = run(shuffled, tmp_path / "b", rows_per_shard=50)
    assert {document["id"] for document in one} == {document["id"] for document in two}


def test_a_second_pass_removes_nothing(tmp_path):
    _, left = run(sample(), tmp_path / "a")
    report, again = run(left, tmp_path / "b")
    assert (report["dropped"], again) == ({}, left)


def test_no_document_is_one_line(tmp_path):
    with pytest.raises(StageError, match="no documents; the filter dropped every one"):
        run([], tmp_path)
