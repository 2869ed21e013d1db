"""The whole line at its smallest, stage by stage in one process; and a SIGKILL that costs nothing."""

import filecmp
import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from corpus import shards
from export import material
from pipelines._journal import Journal
from pipelines._stage import load_params

SMOKE = Path("profiles/smoke.yaml").resolve()
SAMPLE, WORLD, SOURCES = (Path(p).resolve() for p in ("data/sample/text", "data/sample/world", "data/sources"))
SETS, PROMPTS, JUDGES, RECIPES = (
    Path(p).resolve() for p in ("data/evaluations", "data/sample/safety", "data/judges", "data/recipes")
)
CHATS = dict.fromkeys(("chat_files", "adapters"), Path("data/conversations").resolve())
GIVEN = Path("data/preferences").resolve()
DATA = {  # stage → flags, in order; "@x" is the out of stage x
    "ingest": {"text": SAMPLE, "sources": SOURCES},
    "filter": {"documents": "@ingest", "judges": JUDGES},
    "dedup": {"documents": "@filter"},
    "synthesize": {"world": WORLD, "documents": "@dedup", "recipes": RECIPES} | CHATS,
    "mix": {
        "documents": "@dedup",
        "synthetic": "@synthesize",
        "evaluations": SETS,
        "prompts": PROMPTS,
        "benchmarks": SETS,
    },
    "tokenizer": {"documents": "@mix", "chats": "@synthesize"},
    "tokenize": {"documents": "@mix", "tokenizer": "@tokenizer"},
}
TRAINING = {
    "pretrain": {"tokens": "@tokenize", "tokenizer": "@tokenizer"},
    "upscale": {"seed": "@pretrain", "tokens": "@tokenize"},
    "midtrain": {"student": "@upscale", "tokens": "@tokenize"},
    "extend": {"student": "@midtrain", "tokens": "@tokenize"},
    "prune": {"teacher": "@extend", "tokens": "@tokenize"},
    "distill": {"teacher": "@extend", "student": "@prune", "tokens": "@tokenize"},
    "sft": {"student": "@distill", "dialogues": "@synthesize", "tokens": "@tokenize"},
    "merge": {"base": "@distill", "tuned": "@sft", "tokens": "@tokenize"},
    "dpo": {"student": "@merge", "preferences": "@synthesize", "given": GIVEN, "tokens": "@tokenize"},
    "qad": {"model": "@dpo", "dialogues": "@synthesize", "tokens": "@tokenize"},
}


def run(stages, place, *, opened=Journal.offline):
    for name, flags in stages.items():
        stage = import_module(f"pipelines.{name}")
        call = {key: place / value[1:] if isinstance(value, str) else value for key, value in flags.items()}
        if "scratch" in stage.main.__annotations__:
            call["scratch"] = place / ".scratch" / name
            call["scratch"].mkdir(parents=True, exist_ok=True)
        (place / name).mkdir()
        params = load_params(name, stage.Params, SMOKE)
        journal = opened(name, place)
        stage.main(**call, out=place / name, params=params, journal=journal)
        journal.close("FINISHED")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("line")
    run(DATA | TRAINING, folder)
    return folder


def report(place, name):
    return json.loads((place / "reports" / f"{name}.json").read_text())


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_every_document_is_kept_dropped_or_quarantined(place):
    read = report(place, "ingest")
    assert read["records_in"] == read["documents_kept"] + read["documents_quarantined"] > 350
    for name in ("filter", "dedup", "mix"):
        sieve = report(place, name)
        assert sieve["documents_in"] == sieve["documents_kept"] + sum(sieve["dropped"].values())
    assert report(place, "filter")["documents_in"] == read["documents_kept"]


def test_data_stages_and_tokenizer_are_the_same_bytes_again(place, tmp_path):
    run(DATA, tmp_path)
    for name in DATA:
        assert files(place / name) == files(tmp_path / name)
        for file in files(place / name):
            assert filecmp.cmp(place / name / file, tmp_path / name / file, shallow=False), f"{name}/{file}"
        assert report(place, name) == report(tmp_path, name)


def test_text_that_weighs_an_export_shares_no_fifty_characters_with_what_is_evaluated(place):
    def shingles(text):
        return {text[at : at + 50] for at in range(len(text) - 49)}

    weighing = set().union(*map(shingles, material.texts(place / "mix", count=2000, characters=2000)))
    questions = (place / "synthesize/questions.jsonl").read_text().splitlines()
    evaluated = [document["text"] for document in shards.read(place / "mix/validation")]
    evaluated += [json.loads(line)["question"] for line in questions]
    assert len(weighing) > 10_000 and len(evaluated) > 20
    assert not [text for text in evaluated if weighing & shingles(text)]


def test_the_family_has_the_shapes_it_was_asked_for(place):
    shapes = {name: report(place, name)["shape"] for name in ("pretrain", "upscale", "extend", "prune", "dpo")}
    assert (shapes["pretrain"]["layers"], shapes["upscale"]["layers"]) == (4, 6)
    assert shapes["extend"]["context"] == 512 and shapes["extend"]["rope_theta"] == 40000.0
    assert shapes["dpo"]["hidden"] == shapes["prune"]["hidden"] == 256 and shapes["dpo"]["tied"]


def test_reports_have_no_clocks(place):
    for file in (place / "reports").glob("*.json"):
        text = file.read_text()
        assert "second" not in text and "time" not in text.replace("times", ""), file.name


def test_a_killed_pretrain_resumes_to_the_same_bytes(place, tmp_path):
    """A real process, a real SIGKILL after the first saved state, the same command again."""
    params = SMOKE.read_text().replace("save_every: 100", "save_every: 2")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "params.yaml").write_text(params)
    command = [sys.executable, "-m", "pipelines.pretrain", "--tokens", str(place / "tokenize")]
    command += ["--tokenizer", str(place / "tokenizer"), "--out", "artifacts/pretrain"]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, cwd=tmp_path / "whole", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    child = subprocess.Popen(command, cwd=tmp_path / "killed", env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").rglob("state/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "killed/artifacts/pretrain").exists()
    done = subprocess.run(command, cwd=tmp_path / "killed", env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "resumed at step" in done.stdout
    whole, again = (tmp_path / name / "artifacts/pretrain/model.safetensors" for name in ("whole", "killed"))
    assert filecmp.cmp(whole, again, shallow=False)
    reports = [(tmp_path / name / "reports/pretrain.json").read_text() for name in ("whole", "killed")]
    assert reports[0] == reports[1]
