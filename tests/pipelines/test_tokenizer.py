"""The stage learns from phase 1 alone, as its numbers say, and reports what the vocabulary is worth."""

import json

import pytest
from tokenizers import Tokenizer

from corpus import shards
from pipelines import tokenizer
from pipelines._journal import Journal

NUMBERS = {
    "vocab_size": 340,
    "min_frequency": 1,
    "max_characters": 1_000_000,
    "count": "occurrences",
    "digits": "grouped",
    "boundary": "none",
    "bounded": 1.0,
    "spaced": 0.0,
    "weights": {},
    "context": 64,
}
ROWS = [
    *(
        {"id": f"k{n}", "lang": "ko", "domain": "general", "text": f"학교에서는 {2000 + n}년에 배웠다. 학교는 크다."}
        for n in range(40)
    ),
    *(
        {"id": f"e{n}", "lang": "en", "domain": "law", "text": f"The court of {2000 + n} held that the law holds."}
        for n in range(40)
    ),
]
CALL = {"name": "wetterbericht", "arguments": {"city": "Seoul"}}
CHATS = [{"lang": "en", "messages": [{"role": "assistant", "content": "", "tool_calls": [CALL]}]}] * 100


@pytest.fixture
def learn(tmp_path):
    shards.write(tmp_path / "mix/phase1", ROWS)
    shards.write(tmp_path / "mix/validation", ROWS[35:45])
    (tmp_path / "chats").mkdir()

    def run(chats=(), **changed):
        shards.write_lines(tmp_path / "chats/dialogues.jsonl", chats)
        out, params = tmp_path / f"out{len(list(tmp_path.iterdir()))}", tokenizer.Params(**NUMBERS | changed)
        out.mkdir()
        scratch = out / "scratch"
        journal = Journal.offline("tokenizer", tmp_path)
        folders = {"documents": tmp_path / "mix", "chats": tmp_path / "chats"}
        tokenizer.main(**folders, out=out, scratch=scratch, params=params, journal=journal)
        return Tokenizer.from_file(str(out / "tokenizer.json")), journal

    return run


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENMIDM_TRACKING", "off")


def tokens(made, text):
    return [made.decode([one]) for one in made.encode(text).ids]


def test_digits_come_in_groups_or_one_by_one(learn):
    assert "20" in tokens(learn()[0], "2010")
    assert tokens(learn(digits="single", vocab_size=320)[0], "2010") == ["2", "0", "1", "0"]


def test_words_of_chats_are_learnt_at_their_weight(learn):
    assert "wetterbericht" in tokens(learn(CHATS)[0], "wetterbericht")
    assert "wetterbericht" not in tokens(learn(CHATS, weights={"*/chat": 0.0})[0], "wetterbericht")


def test_morphemes_stay_apart_for_the_bounded_share(learn):
    own = tokens(learn(boundary="morphemes", vocab_size=326)[0], " 학교에서는")
    assert own[0] == " 학교" and own[-1] == "는"
    assert tokens(learn()[0], " 학교에서는")[-1] != "는"


def test_words_of_weight_zero_teach_nothing(learn):
    made, _ = learn(weights={"en/*": 0.0}, vocab_size=305)
    assert len(tokens(made, " court")) == len(" court")


def test_the_report_tells_compression_kinds_and_the_curve(learn, tmp_path):
    learn()
    report = json.loads((tmp_path / "reports/tokenizer.json").read_text(encoding="utf-8"))
    assert report["vocabulary"] == 340 and report["curve"]["340"].keys() == {"ko", "en"}
    assert report["compression"].keys() == {"ko", "ko/general", "en", "en/law"}
    assert sum(report["kinds"].values()) == 340 - 26
