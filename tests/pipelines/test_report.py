"""The report stage: evidence in, one page and its pictures out."""

import json

import pytest

from evals import ablations
from evals.material import MaterialError
from pipelines import report
from pipelines._journal import Journal
from pipelines._stage import StageError

MODEL = {
    "size_bytes": 10, "chance": 0.25, "kl_parent": None, "top1_parent": None, "bpb_ko": 1.0, "bpb_en": 1.0,
    "chat_ko": 0.5, "chat_en": 0.5, "n_qa_ko": 2, "n_qa_en": 2,
    **{f"{key}_{lang}": [1] for lang in ("ko", "en") for key in ("nats", "bytes")}, "marks_ko": "1", "marks_en": "1",
    **{f"qa_{lang}{end}": 0.5 for lang in ("ko", "en") for end in ("", "_low", "_high")},
}  # fmt: skip


def run(tmp_path, reports):
    (tmp_path / "in").mkdir()
    for name, content in reports.items():
        (tmp_path / "in" / f"{name}.json").write_text(content)
    (tmp_path / "out").mkdir()
    (tmp_path / "sources").mkdir()
    journal = Journal.offline("report", tmp_path)
    (tmp_path / "talks").mkdir()
    said = {"messages": [{"role": "user", "content": "수도는?"}], "tools": [], "kind": "question", "lang": "ko"}
    heard = {"reply": "답: 서울", "finish_reason": "stop", "expected": ["서울"], "right": True, "well_formed": True}
    (tmp_path / "talks" / "replies.jsonl").write_text(json.dumps(said | heard))
    call = {
        "talks": tmp_path / "talks",
        "reports": tmp_path / "in",
        "sources": tmp_path / "sources",
        "out": tmp_path / "out",
    }
    report.main(**call, params=report.Params(), journal=journal)
    return json.loads((tmp_path / "reports" / "report.json").read_text())


def test_a_page_and_only_the_pictures_that_have_evidence_are_made(tmp_path):
    found = run(
        tmp_path,
        {
            "evaluate@mini": json.dumps(MODEL),
            "pretrain": '{"curve": [{"tokens": 1, "loss": 2.0}, {"tokens": 2, "loss": 1.0}]}',
            "report": "{}",
        },
    )
    drawn = ["line.png", "loss.png", "pareto.png"]
    assert found == {"subjects": ["mini"], "reports": 2, "pictures": drawn}
    pages = {"report.md", "model-card.md", "data-card.md", "conversations.md", "report.html"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {*pages, *drawn}
    assert "[reply] 답: 서울" in (tmp_path / "out" / "conversations.md").read_text()
    assert "| mini |" in (tmp_path / "out" / "report.md").read_text()


def test_the_filter_s_waterfall_becomes_a_picture_by_language_and_source(tmp_path):
    fall = {
        "by_language": {"ko": {"kept": [2, 30], "cut": [0, 5]}},
        "by_source": {"web": {"kept": [2, 30], "cut": [0, 5]}},
    }
    dropped = {"documents_in": 2, "documents_kept": 2, "characters_in": 35, "characters_kept": 30, "dropped": {}}
    found = run(tmp_path, {"evaluate@mini": json.dumps(MODEL), "filter": json.dumps(dropped | {"waterfall": fall})})
    assert "filter.png" in found["pictures"]
    assert (tmp_path / "out/filter.png").read_bytes().startswith(b"\x89PNG")


def test_effects_of_ablations_become_a_picture(tmp_path):
    effects = [
        {"name": "filters: none", "metric": f"{lang} {metric}", "value": -0.1, "low": -0.2, "high": 0.05, "n": 3}
        for metric in (ablations.BPB, ablations.QA)
        for lang in ablations.LANGUAGES
    ]
    report = {"asks": "What do filters bring?", "effects": effects, "flops": {"line": 1, "none": 1}}
    found = run(tmp_path, {"evaluate@mini": json.dumps(MODEL), "ablation-filters": json.dumps(report)})
    assert "ablation-filters.png" in found["pictures"]
    assert "- filters: none: no difference found" in (tmp_path / "out/report.md").read_text()
    assert "data:image/png" in (tmp_path / "out/report.html").read_text()


def test_no_evaluation_is_an_error(tmp_path):
    with pytest.raises(StageError, match="evaluate"):
        run(tmp_path, {"filter": "{}"})


def test_a_broken_report_is_named(tmp_path):
    with pytest.raises(MaterialError, match=r"filter\.json"):
        run(tmp_path, {"filter": "{"})
