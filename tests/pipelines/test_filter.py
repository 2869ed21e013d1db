"""filter: sums close, any number of workers gives the same bytes, and the labelled sample is judged well."""

import json
import os
import shutil

import pytest

from corpus import filtering, shards
from corpus.reading import read_folder
from pipelines import filter as stage
from pipelines._journal import Journal
from pipelines._stage import StageError, load_params
from tests import house

PARAMS = load_params("filter", stage.Params, house.ROOT / "profiles/demo.yaml")


def sample():
    return list(read_folder(house.ROOT / "data/sample/text", max_record_bytes=1 << 24))


def run(documents, place, *, rows_per_shard=8192):
    shards.write(place / "in", documents, rows_per_shard=rows_per_shard)
    for name in ("out", "scratch"):
        (place / name).mkdir(exist_ok=True)
    flags = {"documents": place / "in", "judges": house.ROOT / "data/judges", "out": place / "out"}
    stage.main(**flags, scratch=place / "scratch", params=PARAMS, journal=Journal.offline("filter", place))
    return json.loads((place / "reports/filter.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    place = tmp_path_factory.mktemp("filter")
    return place, run(sample(), place)


def test_in_is_kept_and_dropped_and_every_dropped_document_has_a_reason(done):
    place, report = done
    kept = {d["id"] for d in shards.read(place / "out/kept")}
    dropped = {d["id"] for d in shards.read(place / "out/dropped")}
    verdicts = [json.loads(line) for line in (place / "out/verdicts.jsonl").read_text().splitlines()]
    assert kept.isdisjoint(dropped)
    assert kept | dropped == {d["id"] for d in sample()}
    assert {verdict["id"] for verdict in verdicts} == dropped
    assert all(verdict["rule"] for verdict in verdicts)
    assert (
        report["documents_in"] == report["documents_kept"] + sum(report["dropped"].values()) == len(kept) + len(dropped)
    )


def test_on_the_labelled_sample_precision_and_recall_are_high(done):
    _, report = done
    assert report["labelled"]["precision"] >= 0.95
    assert report["labelled"]["recall"] >= 0.95


def test_planted_personal_data_is_masked_and_counted(done):
    place, report = done
    text = "\n".join(
        document["text"] for part in ("kept", "dropped") for document in shards.read(place / f"out/{part}")
    )
    assert sum(report["masked"].values()) > 20
    assert "@example.com" not in text
    assert "010-1234-5678" not in text


@pytest.mark.parametrize("workers", [{0}, {0, 1}])
def test_the_number_of_workers_changes_no_byte(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: workers)
    documents = sample()[:90]
    report = run(documents, tmp_path, rows_per_shard=30)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert run(documents, tmp_path / "alone", rows_per_shard=30) == report
    files = [sorted(path for path in (place / "out").rglob("*.*")) for place in (tmp_path, tmp_path / "alone")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert {path.suffix for path in files[0]} == {".parquet", ".jsonl", ".html"}


def test_a_document_s_verdict_does_not_depend_on_its_shard(tmp_path):
    documents = sample()[:60]
    one, two = run(documents, tmp_path / "a"), run(documents[::-1], tmp_path / "b", rows_per_shard=60)
    assert one == two


def test_filtering_what_was_kept_changes_nothing(done, tmp_path):
    place, _ = done
    kept = list(shards.read(place / "out/kept"))
    report = run(kept, tmp_path)
    assert report["dropped"] == {}
    assert list(shards.read(tmp_path / "out/kept")) == kept


def test_when_nothing_is_left_the_error_says_why(tmp_path):
    with pytest.raises(StageError, match=r"every document was dropped {'short': 2}; loosen filter"):
        run([{"id": "a", "text": "짧다"}, {"id": "b", "text": "Hi"}], tmp_path)


def test_a_wrong_limit_is_named_before_any_work(tmp_path):
    demo = (house.ROOT / "profiles/demo.yaml").read_text()
    (tmp_path / "params.yaml").write_text(demo.replace("max_spam:", "max_spamm:", 1))
    with pytest.raises(StageError, match=r"filter.max_spam.*filter.max_spamm|filter.max_spamm"):
        load_params("filter", stage.Params, tmp_path / "params.yaml")


def test_a_killed_run_goes_on_with_the_unfinished_shards(tmp_path, monkeypatch):
    whole = run(sample()[:90], tmp_path / "whole", rows_per_shard=30)
    place, judged, real = tmp_path / "killed", [], filtering.judge_shard
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})

    def killed_at_the_second(path, **rest):
        if len(judged) == 1:
            raise KeyboardInterrupt
        judged.append(path.name)
        return real(path, **rest)

    monkeypatch.setattr(filtering, "judge_shard", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(sample()[:90], place, rows_per_shard=30)
    judged.clear()
    monkeypatch.setattr(filtering, "judge_shard", lambda path, **rest: judged.append(path.name) or real(path, **rest))
    shutil.rmtree(place / "out")
    assert run(sample()[:90], place, rows_per_shard=30) == whole
    assert judged == ["shard-00001.parquet", "shard-00002.parquet"]


def test_no_identifier_is_left_in_any_output(tmp_path):
    number, mail = "010-2345-6789", "gildong@naver.com"
    documents = [
        {"id": f"{mail}", "text": sample()[0]["text"] + f" 연락처는 {number}입니다."},
        {"id": "short", "text": f"{number} {mail}"},
        {"id": number, "text": f"<div>{number}</div>" * 60},
    ]
    run([*sample()[:5], *documents], tmp_path)
    for path in (path for folder in ("out", "reports", "logs") for path in (tmp_path / folder).rglob("*.*")):
        said = str(list(shards.read_shard(path))) if path.suffix == ".parquet" else path.read_text()
        assert number not in said and mail not in said, path


def test_every_reason_has_a_page_of_examples(done):
    place, report = done
    index = (place / "out/rejects/index.html").read_text()
    for reason in report["dropped"]:
        assert f'href="{reason}.html"' in index
        assert "<pre>" in (place / f"out/rejects/{reason}.html").read_text()


def test_the_waterfall_counts_every_document_and_character_once(done):
    _, report = done
    for fall in report["waterfall"].values():
        cells = [counts for row in fall.values() for counts in row.values()]
        assert [sum(column) for column in zip(*cells, strict=True)] == [report["documents_in"], report["characters_in"]]
