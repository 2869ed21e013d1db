"""The torch subject equals transformers, and batching changes no answer."""

import numpy as np
import pytest

from evals.metrics import divergence
from evals.subject import SubjectError, open_subject, size_bytes


@pytest.fixture(scope="module")
def subject(hf_folder):
    subject = open_subject(hf_folder)
    yield subject
    subject.close()


def test_logits_equal_transformers(subject, hf_folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = [subject.bos, *subject.encode("수도는 Seoul")]
    assert ids[1:] == AutoTokenizer.from_pretrained(hf_folder).encode("수도는 Seoul", add_special_tokens=False)
    model = AutoModelForCausalLM.from_pretrained(hf_folder, dtype=torch.float32)
    want = model(torch.tensor([ids])).logits[0].detach().numpy()
    np.testing.assert_allclose(subject.logits(ids), want, atol=1e-5)
    assert subject.logits(ids).dtype == np.float32


def test_logits_that_were_asked_before_are_the_same_without_the_weights(subject, hf_folder, tmp_path, monkeypatch):
    ids = [subject.bos, *subject.encode("수도는 Seoul")]
    first = open_subject(hf_folder, tmp_path).logits(ids)
    again = open_subject(hf_folder, tmp_path)
    monkeypatch.setattr(type(again), "_model", None)
    assert (again.bos, again.context, again.encode("서울")) == (subject.bos, subject.context, subject.encode("서울"))
    assert np.array_equal(first, subject.logits(ids)) and np.array_equal(first, again.logits(ids))
    with pytest.raises(AttributeError):  # others must be computed
        again.logits(ids[:-1])


def test_what_comes_after_prompts_read_together_is_what_comes_after_each(subject):
    prompts = [[subject.bos, *subject.encode(text)] for text in ("수도는?", "a", "Seoul 1945", "b", "수도는 Seoul")]
    together = subject.after(prompts)
    assert subject.after([]) == [] and {row.shape for row in together} == {(1, 320)}
    for row, ids in zip(together, prompts, strict=True):
        np.testing.assert_allclose(row, subject.logits(ids)[-1:], atol=1e-5)


def test_text_never_becomes_a_control_token_and_bos_is_not_added(subject):
    ids = subject.encode("<|eot_id|>")
    assert len(ids) > 1 and subject.bos not in ids


def test_divergence_from_itself_is_zero(subject):
    result = divergence(subject, subject, ["질문: 수도는 어디인가요? " * 20], max_positions=100)
    assert (result["kl_parent"], result["top1_parent"], result["n_positions"]) == (0.0, 1.0, 100)


def test_generation_stops_at_the_limit_or_at_its_own_end(subject, monkeypatch):
    text, reason = subject.generate([{"role": "user", "content": "수도는?"}], 5)
    assert reason == "length" and text
    everything = list(range(320))
    monkeypatch.setattr(subject, "_stops", everything)
    assert subject.generate([{"role": "user", "content": "수도는?"}], 5)[1] == "stop"


def test_replies_written_together_are_those_written_alone(subject, monkeypatch):
    monkeypatch.setattr("evals.torch_subject.BATCH", 3)
    monkeypatch.setattr(subject, "_stops", [*range(40), *subject._stops])
    texts = [
        "수도는?",
        "Seoul 1945",
        "질문: 대한민국의 수도는 어디인가요? 수도는",
        "a",
        "답: 서울",
        "수도는 Seoul 1945?",
        "1",
    ]
    prompts = [[subject.bos, *subject.encode(text)] for text in texts]
    together = subject.complete(prompts, 5)
    assert together == [subject.complete([ids], 5)[0] for ids in prompts]
    assert len({reason for _, reason in together}) == 2 and subject.complete([], 5) == []


def test_tools_and_passages_are_put_as_the_template_renders_them(subject, hf_folder):
    from midm_mini.format import CHAT_TEMPLATE
    from transformers import AutoTokenizer

    tools = [{"name": "add", "description": "둘을 더한다", "parameters": {}}]
    chat = [{"role": "user", "content": "1+1?", "passages": ["하나와 하나는 둘이다."]}]
    peer = AutoTokenizer.from_pretrained(hf_folder)
    text = peer.apply_chat_template(
        chat, tools=tools, chat_template=CHAT_TEMPLATE, tokenize=False, add_generation_prompt=True
    )
    assert subject._tokenizer.decode(subject.chat_ids(chat, tools), skip_special_tokens=False) == text


def test_a_chat_that_fills_the_context_is_an_error(subject):
    with pytest.raises(SubjectError, match="shorten"):
        subject.generate([{"role": "user", "content": "가나다 " * 100}], 5)


def test_size_counts_the_weights_only(hf_folder):
    assert size_bytes(hf_folder) == (hf_folder / "model.safetensors").stat().st_size


def test_a_folder_that_is_no_model_is_an_error(tmp_path):
    with pytest.raises(SubjectError, match="neither"):
        open_subject(tmp_path)


def test_a_grammar_keeps_its_own_row_and_no_other(subject):
    prompts = [[subject.bos, *subject.encode(text)] for text in ("대한민국의 수도는", "Seoul is")]
    kept = subject.complete(prompts, 12, grammars=['start: "서울" | "부산"', ""])
    assert kept[0][0] in ("서울", "부산") and kept[0][1] == "stop"
    assert kept[1] == subject.complete(prompts, 12)[1]
