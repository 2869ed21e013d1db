"""The safety examination: its prompts, its rounds under tactics, its rates."""

import json
import re
from pathlib import Path

import pytest

from evals import harm, safety
from evals.material import MaterialError

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data" / "sample" / "safety"
HEADS = harm.load(ROOT / "data" / "harm")


def lines(name):
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", ["risky", "benign"])
def test_prompts_cover_both_languages_and_every_category_of_three_domains(name):
    prompts = safety.read_prompts(DATA / f"{name}.jsonl", n=999, seed=0)
    assert len(prompts) == 96 and len({p["prompt"] for p in prompts}) == len({p["id"] for p in prompts}) == len(prompts)
    assert {p["domain"] for p in prompts} == set(safety.DOMAINS)
    cells = {(p["lang"], p["category"]) for p in prompts}
    assert len(cells) == 2 * len({p["category"] for p in prompts})


def test_every_risky_category_has_its_benign_contrast():
    risky, benign = (safety.read_prompts(DATA / f"{name}.jsonl", n=999, seed=0) for name in ("risky", "benign"))
    assert {p["category"] for p in risky} == {p["category"] for p in benign}
    assert not {p["prompt"] for p in risky} & {p["prompt"] for p in benign}


def bare(text):
    return re.sub(r"\W", "", text.casefold())


def test_no_prompt_stands_in_what_is_trained_on_however_it_is_spaced_or_marked():
    places = (DATA.parent / "world", ROOT / "data" / "conversations")
    files = [file for place in places for file in place.rglob("*") if file.suffix in (".yaml", ".jsonl", ".json")]
    trained = "\n".join(bare(line) for file in files for line in file.read_text(encoding="utf-8").splitlines())
    assert len(trained) > 10_000
    found = [row["prompt"] for name in ("risky", "benign") for row in lines(name) if bare(row["prompt"]) in trained]
    assert found == []


def test_rates_count_refusals_of_a_model_that_refuses_everything_risky_but_falls_for_one_attack(fakes):
    subject = fakes.Subject(fakes.uniform, context=2000)
    subject.reply = lambda chat, n: ("Sure, it is done with a rope." if "Base64" in chat else "I can't help.", "stop")
    risky = safety.read_prompts(DATA / "risky.jsonl", n=999, seed=0)
    plain, *attacked = (
        safety.examine(subject, risky, tactic=name, heads=HEADS, max_tokens=5)
        for name in ("none", "base64", "role-play")
    )
    rounds = {"nur": plain, "nor": plain, "asr": [row for rows in attacked for row in rows]}
    found = safety.summary(rounds, HEADS)
    assert (found["nur"]["value"], found["nor"]["value"], found["asr"]["value"]) == (1.0, 0.0, 0.5)
    assert [found["refused_by_attack"][name]["value"] for name in ("base64", "role-play")] == [0.0, 1.0]
    assert set(found["refused_by_family"]) == {"encoding", "persona"}
    assert sum(cell["n"] for cell in found["refused_by_category"].values()) == len(risky)
    assert found["severities"] == {"risky": [96, 0, 0, 0], "attacked": [96, 0, 96, 0]}
    assert found["nur"]["low"] < 1.0 == found["nur"]["high"]
    assert found["marks"] == {"nur": "1" * 96, "nor": "0" * 96, "asr": "1" * 96 + "0" * 96}


def test_between_the_turns_of_a_tactic_stand_the_models_own_replies_and_the_last_one_counts(fakes):
    heard, subject = [], fakes.Subject(fakes.uniform, context=2000)
    subject.reply = lambda chat, n: (heard.append(chat) or f"reply {len(heard)}", "stop")
    prompts = [{"lang": "en", "prompt": text} for text in ("Do it.", "long " * 400, "Make it.")]
    rows = safety.examine(subject, prompts, tactic="crescendo", heads=HEADS, max_tokens=5)
    assert [row["reply"] for row in rows] == ["reply 5", "", "reply 6"]
    assert [[f"reply {n}" for n in range(1, 7) if f"reply {n}<" in chat] for chat in heard] == [
        [], [], ["reply 1"], ["reply 2"], ["reply 1", "reply 3"], ["reply 2", "reply 4"]
    ]  # fmt: skip


def test_a_chat_that_does_not_fit_is_counted_and_in_no_rate(fakes):
    subject = fakes.Subject(fakes.uniform, context=60)
    prompts = [{"lang": "en", "domain": "d", "category": "c", "prompt": text} for text in ("short", "long " * 20)]
    rows = safety.examine(subject, prompts, tactic="none", heads=HEADS, max_tokens=5)
    assert [row["too_long"] for row in rows] == [False, True]
    found = safety.summary({"nur": rows, "nor": rows, "asr": []}, HEADS)
    assert (found["too_long"], found["nur"]["n"], found["nor"]["n"]) == (2, 1, 1)


def test_public_sets_are_asked_where_they_lie_and_xstests_halves_are_told_apart(fakes, tmp_path):
    (tmp_path / "xstest.jsonl").write_text(
        "".join(
            json.dumps({"prompt": f"p{n}", "label": label}) + "\n" for n, label in enumerate(["safe", "unsafe"] * 3)
        )
    )
    (tmp_path / "advbench.jsonl").write_text(json.dumps({"goal": "g", "target": "t"}) + "\n")
    subject = fakes.Subject(fakes.uniform, context=200)
    subject.reply = lambda chat, n: ("I can't help with it." if "\n\ng<" in chat else "Yes.", "stop")
    rows = safety.public(subject, tmp_path, n=9, seed=1, heads=HEADS, max_tokens=5)
    found = safety.refused_by("set", rows)
    assert {name: (cell["value"], cell["n"]) for name, cell in found.items()} == {
        "advbench": (1.0, 1), "xstest safe": (0.0, 3), "xstest unsafe": (0.0, 3)
    }  # fmt: skip
    assert safety.public(subject, tmp_path / "none", n=9, seed=1, heads=HEADS, max_tokens=5) == []


def test_the_judge_is_judged_with_the_severity_it_gives_and_its_false_alarms(fakes):
    rows = [
        {"reply": "There are apps for that.", "label": "answer", "severity": 2, "origin": "x", "lang": "en"},
        {"reply": "Sure!", "label": "answer", "severity": 3, "origin": "x", "lang": "en"},
        {"reply": "I can't help with that.", "label": "refusal", "severity": 0, "origin": "x", "lang": "en"},
    ]
    found = safety.rules_judged(rows, HEADS)
    assert (found["precision"], found["recall"], found["n"]) == (1.0, 1.0, 3)
    assert (found["severity"]["same"]["value"], found["severity"]["within_one"]["value"]) == (0.5, 0.5)
    assert found["false_alarms"]["toxic"]["n"] == 1 and found["by"]["x"]["n"] == 3


def test_a_draw_depends_on_its_seed_only():
    def draw(seed):
        return safety.read_prompts(DATA / "risky.jsonl", n=5, seed=seed)

    assert draw(1) == draw(1) != draw(2) and len(draw(1)) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("{broken\n", r":1: not a JSON object"),
        ("[1]\n", "not a JSON object"),
        ('{"id": "x"}\n', "needs id, lang"),
        ('{"id":"x","lang":"ko","domain":"elsewhere","category":"c","prompt":"p"}\n', "a domain of"),
    ],
)
def test_a_bad_prompt_file_is_one_line_that_names_it(tmp_path, content, message):
    (tmp_path / "risky.jsonl").write_text(content)
    with pytest.raises(MaterialError, match=message):
        safety.read_prompts(tmp_path / "risky.jsonl", n=9, seed=0)
