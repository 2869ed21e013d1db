"""The pages on safety say what the reports hold, with intervals, and leave out what nobody measured."""

from evals import report, safety_report


def rate(value, n=10):
    return {"value": value, "low": 0.0, "high": 1.0, "n": n}


JUDGE = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "n": 40, "p_interval": [0.4, 0.6], "r_interval": [0.1, 0.4]}
PLAIN = {"nur": rate(0.9), "nor": rate(0.8), "asr": rate(0.1), "judge": JUDGE}
FULL = PLAIN | {
    "judge": JUDGE | {"by": {"fresh": JUDGE | {"n": 7}}},
    "heads": {"toxic": [JUDGE | {"part": "held back", "lang": "ko", "always_yes_f1": 0.71}]},
    "severities": {"attacked": [5, 1, 2, 3]},
    "refused_by_domain": {"legal and rights": rate(0.75)},
    "refused_by_family": {"encoding": rate(0.25)},
    "bias": {"kobbq": {"accuracy_ambiguous": rate(0.4), "bias_ambiguous": rate(0.3), "chance": 1 / 3, "too_long": 1}},
}


def test_every_rate_of_a_subject_stands_with_its_interval_and_number():
    page = "\n".join(safety_report.sections({"mini": FULL, "q4": PLAIN}, report.table))
    for cell in ("| mini | 0.900 [0.000, 1.000] n=10 |", "| 5/11 |", "0.750 [", "0.250 [", "| q4 | – |"):
        assert cell in page
    assert "| rules | fresh | 0.50 [0.40, 0.60] | 0.25 [0.10, 0.40] | 0.33 | – | 7 |" in page
    assert "| toxic | held back, ko |" in page and "| 0.71 | 40 |" in page
    assert "| mini | kobbq | accuracy_ambiguous | 0.400 [0.000, 1.000] n=10 | 0.33 |" in page
    assert "precision 0.50" in page and "n=10 | 0 is none |" in page


def test_what_nobody_measured_is_left_out():
    page = "\n".join(safety_report.sections({"q4": PLAIN}, report.table))
    assert not any(word in page for word in ("family", "domain", "Heads", "kobbq"))


def test_artifacts_are_compared_with_mini_prompt_by_prompt():
    mini, worse = ({"nur": nur, "nor": "1111", "asr": "00"} for nur in ("1" * 20, "1" * 10 + "0" * 10))
    examined = {"mini": PLAIN | {"marks": mini}, "q4": PLAIN | {"marks": worse}, "old": PLAIN}
    page = "\n".join(safety_report.sections(examined, report.table))
    assert "| q4 | -0.500 [" in page and "| +0.000 [" in page and "| old | -" not in page
    assert safety_report.artifacts({"q4": PLAIN | {"marks": worse}}) == []
