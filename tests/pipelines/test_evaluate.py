"""The evaluate stage on a tiny random model: the exact keys, the laws between them, errors."""

import json
from pathlib import Path

import pytest

from corpus import bpe, shards
from evals.material import MaterialError
from evals.trials import Portion
from pipelines import evaluate
from pipelines._journal import Journal

KEYS = {
    *(
        f"{key}_{lang}"
        for key in ("bpb", "qa", "n_qa", "n_bytes", "chat", "marks", "nats", "bytes")
        for lang in ("ko", "en")
    ),
    *(f"qa_{lang}_{end}" for lang in ("ko", "en") for end in ("low", "high")),
    *("kl_parent", "kl_parent_p999", "top1_parent", "n_positions", "size_bytes", "chance", "n_chat"),
    *("trials", "trials_too_long", "few_shot", "held_back"),
}
GREETINGS = Path(__file__).parents[2] / "data/sample/greetings.jsonl"
PARAMS = evaluate.Params(
    max_questions=6,
    max_validation_bytes=300,
    kl_tokens=90,
    max_new_tokens=4,
    trial_tokens=6,
    held_back_replies=1,
    shots=1,
    portions={"x": Portion(chat_questions=50, few_shot_questions=3, trials=1, held_back=2)},
    others=Portion(chat_questions=2, few_shot_questions=0, trials=0, held_back=0),
    seed=1,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    root = tmp_path_factory.mktemp("evaluate")
    texts = {
        "ko": "대한민국의 수도는 서울이다. 한강이 흐른다.",
        "en": "The capital of Korea is Seoul. The Han flows there.",
    }
    tokenizer = bpe.train([*texts.values()] * 3, vocab_size=320, min_frequency=1)
    for seed, name in enumerate(("parent", "model")):
        bpe.save(tokenizer, root / name, context=64)
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, max_position_embeddings=64, initializer_range=0.3,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(root / name)
    shards.write(
        root / "mix" / "validation",
        [
            {"id": f"{lang}{i}", "lang": lang, "text": f"{i} {text}" * 2}
            for i in range(9)
            for lang, text in texts.items()
        ],
    )
    fixed = {"relation": "r", "fact": "f", "choices": ["가", "서울", "Seoul", "1"]}
    rows = [
        fixed | {"id": str(i), "lang": lang, "question": f"{i}?", "answer": i % 4} for lang in texts for i in range(8)
    ]
    (root / "synthesize").mkdir()
    (root / "synthesize" / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"role": "user", "content": "1+1?"}]
    trials = [
        {"id": f"{lang}{n}", "lang": lang, "kind": "passage", "messages": asked, "expected": ["2"]}
        for lang in texts
        for n in range(3)
    ]
    (root / "synthesize" / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trials))
    said = {
        "messages": [*asked, {"role": "assistant", "content": "2!"}],
        "lang": "en",
        "kind": "given",
        "source": "mine",
    }
    (root / "synthesize" / "held_back.jsonl").write_text("".join(json.dumps({"id": n} | said) + "\n" for n in range(3)))
    solved = {"ko": "질문: 어디?\n답: 여기", "en": "Question: where?\nAnswer: here"}
    pairs = [{"id": lang, "lang": lang, "text": "\n\n".join([text] * 4)} for lang, text in solved.items()]
    shards.write(root / "synthesize" / "documents", pairs)
    return root


def run(place, tmp_path, **change):
    (tmp_path / "out").mkdir(parents=True)
    call = {
        "model": place / "model",
        "parent": place / "parent",
        "documents": place / "mix",
        "questions": place / "synthesize",
        "greetings": GREETINGS,
    }
    journal = Journal.offline("evaluate@x", tmp_path)
    evaluate.main(**{"subject": "x"} | call | change, out=tmp_path / "out", params=PARAMS, journal=journal)
    return json.loads((tmp_path / "reports" / "evaluate@x.json").read_text())


def test_the_report_has_exactly_the_agreed_keys_and_holds_no_clock(place, tmp_path):
    found = run(place, tmp_path / "1")
    assert set(found) == KEYS
    assert found == run(place, tmp_path / "2")
    assert found["n_qa_ko"] == found["n_qa_en"] == found["n_chat"] == 6 and found["n_positions"] == 90
    assert found["qa_ko_low"] <= found["qa_ko"] <= found["qa_ko_high"] and found["kl_parent"] > 0
    assert (
        300 <= found["n_bytes_ko"] < 600
        and found["size_bytes"] == (place / "model" / "model.safetensors").stat().st_size
    )


@pytest.mark.parametrize("parent", [None, "model"])
def test_without_a_parent_other_than_itself_its_keys_are_null(place, tmp_path, parent):
    found = run(place, tmp_path, parent=parent and place / parent)
    assert set(found) == KEYS
    assert found["kl_parent"] is found["kl_parent_p999"] is found["top1_parent"] is None


def test_a_subject_is_asked_its_portion_and_every_other_one_what_others_are(place, tmp_path):
    found = run(place, tmp_path / "x")
    assert found["trials"]["passage"]["ko"]["right"]["n"] == 1 and found["trials"]["question"]["en"]["right"]["n"] == 6
    assert found["few_shot"]["ko"]["n"] == 3 and len(found["held_back"]["mine"]["nats"]) == 2
    rows = [json.loads(line) for line in (tmp_path / "x" / "out" / "replies.jsonl").read_text().splitlines()]
    kinds = [row["kind"] for row in rows]
    assert kinds == ["question"] * 12 + ["greeting"] * 2 + ["passage"] * 2 + ["held back"]
    other = run(place, tmp_path / "y", subject="y")
    assert set(other["trials"]) == {"question"} and other["n_chat"] == 2 and other["few_shot"]["ko"]["n"] == 0
    assert (
        other["trials"]["question"]["ko"]["right"]["marks"] == found["trials"]["question"]["ko"]["right"]["marks"][:2]
    )


def test_speeds_lie_in_the_log(place, tmp_path):
    run(place, tmp_path)
    log = (tmp_path / "logs" / "evaluate@x.jsonl").read_text()
    assert all(f"perf/{key}" in log for key in ("load_seconds", "decode_tokens_per_s", "peak_rss_mib"))


def test_an_empty_question_file_is_an_error_before_any_model_is_loaded(place, tmp_path):
    (tmp_path / "questions.jsonl").write_text("")
    with pytest.raises(MaterialError, match="is empty"):
        run(place, tmp_path / "run", questions=tmp_path, model=tmp_path / "nowhere")
