"""A team's server on Debian's PostgreSQL: the stages of a line are tracked there, and read back through REST."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.tools import tiny_line
from tools import server

pytestmark = pytest.mark.slow
HAVE = bool(shutil.which("initdb") or [*Path("/usr/lib/postgresql").glob("*/bin/initdb")])


@pytest.fixture(scope="module")
def address():
    """A server started by the command that `make server` runs; its place is one that user postgres may enter."""
    if not HAVE:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = tempfile.mkdtemp(prefix="openmidm-server-", dir="/tmp")
    os.chmod(place, 0o755)
    command = [sys.executable, "-m", "tools.server", "--port", str(port), "--place", place]
    environment = tiny_line.environment("") | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with Path(place, "log").open("wb") as log:
        running = subprocess.Popen(command, cwd=tiny_line.ROOT, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if running.poll() is None and answers(url):
                break
            time.sleep(0.5)
        else:
            pytest.fail(Path(place, "log").read_text(errors="replace")[-3000:])
        yield url
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(90)
        assert not answers(url), "the server outlives its command"
        assert not Path(place, "postgres/data/postmaster.pid").exists(), "the database outlives its command"
        shutil.rmtree(place)


def answers(url):
    try:
        return ask(url, "/health") == "OK"
    except OSError:
        return False


def ask(url, path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers), timeout=30) as reply:
        return reply.read().decode()


def search(url):
    name = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=openmidm"
    experiment = json.loads(ask(url, name))["experiment"]["experiment_id"]
    found = json.loads(ask(url, "/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment]}))["runs"]
    return {run["info"]["run_name"]: run for run in found}


def pairs(rows):
    return {row["key"]: row["value"] for row in rows}


def test_two_stages_are_read_back_through_rest_with_params_metrics_tags_and_artifacts(address, tmp_path):
    line = tmp_path / "line"
    line.mkdir()
    tiny_line.build(line, address)
    tiny_line.run(line, address, "dvc repro -q")
    runs = search(address)
    for name in ("first", "second"):
        data, info = runs[name]["data"], runs[name]["info"]
        assert info["status"] == "FINISHED"
        assert pairs(data["params"]) == {"times": "2" if name == "first" else "1"}
        assert pairs(data["metrics"])["letters"] == len((line / f"artifacts/{name}/part/made.txt").read_text())
        tags = pairs(data["tags"])
        assert (
            tags["dvc.stage"] == name and len(tags["git.commit"]) == 40 and tags["output.path"] == f"artifacts/{name}"
        )
        listed = json.loads(ask(address, f"/api/2.0/mlflow/artifacts/list?run_id={info['run_id']}"))["files"]
        assert {file["path"] for file in listed} == {"files.json", "params.json", "report.json"}
        report = json.loads(ask(address, f"/get-artifact?path=report.json&run_uuid={info['run_id']}"))
        assert report == json.loads((line / f"reports/{name}.json").read_text())
        assert info["artifact_uri"].startswith("mlflow-artifacts:")
    assert pairs(runs["second"]["data"]["tags"])["input.text"] == pairs(runs["first"]["data"]["tags"])["output.md5"]
    assert not (line / "mlflow.db").exists() and not (line / "mlruns").exists()


def test_it_answers_to_the_names_it_was_given_alone(address):
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(address, "/api/2.0/mlflow/experiments/search?max_results=1", Host="elsewhere.example")
    assert refused.value.code == 403


def test_the_command_binds_to_this_machine_and_names_further_hosts():
    words = server.server("postgresql://x", Path("/a"), 5000, "team.example:443")
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--allowed-hosts") + 1] == "localhost:5000,127.0.0.1:5000,team.example:443"


def test_a_machine_without_postgresql_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(server.shutil, "which", lambda name: None)
    with pytest.raises(LookupError, match="apt-get install postgresql"):
        server.program("no-such-program")
