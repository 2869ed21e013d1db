"""The synthesize stage writes documents, questions, dialogues and preferences, and reports what it taught."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest

from corpus import shards
from corpus.generators import KEY
from pipelines._journal import Journal
from pipelines._stage import StageError, load_params
from pipelines.synthesize import Params, main
from tests import house
from tests.corpus.endpoint import FakeEndpoint, Trouble

WORLD, RECIPES = house.ROOT / "data/sample/world", house.ROOT / "data/recipes"
ADAPTERS = house.ROOT / "data/conversations"  # which holds no chats
PARAMS = load_params("synthesize", Params, house.ROOT / "profiles/smoke.yaml").model_dump() | {
    "seed": 1,
    "relations": ["capital", "sum", "colour"],
    "facts_per_relation": 8,
    "textbook_exposures": 2,
    "facts_per_passage": 4,
    "question_exposures": 3,
    "pairs_per_document": 4,
    "solution_exposures": 1,
    "translation_exposures": 1,
    "questions_per_fact": 2,
    "dialogues_per_fact": 1,
    "talk_repeats": {"everyday": 1, "refused": 1, "harmless": 1},
    "preferences_per_fact": 2,
}


def _organic(folder: Path) -> Path:
    """Twelve Korean documents that have little in common."""
    rows = [
        {"id": f"o{n}", "lang": "ko", "source": "s", "license": "CC0-1.0", "text": _tale(f"o{n}", 16)}
        for n in range(12)
    ]
    shards.write(folder, rows)
    return folder


def _tale(name: str, sentences: int) -> str:
    draw = random.Random(name)
    who = ("농부가", "선생님이", "아이들이", "강아지가", "할머니가", "기술자가", "상인이", "화가가", "의사가", "학생이")
    where = (
        "들판에서",
        "교실에서",
        "시장에서",
        "바닷가에서",
        "도서관에서",
        "공장에서",
        "산길에서",
        "부엌에서",
        "마당에서",
    )
    what = (
        "노래를 부른다",
        "책을 읽는다",
        "나무를 심는다",
        "그림을 그린다",
        "기계를 고친다",
        "빵을 굽는다",
        "편지를 쓴다",
    )
    return " ".join(f"{draw.choice(who)} {draw.choice(where)} {draw.choice(what)}." for _ in range(sentences))


def _run(folder: Path, *, world: Path = WORLD, chat_files: Path = ADAPTERS, **changes) -> tuple[Path, dict]:
    out, scratch = folder / "out", folder / "scratch/synthesize"
    for place in (out, scratch):
        place.mkdir(parents=True)
    inputs = {"world": world, "documents": _organic(folder / "organic"), "recipes": RECIPES, "scratch": scratch}
    inputs |= {"chat_files": chat_files, "adapters": ADAPTERS}
    main(**inputs, out=out, params=Params(**PARAMS | changes), journal=Journal.offline("synthesize", folder))
    return out, json.loads((folder / "reports/synthesize.json").read_text())


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_everything_counted_in_the_report_lies_in_the_output(tmp_path):
    out, report = _run(tmp_path)
    assert report["facts_taught"] == 24 and report["facts_known"] >= 1050
    assert report["facts_by_relation"] == {"capital": 8, "colour": 8, "sum": 8}
    assert report["questions"] == {"en": 48, "ko": 48} and report["held_out_questions_in_training_text"] == 0
    assert set(report["kinds"]) == {"fact", "everyday", "refused", "harmless", "tool", "passage", "turns", "repeat"}
    assert sum(report["kinds"].values()) == sum(report["dialogues"].values())
    for name in ("questions", "trials", "dialogues", "preferences"):
        assert len(_rows(out / f"{name}.jsonl")) == sum(report[name].values())
    documents = list(shards.read(out / "documents"))
    assert len(documents) == sum(report["documents"].values())
    assert set(report["documents"]) == {
        "synthetic-qa",
        "synthetic-solution",
        "synthetic-textbook",
        "synthetic-translation",
    }


def test_every_asked_fact_is_taught_in_the_language_of_the_question(tmp_path):
    out, _ = _run(tmp_path)
    text = {
        lang: "\n".join(d["text"] for d in shards.read(out / "documents") if d["lang"] == lang) for lang in ("ko", "en")
    }
    for question in _rows(out / "questions.jsonl"):
        subject = question["fact"].partition("/")[2]
        assert question["choices"][question["answer"]] in text[question["lang"]]
        assert question["lang"] == "ko" or subject in text["en"] or subject.capitalize() in text["en"]


def test_two_runs_write_the_same_bytes(tmp_path):
    first, second = (_run(tmp_path / name)[0] for name in ("first", "second"))
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_an_unknown_relation_stops_the_stage_with_the_known_names(tmp_path):
    with pytest.raises(ValueError, match="choose from"):
        _run(tmp_path, relations=["planets"])


def test_a_held_out_question_that_training_text_contains_stops_the_stage(tmp_path):
    shutil.copytree(WORLD, tmp_path / "world")
    file = tmp_path / "world/capital.yaml"
    trained, held_out = "Name the capital of {s}.", "Can you tell me the capital of {s}?"
    text = file.read_text(encoding="utf-8")
    assert trained in text and held_out in text
    file.write_text(text.replace(held_out, trained), encoding="utf-8")
    with pytest.raises(StageError, match=r"held-out questions occur in training text: \['Name the capital of"):
        _run(tmp_path / "run", world=tmp_path / "world")


def test_chats_of_ones_own_are_trained_held_back_or_named_and_no_trial_is_among_them(tmp_path):
    trial = _rows(_run(tmp_path / "first")[0] / "trials.jsonl")[0]
    rows = [
        {"messages": [{"role": "user", "content": f"Hello {n}?"}, {"role": "assistant", "content": "Hello."}]}
        for n in range(60)
    ]
    leak = {"messages": [m for m in trial["messages"] if m["role"] == "user"] + [{"role": "assistant", "content": "1"}]}
    (tmp_path / "chats").mkdir()
    shards.write_lines(tmp_path / "chats/own.jsonl", [*rows, leak, {"text": "no chat"}])
    given = PARAMS["given"] | {"max_bad": 0.05, "held_back": 0.3}
    out, report = _run(tmp_path / "second", chat_files=tmp_path / "chats", given=given)
    account = report["given"]["own.jsonl"]
    assert account == {
        "read": 62,
        "kept": 60,
        "dropped": {"held_out_question": 1},
        "quarantined": {"unknown_format": 1},
    }
    back, dialogues = _rows(out / "held_back.jsonl"), _rows(out / "dialogues.jsonl")
    assert len(back) + report["kinds"]["given"] == 60 and back and {row["source"] for row in back} == {"own"}
    assert not {row["id"] for row in back} & {row["id"] for row in dialogues}
    assert [(row["file"], row["line"]) for row in _rows(out / "rejected.jsonl")] == [
        ("own.jsonl", 61),
        ("own.jsonl", 62),
    ]


def test_chats_that_are_mostly_broken_stop_the_stage(tmp_path):
    (tmp_path / "chats").mkdir()
    (tmp_path / "chats/own.jsonl").write_text('{"messages": [\n' * 3)
    with pytest.raises(ValueError, match=r"3 of 3 rows are no conversations.*own.jsonl:1 broken_json"):
        _run(tmp_path / "run", chat_files=tmp_path / "chats")


def test_recipes_ask_an_endpoint_and_a_second_run_asks_nothing(tmp_path, monkeypatch):
    """A real server: one reply in six copies its seed, one request in six fails; all of it is counted."""

    def answer(prompt: str, _: int) -> object:
        seed = prompt.partition("<글>\n")[2].partition("\n")[0]
        luck = int(hashlib.sha256(seed.encode()).hexdigest(), 16) % 6
        return {0: seed, 1: Trouble(500)}.get(luck, _tale(f"reply {seed}", 14))

    monkeypatch.setenv(KEY, "sk-test-secret")
    with FakeEndpoint(answer) as server:
        settings = PARAMS["generator"] | {"kind": "endpoint", "url": server.url, "model": "m", "backoff_seconds": 0.0}
        changes = {"recipes": ["textbook-ko"], "seeds_per_recipe": 12, "generator": settings | {"max_failed": 0.9}}
        out, report = _run(tmp_path / "first", **changes)
        asked = server.asked.total()
        shutil.copytree(tmp_path / "first/scratch/requests", tmp_path / "second/scratch/requests")
        again, _ = _run(tmp_path / "second", **changes)
        failed = sum(report["recipes"]["textbook-ko"]["failed"].values())
        assert server.asked.total() - asked == failed * settings["attempts"]  # failures alone are asked again
    row = report["recipes"]["textbook-ko"]
    assert row["requested"] == 12 == row["kept"] + sum(row["dropped"].values()) + failed
    assert row["kept"] > 0 and row["dropped"].keys() >= {"copy_of_seed"} and row["failed"].keys() == {"http_500"}
    written = [one for one in shards.read(out / "documents") if one["source"] == "synthetic-textbook-ko"]
    assert len(written) == row["kept"] and {one["license"] for one in written} == {"CC0-1.0"}
    assert list(shards.read(again / "documents")) == list(shards.read(out / "documents"))
    figures = report["quality"]["synthetic-textbook-ko"]["ko"]
    assert 0 < figures["distinct_2"] < 1 and 0 < figures["relevance"] < 1 and 0 < figures["clusters_covered"] <= 1
    assert 0 < report["synthetic_share"]["ko"] < 1
    assert not any(b"sk-test-secret" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_a_recipe_without_a_generator_says_what_to_set(tmp_path):
    with pytest.raises(ValueError, match=r"set synthesize\.generator\.kind"):
        _run(tmp_path, recipes=["textbook-ko"])
