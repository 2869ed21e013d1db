"""Two folders of reports side by side: what differs, with the interval that the evidence allows."""

import json

import pytest

from evals.metrics import paired
from tools import compare

PARAMS = "evaluate: {{seed: {seed}, max_questions: 8}}\nsft: {{lr: {lr}}}\n"
LOCK = "stages: {{a: {{outs: [{{path: artifacts/synthesize, md5: {md5}}}], deps: [{{path: a.py, md5: x}}]}}}}"


def folder(place, marks, lr=0.1, seed=1, md5="m1", **more):
    (place / "reports").mkdir(parents=True)
    (place / "params.yaml").write_text(PARAMS.format(seed=seed, lr=lr))
    (place / "dvc.lock").write_text(LOCK.format(md5=md5))
    share = marks.count("1") / len(marks)
    judged = {"qa_ko": share, "qa_ko_low": share - 0.1, "qa_ko_high": share + 0.1, "marks_ko": marks}
    (place / "reports/evaluate@mini.json").write_text(json.dumps(judged | more))
    return str(place / "reports")


def compared(tmp_path, **other):
    a = folder(tmp_path / "a", "11110000", kl_parent=0.5, same=3)
    b = folder(tmp_path / "b", "11111100", kl_parent=0.75, same=3, **other)
    return compare.page("A", compare.side(a), "B", compare.side(b))


def test_same_questions_are_paired(tmp_path):
    found = paired("11111100", "11110000")
    said = compared(tmp_path, lr=0.2)
    assert "Params: 1 of 3 differ" in said and "| sft.lr | 0.1 | 0.2 |" in said and "Data (md5): 0 of 1 differ" in said
    assert f"+0.2500 [{found['low']:+.4f}, {found['high']:+.4f}] paired, n = 8" in said
    assert "0.5000 [0.4000, 0.6000] | 0.7500 [0.6500, 0.8500]" in said
    assert "| evaluate@mini | kl_parent | 0.5 | 0.75 | +0.25 |" in said and "| same |" not in said


@pytest.mark.parametrize("other", [{"md5": "m2"}, {"seed": 2}])
def test_other_questions_are_not_paired_but_two_rates(tmp_path, other):
    said = compared(tmp_path, **other)
    assert "paired, n" not in said
    assert "+0.2500 [+0.1086, +0.3914]" in said  # hypot(0.1, 0.1) to either side


def test_a_run_against_itself_differs_in_nothing(tmp_path):
    side = compare.side(folder(tmp_path / "a", "1100"))
    assert compare.page("A", side, "B", side).count(": 0 of ") == 3
