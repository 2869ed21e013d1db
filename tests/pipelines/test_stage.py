"""The frame: typed params that name the wrong key, errors in one line, an out that is whole or absent."""

import json
import os
import signal
import subprocess
import sys

import pytest

from pipelines._stage import StageError, StageParams, load_params

STAGE = """
from pathlib import Path
from pipelines._journal import Journal
from pipelines._stage import StageParams, enter

class Params(StageParams):
    wanted: int

def main(*, given: Path, out: Path, params: Params, journal: Journal) -> None:
    (out / "half").write_text("half")
    {body}
    journal.conclude(wanted=params.wanted)

if __name__ == "__main__":
    enter(main)
"""


class Params(StageParams):
    rate: float
    steps: int


@pytest.fixture
def house(tmp_path):
    """A folder in which a stage can be entered from the command line."""
    (tmp_path / "params.yaml").write_text("demo: {wanted: 3}\n")
    (tmp_path / "given").mkdir()
    (tmp_path / "given/file").write_text("text")
    return tmp_path


def enter(house, body="pass", **environment):
    (house / "demo.py").write_text(STAGE.format(body=body))
    command = [sys.executable, "demo.py", "--given", "given", "--out", "artifacts/demo"]
    env = os.environ | {"PYTHONPATH": os.getcwd(), "OPENMIDM_TRACKING": "off"} | environment
    return subprocess.run(command, cwd=house, capture_output=True, text=True, env=env, timeout=120)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {rate: 1.0, steps: 2, stepz: 3}", "unknown key a.stepz; known keys: rate, steps"),
        ("a: {rate: 1.0}", "missing key a.steps"),
        ("a: {rate: 1.0, steps: two}", "a.steps = 'two'"),
        ("b: {}", "no section 'a'"),
        ("a: {rate: [", "not valid YAML"),
    ],
)
def test_a_wrong_key_is_named_before_any_work(tmp_path, text, message):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(StageError, match=message.replace("[", r"\[")):
        load_params("a", Params, file)


def test_exponents_are_numbers_for_us_as_for_dvc(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("a: {rate: 3e-4, steps: 2}")
    assert load_params("a", Params, file).rate == 3e-4


def test_a_finished_stage_leaves_its_out_and_its_report_and_no_draft(house):
    done = enter(house)
    assert done.returncode == 0, done.stderr
    assert (house / "artifacts/demo/half").exists()
    assert json.loads((house / "reports/demo.json").read_text()) == {"wanted": 3}
    assert [path.name for path in (house / "artifacts").iterdir()] == ["demo"]


def test_a_failing_stage_says_why_in_one_line_and_keeps_the_old_out(house):
    assert enter(house).returncode == 0
    (house / "artifacts/demo/old").write_text("whole")
    done = enter(house, body="raise ValueError('given/file: line 3: bad; mend it')")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: demo: given/file: line 3: bad; mend it"
    assert (house / "artifacts/demo/old").read_text() == "whole"
    assert "ValueError" in json.loads((house / "logs/demo.jsonl").read_text().splitlines()[-1])["trouble"]


def test_a_missing_input_names_the_flag_and_the_remedy(house):
    (house / "given/file").unlink()
    (house / "given").rmdir()
    done = enter(house)
    assert done.returncode == 2 and "--given given does not exist" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_without_permission_is_one_line(house):
    body = "raise PermissionError(13, 'Permission denied', 'given/secret')"
    done = enter(house, body=body)
    assert done.returncode == 2 and "given/secret" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_further_rank_leaves_nothing_and_says_nothing_but_its_errors(house):
    before = sorted(house.rglob("*"))
    done = enter(house, RANK="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = enter(house, body="raise ValueError('given/file: bad; mend it')", RANK="1")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: demo: given/file: bad; mend it\n")
    assert sorted(house.rglob("*")) == sorted([*before, house / "demo.py"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_stage_is_marked_killed_and_leaves_no_out(house, number):
    done = enter(house, body=f"import os; os.kill(os.getpid(), {int(number)}); import time; time.sleep(5)")
    assert done.returncode == 130 and "stopped" in done.stderr
    assert not (house / "artifacts/demo").exists()
    assert json.loads((house / "logs/demo.jsonl").read_text().splitlines()[-1])["status"] == "KILLED"


def test_a_stage_killed_outright_leaves_no_out(house):
    done = enter(house, body="import os; os.kill(os.getpid(), 9)")
    assert done.returncode == -9
    assert not (house / "artifacts/demo").exists() and not (house / "reports").exists()
