"""Personal data goes in at ingest and comes out nowhere: not in shards, lists, pages, logs, reports or MLflow."""

import json

import pyarrow.parquet as pq
import pytest

from corpus import pii
from corpus.reading import read_folder
from pipelines._journal import Journal
from tests import house
from tests.corpus import identifiers
from tests.test_flow import DATA, SAMPLE, run

STAGES = ("ingest", "filter", "dedup", "synthesize", "mix")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Identifiers that the rules know, in good texts, in texts that are too short, and in ids and addresses."""
    place = tmp_path_factory.mktemp("planted")
    drawn = [(text, value) for _, text, value in identifiers.personal(3000, 31)]
    known = [(text, value) for (text, value), (clean, _) in zip(drawn, pii.mask([t for t, _ in drawn]), strict=True)
             if len(value) > 9 and value not in clean]  # fmt: skip
    good = [document["text"] for document in read_folder(SAMPLE, max_record_bytes=1 << 24)]
    parts = [known[at :: len(good)] for at in range(len(good))]
    texts = ["\n".join([text, *(line for line, _ in part)]) for text, part in zip(good, parts, strict=True)]
    (place / "text").mkdir()
    with (place / "text/own.jsonl").open("w", encoding="utf-8") as file:
        for n, text in enumerate([*texts, *(line for line, _ in known[::5])]):
            mail = f"person{n}@example.com"
            row = {"id": f"{n} {mail}", "url": f"https://example.org/?to={mail}", "text": text}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return place, {value for _, value in known} | {"@example.com"}


def test_no_identifier_is_in_any_output_log_or_mlflow_run(planted, monkeypatch):
    place, values = planted
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONPATH", str(house.ROOT))  # for the processes that the engine starts
    monkeypatch.setenv("OPENMIDM_TRACKING", "on")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")

    def opened(name, place):
        return Journal.open(name, out=place / name, axis="", params={}, inputs={})

    stages = {name: DATA[name] for name in STAGES}
    run(stages | {"ingest": DATA["ingest"] | {"text": place / "text"}}, place, opened=opened)
    given = {place / "text", place / "ingest", place / ".scratch"}  # the last is deleted when a real stage ends
    read = [path for path in place.rglob("*") if path.is_file() and not given & {*path.parents}]
    said = "\n".join(map(content, read))
    assert {"filter", "mix", "reports", "logs", "mlflow.db"} <= {path.relative_to(place).parts[0] for path in read}
    assert all(f"#@{kind}@#" in said for kind in identifiers.KINDS if kind != "이름")  # names are too short to look for
    assert len(values) > 1500
    assert not [value for value in values if value in said]


def content(path):
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pylist())
    return path.read_bytes().decode("utf-8", errors="ignore")
