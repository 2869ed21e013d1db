"""The page and the pictures are functions of the evidence."""

import pytest

from evals import pictures, report


def judged(size, qa, kl=None):
    row = {"size_bytes": size, "chance": 0.25, "kl_parent": kl, "kl_parent_p999": kl, "top1_parent": kl and 0.9}
    for lang in ("ko", "en"):
        row |= {
            f"bpb_{lang}": 1.5,
            f"qa_{lang}": qa,
            f"marks_{lang}": "1" * round(10 * qa) + "0" * (10 - round(10 * qa)),
            f"qa_{lang}_low": qa - 0.1,
            f"qa_{lang}_high": qa + 0.1,
            f"chat_{lang}": 0.5,
            f"nats_{lang}": [10.0 + (kl or 0), 12.0],
            f"bytes_{lang}": [9, 11],
        }
    return row


@pytest.fixture
def evidence():
    rate = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 48}
    return {
        "evaluate@onnx-int4": judged(2_000_000, 0.7, 0.02),
        "evaluate@mini": judged(9_000_000, 0.8, 0.5),
        "evaluate@seed": judged(5_000_000, 0.3),
        "safety@mini": {"nur": rate, "nor": rate, "asr": rate, "judge": {"precision": 0.93, "recall": 0.82, "n": 66}},
        "ingest": {"records_in": 100, "documents_kept": 95, "quarantined": {"broken": 5}},
        "filter": {"documents_in": 95, "documents_kept": 60, "dropped": {"short": 20, "not_korean": 15}},
        "pretrain": {"curve": [{"tokens": 1000, "loss": 6.0}, {"tokens": 2000, "loss": 4.0}]},
        "sft": {"curve": [{"tokens": 500, "loss": 3.0}, {"tokens": 900, "loss": 2.0}]},
        "extend": {"steps": 0},
        "tokenizer": {
            "compression": {"ko": {"bytes_per_token": 6.25, "tokens_per_word": 1.5, "bytes": 12345}},
            "kinds": {"hangul": 1200, "latin": 90},
            "unused": {"all": 7, "hangul": 7},
            "curve": {"1024": {"ko": 3.0, "en": 2.0}, "4096": {"ko": 4.0, "en": 3.0}},
        },
    }


def test_the_page_is_a_function_of_the_evidence_and_not_of_its_order(evidence):
    backwards = dict(reversed(evidence.items()))
    assert report.page(evidence, ["a.png"]) == report.page(backwards, ["a.png"])


def test_models_stand_in_the_order_of_the_line(evidence):
    assert list(report.subjects(evidence, "evaluate")) == ["seed", "mini", "onnx-int4"]
    rows = report.summary(evidence).splitlines()
    assert (
        rows[2] == "| seed | 5.0 | 1.500 | 1.500 | 0.300 [0.200, 0.400] | 0.300 [0.200, 0.400] | 0.50 | 0.50 | – | – |"
    )
    assert rows[4].startswith("| onnx-int4 | 2.0 |") and rows[4].endswith("| 0.02 | 0.900 |")


def test_rates_stand_with_their_interval_and_the_judges_own_quality(evidence):
    page = report.page(evidence, [])
    assert "0.500 [0.400, 0.600] n=48" in page and "| filter: not_korean | -15 |" in page
    assert "precision 0.93\nand recall 0.82" in page and "chance is\n0.25" in page


def test_an_artifact_stands_against_mini_on_the_same_questions_and_documents(evidence):
    row = next(line for line in report.page(evidence, []).splitlines() if line.startswith("| onnx-int4 − mini |"))
    cells = row.strip("| ").split(" | ")
    assert cells[1] == cells[2] == "-0.100 [-0.300, +0.000]" and cells[3].startswith("-2.13% [")
    evidence["evaluate@base"] = judged(1, 0.9)
    assert "| mini − base | -0.100 [" in report.page(evidence, [])


def test_abilities_stand_in_the_page_and_the_subject_before_training_beside_mini_only(evidence):
    assert "What Mini can do" not in report.page(evidence, [])
    rate = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 2, "marks": "10"}
    trials = {"passage": {lang: {"right": rate, "well_formed": rate} for lang in ("ko", "en")}}
    for name in ("mini", "taught"):
        evidence[f"evaluate@{name}"] = judged(9, 0.8, 0.5) | {"trials": trials}
    page = report.page(evidence, [])
    assert "| answers from a passage | ko | 0.500 [0.100, 0.900] n=2 |" in page
    assert "| answers from a passage, en | 0.500" in page and "| held-out text ko, bits per byte |" in page
    assert "\n| taught |" not in page


def test_the_vocabulary_stands_with_its_compression_and_its_kinds(evidence):
    page = report.page(evidence, [])
    assert "| ko | 6.25 | 1.50 | 12,345 |" in page and "| hangul | 1,200 | 7 |" in page
    assert report.vocabulary_curve(evidence)["ours (4096)"] == {"bytes/token ko": 4.0, "bytes/token en": 3.0}


def test_the_waterfall_ends_at_what_is_left(evidence):
    steps = report.waterfall(evidence)
    assert steps[0] == ("into ingest", 100) and steps[-1] == ("kept", 60)
    assert 100 + sum(count for _, count in steps if count < 0) == 60


def test_sections_without_evidence_are_left_out():
    page = report.page({"evaluate@seed": judged(1, 0.3)}, [])
    assert "## Models" in page
    assert not any(title in page for title in ("## Safety", "## Documents", "## Training"))


def test_pictures_are_byte_identical_when_drawn_again(evidence, tmp_path):
    for turn in ("1", "2"):
        pictures.loss_over_tokens(report.curves(evidence), tmp_path / f"loss{turn}.png")
        pictures.filter_waterfall(report.waterfall(evidence), tmp_path / f"fall{turn}.png")
        pictures.size_and_quality(report.subjects(evidence, "evaluate"), tmp_path / f"pareto{turn}.png")
    for name in ("loss", "fall", "pareto"):
        first = (tmp_path / f"{name}1.png").read_bytes()
        assert first == (tmp_path / f"{name}2.png").read_bytes()
        assert first[:8] == b"\x89PNG\r\n\x1a\n" and b"tEXt" not in first and b"tIME" not in first
