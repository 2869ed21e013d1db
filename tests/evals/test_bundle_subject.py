"""The bundle subject asks the runtime what the torch subject asks torch, and hears the same."""

import numpy as np
import pytest

from evals import questions as quiz
from evals.bundle_subject import BundleSubject
from evals.metrics import continuation, divergence
from evals.subject import open_subject, size_bytes
from export import checkpoint, gguf, manifest


@pytest.fixture(scope="module")
def bundle(hf_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "gguf-f16"
    folder.mkdir()
    parent, card = checkpoint.read(hf_folder), gguf.Card("tiny", "instruct", "v0.1", "mit", ("ko", "en"), "tiny")
    gguf.make(parent, card, "F16", folder)
    manifest.write(folder, name="gguf-f16", parent=parent, card=card, lineage={})
    return folder


@pytest.fixture(scope="module")
def both(hf_folder, bundle):
    torch, runtime = open_subject(hf_folder), open_subject(bundle)
    assert isinstance(runtime, BundleSubject)
    yield torch, runtime
    runtime.close()


def test_ids_logits_and_replies_equal_torch(both):
    torch, runtime = both
    text = "질문: 대한민국의 수도는 <|eot_id|> #@이름@# 1945?"
    assert (runtime.bos, runtime.context, runtime.encode(text)) == (torch.bos, torch.context, torch.encode(text))
    ids = [torch.bos, *torch.encode(text)][:64]
    np.testing.assert_allclose(runtime.logits(ids), torch.logits(ids), atol=0.1, rtol=0.02)  # weights rounded to 16 bit
    chat = [{"role": "user", "content": "수도는?"}]
    tools = [{"name": "add", "description": "", "parameters": {}}]
    assert runtime.chat_ids(chat, tools) == torch.chat_ids(chat, tools)
    prompts = [torch.chat_ids(chat), ids[:20], ids[:21]]
    assert [reason for _, reason in runtime.complete(prompts, 6)] == ["length"] * 3
    assert runtime.generate(chat, 6)[1] == torch.generate(chat, 6)[1] == "length"
    assert divergence(runtime, torch, ["대한민국의 수도는 서울 " * 9], max_positions=60)["kl_parent"] < 1e-3


def test_leaving_out_choices_that_cannot_win_changes_no_answer(both, questions):
    _, runtime = both
    asked = [x._replace(choices=["서울 1945", "Seoul", "the capital", str(i)]) for i, x in enumerate(questions[::8])]
    marks = quiz.ask(runtime, asked)
    for question, mark in zip(asked, marks, strict=True):
        prompt = [runtime.bos, *runtime.encode(quiz.plain_prompt(question))]
        whole = []
        for choice in (runtime.encode(f" {choice}") for choice in question.choices):
            whole.append(continuation(runtime.logits([*prompt, *choice])[len(prompt) - 1 : -1], choice))
        best = max(range(4), key=whole.__getitem__)
        assert mark == (best == question.answer)


def test_size_counts_every_file_of_a_bundle(bundle):
    assert size_bytes(bundle) == sum(file.stat().st_size for file in bundle.iterdir())
    assert {file.suffix for file in bundle.iterdir()} == {".gguf", ".json", ""}  # the last is the Modelfile


def test_a_chat_that_fills_the_context_is_an_error(both):
    with pytest.raises(ValueError, match="shorten"):
        both[1].generate([{"role": "user", "content": "가나다 " * 100}], 5)
