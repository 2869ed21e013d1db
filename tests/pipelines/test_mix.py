"""mix: sums close, held-out text is in no phase, and an organic document that holds a question is in none."""

import json
import random

import pytest

from corpus import shards
from pipelines import mix
from pipelines._journal import Journal

WEIGHTS = {
    "ko/*": {"share": 0.05, "epochs": 1, "min_quality": 0.0},
    "en/*": {"share": 0.9, "epochs": 1, "min_quality": 0.0},
    "synthetic/*": {"share": 0.05, "epochs": 1, "min_quality": 0.0},
}
PARAMS = {
    "benchmarks": "unused",
    "letters": 16,
    "share": 0.7,
    "validation_share": 0.2,
    "validation_characters": 5_000,
    "seed": 1,
    "order": "shuffled",
    "buckets": 4,
    "phases": {
        "phase1": {"characters": 100_000, "weights": WEIGHTS, "sources": ["*"], "within": ""},
        "phase2": {"characters": 100_000, "weights": WEIGHTS, "sources": ["book_*"], "within": "phase1"},
    },
}
QUESTION = "대한민국의 수도는 어느 도시인가요?"
WORLD = "name: world\nlang: ko\nfiles: questions.jsonl\nid: id\nquestion: [question]\nlicense: MIT\nurl: ''\n"


def run(place, *, seed=None, rows_per_shard=50, **changed):
    organic = [
        {"id": f"{lang}{n}", "lang": lang, "source": "book_one" if n % 2 else "web", "text": f"글 {n} " * 20}
        for lang in ("ko", "en")
        for n in range(100)
    ]
    organic.append({"id": "leak", "lang": "ko", "source": "web", "text": f"기출 문제: {QUESTION} 정답은 서울."})
    if seed is not None:
        random.Random(seed).shuffle(organic)
    shards.write(place / "dedup", organic, rows_per_shard=rows_per_shard)
    taught = [{"id": f"t{n}", "lang": "ko", "source": "textbook", "text": f"{QUESTION} {n}"} for n in range(9)]
    shards.write(place / "synthesize/documents", taught)
    (place / "synthesize/questions.jsonl").write_text(json.dumps({"id": "q1", "question": QUESTION}) + "\n")
    for folder in ("out", "sets", "empty"):
        (place / folder).mkdir()
    (place / "sets/world.yaml").write_text(WORLD)
    mix.main(
        documents=place / "dedup",
        synthetic=place / "synthesize",
        evaluations=place / "sets",
        prompts=place / "empty",
        benchmarks=place / "empty",
        out=place / "out",
        scratch=place / "scratch",
        params=mix.Params.model_validate(PARAMS | changed),
        journal=Journal.offline("mix", place),
    )
    return place / "out"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    place = tmp_path_factory.mktemp("mix")
    out = run(place)
    names = {name: {d["id"] for d in shards.read(out / name)} for name in ("phase1", "phase2", "validation")}
    return out, names, json.loads((place / "reports/mix.json").read_text())


def test_every_organic_document_is_accounted_for(done):
    _, names, report = done
    assert report["documents_in"] == 201 == report["documents_kept"] + sum(report["dropped"].values())
    assert report["dropped"].keys() == {"contaminated", "left_out"}
    assert len(names["phase1"]) + len(names["validation"]) == report["documents_kept"] + 9


def test_accounts_by_domain_and_register_equal_what_is_written(done):
    out, _, report = done
    for part in ("phase1", "phase2", "validation"):
        written = [len(document["text"]) for document in shards.read(out / part)]
        assert report["documents"][part] == len(written)
        cells = [row for langs in report["domains"][part].values() for it in langs.values() for row in it.values()]
        registers = [row for by in report["registers"][part].values() for row in by.values()]
        for rows in (cells, registers):
            assert sum(row["documents"] for row in rows) == len(written)
            assert sum(row["characters"] for row in rows) == sum(written)
        if part in report["weights"]:
            assert sum(row["reached"] for row in report["weights"][part].values()) == sum(written)


def test_held_out_text_is_organic_and_in_no_phase(done):
    out, names, _ = done
    assert names["validation"].isdisjoint(names["phase1"] | names["phase2"])
    assert {name[:2] for name in names["validation"]} == {"ko", "en"}
    for lang in ("ko", "en"):
        assert sum(len(d["text"]) for d in shards.read(out / "validation") if d["lang"] == lang) <= 5_000


def test_phase_two_is_the_synthetic_text_and_the_best_sources_of_phase_one(done):
    out, names, _ = done
    assert names["phase2"] < names["phase1"]
    assert {d["source"] for d in shards.read(out / "phase2")} == {"textbook", "book_one"}


def test_an_organic_document_with_an_evaluation_question_is_dropped_and_listed_and_the_textbook_is_not(done):
    out, names, report = done
    assert "leak" not in set.union(*names.values())
    assert len(names["phase1"] & {f"t{n}" for n in range(9)}) == 9
    hits = [json.loads(line) for line in (out / "contamination.jsonl").read_text().splitlines()]
    assert hits == [{"id": "leak", "set": "world", "item": "q1", "share": 1.0}]
    assert report["contamination"]["world"]["found"] == 1


def test_training_takes_no_more_of_a_language_than_it_may(done):
    out, _, _ = done
    taken = sum(len(d["text"]) for d in shards.read(out / "phase1") if d["lang"] == "ko" and d["source"] != "textbook")
    assert 4_800 < taken <= 5_000


@pytest.mark.parametrize("order", ["shuffled", "curriculum"])
def test_three_orders_of_the_input_and_one_worker_or_all_give_the_same_bytes(tmp_path, order, monkeypatch):
    outs = []
    for seed, rows_per_shard in ((None, 50), (1, 50), (2, 201)):
        (tmp_path / str(seed)).mkdir()
        outs.append(run(tmp_path / str(seed), seed=seed, rows_per_shard=rows_per_shard, order=order))
        monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})  # the other runs have one worker
    files = [sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file()) for out in outs]
    assert files[0] == files[1] == files[2]
    for name in files[0]:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes() == (outs[2] / name).read_bytes()
