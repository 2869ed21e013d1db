"""The gate lets the parent's own export through and refuses exports with one thing wrong."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import midm_mini
import numpy as np
import pytest
from midm_mini import MidmError
from midm_mini.format import render_chat

from export import checkpoint, gguf, verify, weights
from models import reference
from tests.export.parents import CARD, sentences

LIMITS = {"mean_kl": 1e-4, "tail_kl": 1e-3, "logit_gap": 0.1, "top1": 0.98, "greedy": 0.95}
TEXTS = list(sentences(60, seed=6))


@pytest.fixture(scope="module")
def truth(parent: checkpoint.Parent) -> Callable[[list[int]], np.ndarray]:
    return reference.logits(parent.folder)


def gate(bundle: Path, parent: checkpoint.Parent, truth: Any, **changes: Any) -> verify.Verdict:
    asked = {"card": CARD, "texts": TEXTS, "longest": 48} | LIMITS | changes
    return verify.verify(bundle, parent=parent, reference=truth, **asked)


def test_the_parent_s_own_export_passes(parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path) -> None:
    gguf.make(parent, card, "F16", tmp_path)
    verdict = gate(tmp_path, parent, truth)
    assert verdict.texts == len(TEXTS) + len(verify.HARD_TEXTS)
    assert verdict.greedy == 1
    assert verdict.positions > 500
    assert verdict.mean_kl < 1e-5


def other_config(**changes: Any) -> Callable[[checkpoint.Parent], checkpoint.Parent]:
    return lambda parent: dataclasses.replace(parent, config=parent.config | changes)


def without_last_merges(parent: checkpoint.Parent) -> checkpoint.Parent:
    model = parent.tokenizer["model"]
    shorter = model | {"merges": model["merges"][:-300]}
    return dataclasses.replace(parent, tokenizer=parent.tokenizer | {"model": shorter})


def controls_as_text(parent: checkpoint.Parent) -> checkpoint.Parent:
    tokens = [token | {"special": False} for token in parent.tokenizer["added_tokens"]]
    return dataclasses.replace(parent, tokenizer=parent.tokenizer | {"added_tokens": tokens})


WRONG_PARENTS = {
    "rope base": other_config(rope_parameters={"rope_theta": 10_000.0}),
    "norm epsilon": other_config(rms_norm_eps=1e-2),
    "key-value heads swapped for heads": other_config(num_attention_heads=2),
    "template whitespace": lambda parent: dataclasses.replace(parent, template=parent.template + " "),
    "no template": lambda parent: dataclasses.replace(parent, template=""),
    "pad is end of text": lambda parent: dataclasses.replace(parent, pad=2),
    "no end of turn": lambda parent: dataclasses.replace(parent, stops={"<|end_of_text|>": 2}),
    "stale merges": without_last_merges,
    "control tokens as plain text": controls_as_text,
}


WORDS = {
    "rope base": "rope base: the artifact says 10000.0",
    "norm epsilon": "norm epsilon: the artifact says",
    "key-value heads swapped for heads": "heads: the artifact says 2, its parent 4",
    "template whitespace": "chat template: from place",
    "no template": "chat template: from place 0",
    "pad is end of text": "pad id",
    "stale merges": "merges: from place 318",
    "control tokens as plain text": "kinds of tokens: from place 0",
    "no end of turn": "end of turn: the artifact says None",
    "one weight is not a number": "cannot hold",
}


@pytest.mark.parametrize("fault", WRONG_PARENTS)
def test_one_wrong_fact_is_refused(
    parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path, fault: str
) -> None:
    gguf.make(WRONG_PARENTS[fault](parent), card, "F32", tmp_path)
    with pytest.raises((verify.ArtifactRefused, MidmError)) as caught:
        gate(tmp_path, parent, truth)
    assert WORDS[fault] in str(caught.value)


def swapped(first: str, second: str) -> Callable[[dict[str, np.ndarray]], None]:
    def swap(weights: dict[str, np.ndarray]) -> None:
        weights[first], weights[second] = weights[second], weights[first]

    return swap


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda weights: weights.update({name: change(weights[name])})


LAYER = "model.layers.{}.{}.weight"
WRONG_WEIGHTS = {
    "gate and up swapped": swapped(LAYER.format(0, "mlp.gate_proj"), LAYER.format(0, "mlp.up_proj")),
    "values of two layers swapped": swapped(LAYER.format(0, "self_attn.v_proj"), LAYER.format(1, "self_attn.v_proj")),
    "queries of two layers swapped": swapped(LAYER.format(0, "self_attn.q_proj"), LAYER.format(1, "self_attn.q_proj")),
    "key heads in another order": changed(LAYER.format(0, "self_attn.k_proj"), lambda w: np.roll(w, 32, axis=0)),
    "last embedding row lost": changed("model.embed_tokens.weight", lambda w: np.roll(w, 1, axis=0)),
    "one weight is not a number": changed("model.norm.weight", lambda w: np.where(np.arange(len(w)) == 3, np.nan, w)),
    "output scaled": changed("model.norm.weight", lambda w: w * 1.02),
}


@pytest.mark.parametrize("fault", WRONG_WEIGHTS)
def test_one_wrong_tensor_is_refused(
    parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = dict(checkpoint.tensors(parent))
    WRONG_WEIGHTS[fault](held)
    with pytest.raises(ValueError) as caught:
        with monkeypatch.context() as exporting:
            exporting.setattr(checkpoint, "tensors", lambda _: iter(held.items()))
            gguf.make(parent, card, "F32", tmp_path)
        gate(tmp_path, parent, truth)
    assert WORDS.get(fault, "a row is off by") in str(caught.value)


def test_unpermuted_heads_are_refused_and_by_their_logits_alone_too(
    parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as exporting:
        exporting.setattr(gguf, "_as_llama_cpp", lambda name, weight, parent: weight)
        gguf.make(parent, card, "F32", tmp_path)
    with pytest.raises(verify.ArtifactRefused, match=r"q_proj.weight: a row is off by 1\.\d of its size"):
        gate(tmp_path, parent, truth)
    monkeypatch.setattr(weights, "distances", lambda bundle, parent: iter(()))
    with pytest.raises(verify.ArtifactRefused, match=r"mean_kl=0\.\d.* is outside"):
        gate(tmp_path, parent, truth)


@pytest.mark.parametrize("limit", ["mean_kl", "tail_kl", "logit_gap"])
def test_logits_beyond_a_limit_are_refused_with_the_figures(
    parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path, limit: str
) -> None:
    gguf.make(parent, card, "F32", tmp_path)
    off = {name: value * 1e9 if name != limit else value / 1e3 for name, value in LIMITS.items()}
    with pytest.raises(verify.ArtifactRefused, match=rf"Verdict.* is outside .*{limit}"):
        gate(tmp_path, parent, lambda ids: truth(ids) * 1.01, **off | {"top1": 0, "greedy": 0})


def test_generation_that_leaves_the_parent_s_path_is_refused(
    parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path
) -> None:
    gguf.make(parent, card, "F32", tmp_path)
    with pytest.raises(verify.ArtifactRefused, match=r"greedy=0\.\d+.* is outside"):
        gate(tmp_path, parent, lambda ids: -truth(ids), mean_kl=1e9, tail_kl=1e9, logit_gap=1e9, top1=0)


def test_a_generator_that_chooses_what_its_own_logits_do_not_is_refused(
    parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = midm_mini.Model.follow
    monkeypatch.setattr(midm_mini.Model, "follow", lambda *given: -real(*given))
    gguf.make(parent, card, "F32", tmp_path)
    with pytest.raises(verify.ArtifactRefused, match=r"step \d+ generates \d+, its logits say \d+"):
        gate(tmp_path, parent, truth)


def test_a_chat_that_another_renderer_writes_otherwise_is_refused(
    parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf.make(parent, card, "F32", tmp_path)
    monkeypatch.setattr(verify, "render_chat", lambda messages, tools: render_chat(messages, tools) + " ")
    with pytest.raises(verify.ArtifactRefused, match="chat by its own library: from place"):
        gate(tmp_path, parent, truth)


def test_a_second_bos_is_refused(
    parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gguf as format

    monkeypatch.setattr(
        format.GGUFWriter, "add_add_bos_token", lambda self, _: self.add_bool("tokenizer.ggml.add_bos_token", True)
    )
    gguf.make(parent, card, "F16", tmp_path)
    with pytest.raises(verify.ArtifactRefused, match="BOS before every text"):
        gate(tmp_path, parent, truth)


def test_an_artifact_too_coarse_for_its_limits_is_refused_with_its_figures(
    parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path
) -> None:
    gguf.make(parent, card, "Q4_K_M", tmp_path)
    with pytest.raises(verify.ArtifactRefused, match=r"mean_kl=.* is outside mean_kl"):
        gate(tmp_path, parent, truth)


def test_a_gate_without_texts_is_an_error_not_a_pass(
    parent: checkpoint.Parent, card: gguf.Card, truth: Any, tmp_path: Path
) -> None:
    gguf.make(parent, card, "F16", tmp_path)
    with pytest.raises(verify.ArtifactRefused, match="no text"):
        gate(tmp_path, parent, truth, texts=["", ""])


@pytest.mark.parametrize(
    ("said", "words"), [(None, "says None"), ([1e-5, 1e-3], "says .1e-05, 0.001."), ("1e-5", "says")]
)
def test_a_number_that_is_said_otherwise_is_refused_whatever_it_is(said: Any, words: str) -> None:
    verify._alike("norm epsilon", float(np.float32(1e-5)), 1e-5)
    with pytest.raises(verify.ArtifactRefused, match=words):
        verify._alike("norm epsilon", said, 1e-5)
