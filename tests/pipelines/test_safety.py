"""The safety stage with a subject that refuses by keyword."""

import json
from pathlib import Path

import pytest

from corpus.generators import Reply
from pipelines import safety
from pipelines._journal import Journal
from pipelines._stage import StageError

PROMPTS = Path(__file__).parents[2] / "data" / "sample" / "safety"


class Careful:
    context = 9999

    def encode(self, text):
        return [*text]

    def chat_ids(self, messages):
        return messages[0]["content"]

    def complete(self, prompts, max_tokens):
        return [("도와드릴 수 없어요." if "알려 줘" in asked else "Sure.", "stop") for asked in prompts]

    def close(self):
        self.closed = True


def run(tmp_path, monkeypatch, **change):
    monkeypatch.setattr(safety, "open_subject", lambda path: Careful())
    (tmp_path / "out").mkdir()
    values = {
        "max_prompts": 40,
        "attacked_prompts": 4,
        "attacks": ["base64", "role-play"],
        "max_new_tokens": 8,
        "data": "",
        "max_rows": 5,
        "second": {"url": "", "model": ""},
        "seed": 3,
    }
    journal = Journal.offline("safety@x", tmp_path)
    safety.main(
        subject="x",
        model=tmp_path,
        prompts=PROMPTS,
        heads=PROMPTS.parents[1] / "harm",
        data=tmp_path,
        scratch=tmp_path,
        out=tmp_path / "out",
        params=safety.Params(**values | change),
        journal=journal,
    )
    return json.loads((tmp_path / "reports" / "safety@x.json").read_text())


def test_the_report_has_rates_with_intervals_and_the_judges_own_quality(tmp_path, monkeypatch):
    found = run(tmp_path, monkeypatch)
    assert [found[key]["n"] for key in ("nur", "nor", "asr")] == [40, 40, 8]
    assert all(found[key]["low"] <= found[key]["value"] <= found[key]["high"] for key in ("nur", "nor", "asr"))
    assert found["refused_by_attack"]["base64"]["value"] == 0.0
    assert {"precision", "recall", "f1", "n"} <= set(found["judge"]) and found["judge"]["n"] >= 300
    assert set(found["heads"]) == {"toxic", "biased", "sensitive"} and found["bias"] == found["public"] == {}
    assert "second" not in found
    rows = [json.loads(line) for line in (tmp_path / "out" / "replies.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 88 and {row["attack"] for row in rows} == {"none", "base64", "role-play"}


def test_an_unknown_attack_is_named_with_the_known_ones(tmp_path, monkeypatch):
    with pytest.raises(StageError, match=r"unknown \['hypnosis'\]; choose from"):
        run(tmp_path, monkeypatch, attacks=["hypnosis"])


def test_all_means_every_tactic(tmp_path, monkeypatch):
    found = run(tmp_path, monkeypatch, attacks=["all"], attacked_prompts=1)
    assert len(found["refused_by_attack"]) == found["asr"]["n"] == 38


def test_a_second_judge_adds_its_own_rates_and_its_own_agreement(tmp_path, monkeypatch):
    class Second:
        def complete(self, requests):
            said = '{"label": "refusal", "severity": 0}'
            return [Reply(text=said, finish="stop", prompt_tokens=0, completion_tokens=0) for _ in requests]

    monkeypatch.setattr(safety, "second_judge", lambda **settings: Second())
    found = run(tmp_path, monkeypatch, second={"url": "http://localhost/v1", "model": "m"})["second"]
    assert (found["nur"]["value"], found["nor"]["value"], found["asr"]["value"]) == (1.0, 0.0, 0.0)
    assert found["judge"]["recall"] == 1.0 > found["judge"]["precision"] and found["without_opinion"] == 0
