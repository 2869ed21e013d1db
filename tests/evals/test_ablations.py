"""Effects of choices: paired by seed, on what both runs held out, with Student's interval; null results are told."""

import pytest
from scipy.stats import ttest_1samp

from evals import ablations
from evals.report import table


def run(arm, seed, nats, qa):
    return {"arm": arm, "seed": seed, "nats": dict.fromkeys(("ko", "en"), nats), "qa": {"ko": qa, "en": 0.5}}


def three(arm, scale, qa):
    return [run(arm, seed, {"a": 10 * seed * scale, "b": 20 * scale}, qa + seed / 100) for seed in (1, 2, 3)]


def by_metric(rows):
    return {row["metric"]: row for row in rows}


def test_a_run_is_held_against_the_line_of_the_same_seed():
    found = by_metric(ablations.effects("row", three("line", 1, 0.5) + three("other", 1.1, 0.6), questions=100))
    worse, better = found["ko bits per byte, %"], found["ko right answers, points"]
    assert (worse["value"], worse["low"]) == pytest.approx((10, 10))  # seeds differ, their ratios do not
    assert better["value"] == pytest.approx(10) and better["n"] == 3


def test_shares_of_few_questions_are_no_surer_than_the_questions_allow():
    runs = three("line", 1, 0.5) + three("other", 1.1, 0.6)  # ten points in every seed: Student's interval has no width
    found = by_metric(ablations.effects("row", runs, questions=100))["en right answers, points"]
    assert (found["low"], found["high"]) == pytest.approx((-8.0017, 8.0017), abs=1e-3)


def test_documents_that_one_run_learnt_from_are_left_out():
    one, other = run("line", 1, {"a": 10, "b": 20}, 0.5), run("other", 1, {"a": 11, "c": 1000}, 0.5)
    assert ablations.excess(other, one, "ko") == pytest.approx(10)


def test_the_interval_is_that_of_students_test():
    values = [1.0, 2.5, 4.0, 3.0]
    found, known = ablations.interval(values), ttest_1samp(values, 0).confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((known.low, known.high), abs=1e-4)


def test_one_seed_is_no_evidence():
    assert not ablations.effects("row", [run("line", 1, {"a": 1}, 0.5), run("other", 1, {"a": 2}, 0.5)], questions=100)


def test_the_page_says_better_worse_and_nothing_found_and_keeps_null_results():
    runs = three("line", 1, 0.5) + three("good", 0.9, 0.6) + three("bad", 1.1, 0.5) + three("same", 1, 0.5)
    report = {
        "asks": "Why?",
        "effects": ablations.effects("depth", runs, questions=100),
        "flops": dict.fromkeys(("line", "good", "bad", "same"), 2),
    }
    page = "\n".join(ablations.sections({"ablation-depth": report, "mix": {}}, table))
    assert "- depth: good: better in ko bits per byte, %: -10.00 [-10.00, -10.00]; better in en bits" in page
    assert "- depth: bad: worse in ko bits per byte, %: +10.00" in page
    assert "- depth: same: no difference found" in page and "| same | 1.00 | +0.00 [+0.00, +0.00] |" in page
    assert ablations.sections({"mix": {}}, table) == []
