"""The journal against a real MLflow on SQLite: runs, tags, curves, models, and that its trouble stays its own."""

import contextlib
import json
import os
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from pipelines._journal import Journal
from pipelines._provenance import changes, digest, md5s_of


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENMIDM_TRACKING", "on")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    lock = {"data": "abc123.dir", "export/x": "UNKNOWN", "judged": "UNJUDGED"}
    lines = [f"{{path: {path}, md5: {md5}}}" for path, md5 in lock.items()]
    (tmp_path / "dvc.lock").write_text(f"stages: {{a: {{outs: [{', '.join(lines)}]}}}}")
    return tmp_path


def runs():
    import mlflow

    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    return client, client.search_runs([client.get_experiment_by_name("openmidm").experiment_id])


def seen(database):
    """Whether the tag has come: asked of SQLite, for MLflow would make the tables at the same time as the tracker."""
    with contextlib.suppress(sqlite3.OperationalError), sqlite3.connect(f"file:{database}?mode=ro", uri=True) as rows:
        return rows.execute("select 1 from tags where key = 'seen'").fetchall()


def journal(place, **more):
    fields = {
        "axis": "",
        "params": {"tokens": 5, "shape": {"layers": 2}, "ko/*": {"share": 0.5}},
        "inputs": {"tokens": place / "data"},
    }
    return Journal.open(
        "pretrain", out=place / "out", **(fields | {"inputs": {"tokens": (place / "data").relative_to(place)}} | more)
    )


def test_a_run_carries_params_tags_curves_report_and_dataset(place):
    book = journal(place)
    book.step(1, **{"train/loss": 2.5}, kernels="torch")
    book.step(2, **{"train/loss": 1.5})
    book.conclude(steps=2, curve=[[1, 2.5]])
    (place / "out/config.json").write_text("{}")
    book.close("FINISHED")
    client, (run,) = runs()
    assert run.info.status == "FINISHED" and run.info.run_name == "pretrain"
    assert run.data.params == {"tokens": "5", "shape.layers": "2", "ko/_.share": "0.5"}
    assert {"git.commit", "git.dirty", "params.hash", "version.torch"} <= set(run.data.tags)
    assert run.data.tags["dvc.stage"] == "pretrain" and run.data.tags["kernels"] == "torch"
    assert run.data.tags["input.tokens"] == "abc123.dir"
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train/loss")] == [(1, 2.5), (2, 1.5)]
    assert run.data.metrics["steps"] == 2 and run.data.metrics["perf/stage_seconds"] >= 0
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("data", "abc123")
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "files.json",
        "params.json",
        "report.json",
    }
    models = client.search_logged_models([run.info.experiment_id])
    assert [model.name for model in models] == ["pretrain"]


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_an_unhappy_end_is_told_and_no_report_appears(place, status):
    book = journal(place)
    book.conclude(steps=2)
    book.close(status, "trouble")
    _, (run,) = runs()
    assert run.info.status == status and not (place / "reports").exists()


def test_a_run_left_open_by_a_kill_is_closed_by_the_next_of_its_name(place):
    first = journal(place)
    first._mirror.send("tags", {"seen": "yes"})
    while not seen(place / "mlflow.db"):
        time.sleep(0.2)
    journal(place).close("FINISHED")
    assert sorted(run.info.status for run in runs()[1]) == ["FINISHED", "KILLED"]


def test_tracking_trouble_is_said_once_and_stops_nothing(place, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    book = journal(place)
    book.step(1, **{"train/loss": 2.5})
    book.conclude(steps=1)
    book.close("FINISHED")
    assert (place / "reports/pretrain.json").exists()
    assert capsys.readouterr().err.count("not tracked further") == 1


def test_progress_tells_rate_and_time_left(tmp_path, capsys):
    book = Journal.offline("filter", tmp_path)
    time.sleep(0.1)
    book.progress(1, 4, "shards")
    said = json.loads((tmp_path / "logs/filter.jsonl").read_text())
    assert (said["shards"], said["of"]) == (1, 4)
    assert 0 < said["perf/shards_per_s"] <= 10
    assert "perf/eta_seconds" in capsys.readouterr().out


def stage(name, inputs, out, **release):
    book = Journal.open(name, axis="", params={}, inputs=inputs, out=out)
    book.conclude(done=1)
    if release:
        book.release(release["artifacts"])
    book.close("FINISHED")


def test_mini_is_released_when_the_bytes_of_every_artifact_came_through_their_gate_and_not_before(place):
    from mlflow.exceptions import MlflowException

    mini, bundle, judged, lock = Path("data"), Path("export/x"), Path("judged"), place / "dvc.lock"
    for name, made in (("UNKNOWN", bundle), ("UNJUDGED", judged)):
        made.mkdir(parents=True)
        (made / "file").write_text(name)
        lock.write_text(lock.read_text().replace(name, digest(md5s_of(made))))
    stage("evaluate@mini", {"model": mini}, judged)
    stage("report", {"reports": mini}, Path("out"), artifacts=["x"])  # no export run is on record
    client, (report, *_) = runs()
    assert report.data.tags["released"].startswith("no: ") and "x" in report.data.tags["released"]
    with pytest.raises(MlflowException):
        client.get_model_version_by_alias("mini", "released")
    stage("export@x", {"model": mini}, bundle)
    for _ in range(2):  # the same bytes are the same version
        stage("report", {"reports": mini}, Path("out"), artifacts=["x"])
    released = client.get_model_version_by_alias("mini", "released")
    assert released.version == 1 and released.tags["md5"] == "abc123.dir"
    assert released.tags["export.x"] == digest(md5s_of(bundle))
    lock.write_text(lock.read_text().replace(digest(md5s_of(bundle)), "0" * 32))  # made anew, by a run not on record
    stage("report", {"reports": mini}, Path("out"), artifacts=["x"])
    assert runs()[1][0].data.tags["released"].startswith("no: ")


def test_a_patch_brings_back_what_was_changed_and_lock_and_reports_are_no_change(place):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], check=True, capture_output=True)

    Path("reports").mkdir()
    Path("code.py").write_text("1\n")
    Path("reports/a.json").write_text("{}")
    git("add", "code.py", "dvc.lock", "reports")
    git("commit", "-qm", "all")
    Path("dvc.lock").write_text("stages: {}")
    Path("reports/a.json").write_text("{1}")
    assert changes() == b""
    Path("code.py").write_bytes(b"\xff\r\n")
    patch = changes()
    git("checkout", "code.py")
    subprocess.run(["git", "apply"], input=patch, check=True)
    assert Path("code.py").read_bytes() == b"\xff\r\n"
