"""From a fresh clone with the remote, a run comes back byte for byte, and files and runs find each other."""

import hashlib
import json
import sys

import pytest

from tests.tools import tiny_line
from tools import compare, find, reproduce

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """A repository that ran, ran again with other numbers, and a clone of it with nothing but the remote."""
    place = tmp_path_factory.mktemp("team")
    origin, clone, tracking = place / "origin", place / "clone", f"sqlite:///{place}/origin/mlflow.db"
    origin.mkdir()
    tiny_line.build(origin, tracking)
    made = []
    for times, mode in ((3, "on"), (5, "off")):
        (origin / "params.yaml").write_text(f"first: {{times: {times}}}\nsecond: {{times: 1}}\n")
        tiny_line.run(origin, tracking, "dvc repro", mode)
        tiny_line.run(origin, tracking, "dvc push -q")
        made.append((origin / "artifacts/second/part/made.txt").read_bytes())
        tiny_line.commit(origin, tracking, f"{times}-times")
    tiny_line.run(place, tracking, f"git clone -q {origin} {clone}")
    return clone, tracking, made


@pytest.fixture
def call(team, monkeypatch, capfd):
    """A tool's `main` in the clone: what it says, and its complaint if it ends with one."""
    for name, value in tiny_line.environment(team[1]).items():
        monkeypatch.setenv(name, value)

    def call(tool, *flags, place=team[0]):
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["tool", *flags])
        try:
            tool.main()
        except SystemExit as end:
            return str(end.code)
        return capfd.readouterr().out

    return call


def known(tracking):
    import mlflow

    client = mlflow.MlflowClient(tracking)
    runs = client.search_runs([client.get_experiment_by_name("openmidm").experiment_id], order_by=["start_time ASC"])
    return {
        name: [run for run in runs if run.data.tags.get("dvc.stage", "") == name] for name in ("", "first", "second")
    }


def test_a_run_comes_back_from_a_fresh_clone_with_its_numbers_and_bytes_and_leaves_the_clone_alone(team, call):
    clone, tracking, (old, new) = team
    (clone / "stage.py").write_text("unfinished work")
    wanted = known(tracking)["second"][0].info.run_id
    said = call(reproduce, "--run", wanted[:10], "--place", "back")
    assert "2 of 2 md5s as the run recorded" in said and "with the changes recorded" in said
    assert (clone / "back/artifacts/second/part/made.txt").read_bytes() == old != new
    assert (clone / "back/params.yaml").read_text().startswith("first: {times: 3}")
    assert (clone / "back/stage.py").read_text() == tiny_line.STAGE
    assert (clone / "stage.py").read_text() == "unfinished work" and not (clone / "artifacts").exists()
    said = call(reproduce, "--run", wanted, "--place", "back")
    assert "back exists" in said


def test_a_whole_pipeline_comes_back_with_what_every_stage_read_and_made(team, call):
    clone, tracking, (old, _) = team
    parent = known(tracking)[""][0].info.run_id
    said = call(reproduce, "--run", parent)
    assert said.count("same ") == 3 and "data/text" in said
    place = clone / ".scratch/runs" / parent[:12]
    assert (place / "artifacts/second/part/made.txt").read_bytes() == old
    assert (place / "artifacts/first/note.txt").read_text() == "first 3 times"


def test_bytes_that_are_not_on_the_remote_are_an_error_that_says_so(team, call, tmp_path):
    clone, tracking, _ = team
    tiny_line.run(tmp_path, tracking, f"git clone -q {clone.parent / 'origin'} empty")
    tiny_line.run(tmp_path / "empty", tracking, f"dvc remote modify --local shared url {tmp_path}/nothing")
    wanted = known(tracking)["first"][0].info.run_id
    assert "dvc push" in call(reproduce, "--run", wanted, place=tmp_path / "empty")


def test_text_that_git_has_otherwise_is_told(team, call, monkeypatch):
    """The run read text whose change nobody committed; the patch of that time is gone."""
    monkeypatch.setattr(reproduce._tracking, "attachment", lambda run, name: b"")
    monkeypatch.setattr(reproduce, "data", lambda runs: {"data/text": "0" * 32 + ".dir"})
    said = call(reproduce, "--run", known(team[1])["first"][0].info.run_id, "--place", "other")
    assert "1 of 1 are not what the run had: data/text" in said


def test_a_file_finds_its_run_and_a_run_its_files(team, call, monkeypatch):
    _, tracking, (old, _) = team
    first, second = (known(tracking)[name][0].info.run_id for name in ("first", "second"))
    md5 = hashlib.md5(old).hexdigest()
    said = call(find, "--md5", md5)
    assert [line.split()[1] for line in said.splitlines()] == [second]
    assert "made artifacts/second/part/made.txt" in said
    folder = known(tracking)["first"][0].data.tags["output.md5"]
    assert {line.split()[1] for line in call(find, "--md5", folder).splitlines()} == {first, second}
    said = call(find, "--run", second[:8])
    assert f"made {md5}  artifacts/second/part/made.txt" in said and "read " in said
    assert "no run on record" in call(find, "--md5", "0" * 32)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "no mlflow.db" in call(find, "--run", second)


def test_md5s_are_those_that_dvc_gives(team):
    from ruamel.yaml import YAML

    clone, tracking, _ = team
    text = tiny_line.run(clone, tracking, "git show HEAD~1:dvc.lock")
    lock = YAML(typ="safe").load(text)["stages"]
    for name in ("first", "second"):
        run = known(tracking)[name][0]
        assert run.data.tags["output.md5"] == lock[name]["outs"][0]["md5"]
        assert json.loads(run.inputs.dataset_inputs[0].dataset.source)["md5"] == lock[name]["deps"][0]["md5"]


def test_two_runs_and_two_revisions_are_compared(team, call):
    clone, tracking, _ = team
    run = known(tracking)["second"][0].info.run_id
    said = call(compare, "--a", run, "--b", "HEAD")
    assert "| first.times | – | 5 |" in said and "artifacts/second" in said and "letters" in said
    said = call(compare, "--a", "HEAD~1", "--b", str(clone / "reports"))
    assert "| first.times | 3 | 5 |" in said and "Params: 1 of 2 differ" in said
