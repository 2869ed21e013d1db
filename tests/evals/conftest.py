"""Subjects whose predictions are known beforehand, and a tiny real Hugging Face folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from midm_mini.format import render_chat

from evals.questions import Question

VOCABULARY = 256 + 1
BOS = 256


class ByteSubject:
    """One token per byte; `rule(ids)` gives its logits, so that every score is known in advance."""

    bos = BOS

    def __init__(self, rule, name="fake", context=16, reply=lambda prompt, max_tokens: ("", "stop")):
        self.rule, self.name, self.context, self.reply, self.calls = rule, name, context, reply, []

    def encode(self, text):
        return list(text.encode())

    def logits(self, ids):
        assert ids[0] == BOS and len(ids) <= self.context
        self.calls.append(list(ids))
        return self.rule(ids)

    def after(self, prompts):
        return [self.logits(ids)[-1:] for ids in prompts]

    def chat_ids(self, messages, tools=()):
        return [BOS, *render_chat(messages, tools).encode()]

    def complete(self, prompts, max_tokens, stops=(), grammars=()):
        return [self.reply(bytes(ids[1:]).decode(), max_tokens) for ids in prompts]

    def follow(self, prompt, path):
        return self.logits([*prompt, *path[:-1]])[len(prompt) - 1 :]

    def generate(self, messages, max_tokens, tools=()):
        return messages[-1]["content"][:max_tokens], "stop"

    def close(self):
        pass


def uniform(ids):
    return np.zeros((len(ids), VOCABULARY), dtype=np.float32)


def oracle_of(right):
    """A rule that puts all weight on the byte that continues the one known text it finds itself in."""

    def rule(ids):
        logits = np.zeros((len(ids), VOCABULARY), dtype=np.float32)
        seen = bytes(i for i in ids if i < 256)
        for text in right:
            if seen[: text.rindex(b":") + 1] == text[: text.rindex(b":") + 1]:
                for t in range(min(len(ids), len(text))):
                    logits[t, text[t]] = 20.0
        return logits

    return rule


def noise(seed):
    def rule(ids):
        rng = np.random.default_rng([seed, *ids])
        return rng.normal(size=(len(ids), VOCABULARY)).astype(np.float32)

    return rule


@pytest.fixture
def fakes():
    """The classes and rules above, as one namespace."""
    from types import SimpleNamespace

    return SimpleNamespace(
        Subject=ByteSubject, uniform=uniform, oracle_of=oracle_of, noise=noise, V=VOCABULARY, BOS=BOS
    )


@pytest.fixture
def questions():
    return [
        Question(lang, "capital", f"{'수도' if lang == 'ko' else 'capital'} {i}?", ["aa", "bb", "cc", "dd"], i % 4)
        for lang in ("ko", "en")
        for i in range(40)
    ]


@pytest.fixture(scope="session")
def hf_folder(tmp_path_factory) -> Path:
    """A random two-layer Llama with the line's tokenizer layout."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    from corpus import bpe

    folder = tmp_path_factory.mktemp("models") / "tiny"
    text = [
        "질문: 대한민국의 수도는 어디인가요?\n답: 서울",
        "Question: What is the capital of Korea?\nAnswer: Seoul 1945",
    ]
    tokenizer = bpe.train(text * 4, vocab_size=320, min_frequency=1)
    bpe.save(tokenizer, folder, context=64)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=64, tie_word_embeddings=True, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == 320
    return folder
