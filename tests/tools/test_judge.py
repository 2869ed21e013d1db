"""The command goes on where it was stopped, asks again what has changed, and says what was asked."""

import json
import sys

import pytest

from evals.harness import judge
from evals.harness.catalogue import catalogue
from tests.evals.harness.benchmarks import write_all
from tools import judge as command


@pytest.fixture
def run(monkeypatch, tmp_path, hf_folder_copy):
    data = write_all(tmp_path)

    def go(*words):
        line = ["judge", "--models", str(hf_folder_copy), "--data", str(data), "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", [*line, *words])
        command.main()
        return tmp_path / "out"

    return go


@pytest.fixture
def hf_folder_copy(tmp_path):
    from tests.export.parents import save_parent

    return save_parent(tmp_path / "models" / "tiny", hidden=64, ffn=128)


def test_what_is_done_is_kept_and_what_has_changed_is_asked_again(run, monkeypatch, capsys):
    asked = []
    ask = judge.ask
    monkeypatch.setattr(
        judge, "ask", lambda subject, name, *rest, **how: asked.append(name) or ask(subject, name, *rest, **how)
    )
    words = ["--tasks", "klue_nli", "piqa", "--limit", "5"]
    out = run(*words)
    first = (out / "tiny" / "piqa.json").read_bytes()
    table = (out / "table.md").read_bytes()
    assert asked == ["klue_nli", "piqa"]
    run(*words)
    assert asked == ["klue_nli", "piqa"]
    (out / "tiny" / "piqa.json").unlink()
    run(*words)
    assert asked == ["klue_nli", "piqa", "piqa"]
    assert (out / "tiny" / "piqa.json").read_bytes() == first and (out / "table.md").read_bytes() == table
    run(*words[:-1], "6")
    assert asked[3:] == ["klue_nli", "piqa"]


def test_a_record_says_everything_that_a_score_needs(run):
    out = run("--tasks", "mmlu", "--limit", "7", "--shots", "1")
    record = json.loads((out / "tiny" / "mmlu.json").read_text())
    assert record["n"] == 7 and record["of"] == 19 and record["chance"] == 0.25 and record["shots"] == 1
    assert record["low"] <= record["value"] <= record["high"] and len(record["marks"]) == 7
    assert set(record["tasks"]) <= {"mmlu_astronomy", "mmlu_virology"} and record["seed"] == 1234
    page = (out / "table.md").read_text()
    assert "7 of 19 questions" in page and "chance 0.250" in page and "1 rows left out" in page


def test_every_evaluation_of_the_folder_has_a_score_but_programs(run):
    out = run("--limit", "2")
    made = {path.stem for path in (out / "tiny").glob("*.json")}
    assert made == {name for name, entry in catalogue().items() if entry.file and not entry.programs} & made
    assert {"ifeval", "gsm8k", "bbh", "truthfulqa", "klue_ner"} <= made
