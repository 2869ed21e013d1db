"""The matrix of ablations: what it plans, that DVC makes it so, and that a stopped one goes on."""

import json
from pathlib import Path

import pytest
from dvc.api import DVCFileSystem

from tests.tools import tiny_line
from tools import ablate

ROOT = Path(__file__).parents[2]
MATRIX = """
seeds: [1, 2]
questions: 4
rows:
  times:
    asks: How often?
    until: pretrain
    seeded: [pretrain.seed]
    all: {pretrain.tokens: 64}
    arms:
      twice: {pretrain.tokens: 128}
"""


@pytest.fixture(scope="module")
def line():
    return ablate.read(ROOT / "params.yaml"), ablate.locked(ROOT)


def test_every_row_of_the_matrix_names_stages_and_numbers_that_exist(line):
    params, lock = line
    for name, row in ablate.read(ROOT / "ablations.yaml")["rows"].items():
        for run in ablate.planned(name, row, [1, 2]):
            assert run.until in lock and ablate.flops(run, params) > 0
            for key in run.overrides:
                place = params
                for part in key.split("."):
                    assert part in place, f"{name}, {run.arm}: no {key} in params.yaml"
                    place = place[part]


def test_arms_of_a_seed_share_their_numbers_and_only_what_is_upstream_decides(line):
    row = {"until": "pretrain", "seeded": ["pretrain.seed"], "all": {}, "arms": {"other": {"distill.tokens": 5}}}
    plain, other, second = list(ablate.planned("row", row, [1, 2]))[:3]
    assert plain.name == "ablate-row-line-1" and second.overrides["pretrain.seed"] == 2
    mark, params = ablate.fingerprint(plain, *line), line[0]
    assert ablate.fingerprint(other, *line) == mark != ablate.fingerprint(second, *line)
    changed = params | {"pretrain": params["pretrain"] | {"clip": 2.0}}
    assert ablate.fingerprint(plain, changed, line[1]) != mark
    assert ablate.fingerprint(plain, params | {"sft": {}}, line[1]) == mark


def test_a_report_made_anew_does_not_make_finished_runs_stale(line):
    """dvc.lock lists stages in the order of their first runs: `report`, which reads our own results, before `qad`."""
    plan = line[1]
    assert list(plan).index("qad") < list(plan).index("report")
    run = ablate.Run("row", "line", 1, "qad", {})
    other = plan | {"report": plan["report"] | {"deps": [{"path": "reports/ablation-x.json", "md5": "new"}]}}
    assert ablate.fingerprint(run, *line) == ablate.fingerprint(run, line[0], other)


def test_dvc_makes_what_was_planned_and_leaves_the_clone_alone(tmp_path, monkeypatch):
    place, tracking = tmp_path / "clone", f"sqlite:///{tmp_path}/mlflow.db"
    tiny_line.build(place, tracking)
    tiny_line.run(place, tracking, "dvc repro -q")
    tiny_line.commit(place, tracking, "made")
    monkeypatch.chdir(place)
    for key, value in tiny_line.environment(tracking).items():
        monkeypatch.setenv(key, value)
    run = ablate.Run("times", "7 %", 1, "second", {"first": {"times": 3}})
    for _ in range(2):  # again, under a name that is taken
        ablate.trained(run, ("first", "second/note.txt"), tmp_path / "out")
    assert (tmp_path / "out/first/note.txt").read_text() == "first 3 times"
    assert (place / "artifacts/first/note.txt").read_text() == "first 2 times"
    assert DVCFileSystem(rev="ablate-times-7-1").exists("artifacts/second")
    ablate._tracking.annotate(run.name, {"ablation.arm": run.arm}, {"a/*": 3}, {"bpb_ko": 2.5})
    known = ablate._tracking.runs_of(run.name)
    assert {found.stage for found in known} == {"first", "second"}
    top = next(found for found in ablate._tracking.records() if found.id == known[0].parent)
    assert (top.metrics, top.tags["ablation.arm"], top.params["a/_"]) == ({"bpb_ko": 2.5}, "7 %", "3")


def test_a_stopped_matrix_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    for name in ("params.yaml", "dvc.lock", "dvc.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    (tmp_path / "reports").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    asked = []

    def made(run, questions):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(run.name)
        nats = run.overrides["pretrain.tokens"] + run.seed
        both = {key: dict.fromkeys(("ko", "en"), value) for key, value in {"nats": {"a": nats}, "qa": 0.5}.items()}
        return both | {"bpb": {}}

    monkeypatch.setattr(ablate, "made", made)
    monkeypatch.setattr("sys.argv", ["ablate", "--matrix", "matrix.yaml"])
    with pytest.raises(KeyboardInterrupt):
        ablate.main()
    assert len(json.loads(Path("reports/ablation-times.json").read_text())["runs"]) == 3
    kept, asked[:] = list(asked), []
    ablate.main()
    assert kept == ["ablate-times-line-1", "ablate-times-twice-1", "ablate-times-line-2"]
    assert asked == ["ablate-times-twice-2"]
    found = json.loads(Path("reports/ablation-times.json").read_text())
    assert [row["n"] for row in found["effects"]] == [2] * 4 and found["flops"]["twice"] > found["flops"]["line"]
    ablate.main()
    assert len(asked) == 1


def test_an_unknown_row_is_named(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["ablate", "--rows", "weather"])
    with pytest.raises(SystemExit):
        ablate.main()
    assert "no row weather; there are: tokenizer," in capsys.readouterr().err
