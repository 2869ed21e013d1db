"""What a vocabulary is made of: kinds, unused tokens, compression, and smaller vocabularies from its first merges."""

import numpy as np
import pyarrow as pa
import pytest

from corpus import bpe, pretokens, vocabulary

TEXT = ["프랑스의 수도는 파리이다. 프랑스는 유럽에 있다.", "The capital of France is Paris, 12345 km away."] * 30
WORDS = pretokens.occurrences(pa.array(TEXT), np.ones(len(TEXT)))


@pytest.fixture(scope="module")
def tokenizer():
    return bpe.learn(WORDS, vocab_size=350, min_frequency=2)


@pytest.mark.parametrize(
    "text, expected",
    [
        (" 프랑스", "hangul"),
        ("(가", "hangul"),
        (" the", "latin"),
        ("Seoul에서", "mixed hangul"),
        ("123", "digits"),
        ("漢", "other letters"),
        (" ...", "marks and spaces"),
        ("\n\n", "marks and spaces"),
    ],
)
def test_a_token_is_of_the_script_that_it_is_made_of(text, expected):
    assert vocabulary.kind(text) == expected


def test_every_token_but_the_special_ones_is_counted_once_and_the_unused_are_named(tokenizer):
    about = vocabulary.about(tokenizer, WORDS)
    assert sum(about["kinds"].values()) == 350 - len(bpe.FIRST) - len(bpe.LAST)
    used = {token for text in TEXT for token in tokenizer.encode(text).ids}
    assert about["unused"]["all"] == 350 - len(bpe.FIRST) - len(bpe.LAST) - len(used)
    assert len(about["longest"][0]) == max(map(len, about["longest"]))


def test_compression_is_of_each_language_and_domain(tokenizer):
    rows = [{"lang": "ko", "domain": "general", "text": TEXT[0]}, {"lang": "ko", "domain": "law", "text": TEXT[0] * 2}]
    found = vocabulary.compression(tokenizer, rows)
    assert list(found) == ["ko", "ko/general", "ko/law"]
    assert found["ko"]["bytes"] == 3 * len(TEXT[0].encode())
    tokens = len(tokenizer.encode(TEXT[0]).ids)
    assert found["ko/general"]["tokens_per_word"] == pytest.approx(tokens / 6, abs=1e-4)


def test_a_shortened_vocabulary_is_the_one_that_would_have_been_learnt(tokenizer):
    learnt = bpe.learn(WORDS, vocab_size=320, min_frequency=2)
    assert bpe.shortened(tokenizer, 320).to_str() == learnt.to_str()
