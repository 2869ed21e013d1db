"""A manifest's lineage is a function of code, inputs and numbers: the same again, other when one of them is."""

import subprocess
from pathlib import Path

import pytest

from pipelines import _provenance


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], check=True, capture_output=True)


@pytest.fixture(autouse=True)
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    Path("export").mkdir()
    Path("export/a.py").write_text("1\n")
    lock = "stages:\n  dpo:\n    outs:\n    - {path: artifacts/dpo, md5: abc.dir}\n"
    Path("dvc.lock").write_text(lock)
    git("add", ".")
    git("commit", "-qm", "first")


def test_a_commit_of_other_files_changes_nothing_and_one_of_code_does() -> None:
    before = _provenance.lineage({"a": 1}, model=Path("artifacts/dpo"))
    assert before["inputs"] == {"model": "abc.dir"} and len(before["git_commit"]) == 40
    Path("notes.md").write_text("x")
    git("add", ".")
    git("commit", "-qm", "words")
    assert _provenance.lineage({"a": 1}, model=Path("artifacts/dpo")) == before
    Path("export/a.py").write_text("2\n")
    assert _provenance.lineage({"a": 1})["git_commit"] == before["git_commit"] + "+dirty"
    git("commit", "-qam", "code")
    assert _provenance.lineage({"a": 1})["git_commit"] not in (before["git_commit"], "none")


def test_other_numbers_have_another_hash_and_strange_inputs_no_md5() -> None:
    one, two = (_provenance.lineage({"a": value}, model=Path("elsewhere"), calibration=None) for value in (1, 2))
    assert one["params_hash"] != two["params_hash"]
    assert one["inputs"] == {"model": None}
