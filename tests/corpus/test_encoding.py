"""Texts encoded by their distinct words have the ids that the tokenizer gives them whole."""

import random

import pytest
from midm_mini.format import CONTROL_TOKENS, PII_PLACEHOLDERS

from corpus import bpe, encoding
from corpus.reading import read_folder
from tests import house

SAMPLE = [row["text"] for row in read_folder(house.ROOT / "data/sample/text", max_record_bytes=1 << 24)]
PARTS = [*" \n\r\t.,'", "'s", "'LL", "가", "각나", "a", "é", "1", "２34", "½", "!!", "👍🏽", "\u3000", "\x00", "\u2028"]


@pytest.fixture(scope="module")
def tokenizer():
    return bpe.train(SAMPLE, vocab_size=2048, min_frequency=2)


def whole(tokenizer, texts):
    tokenizer.encode_special_tokens = True
    return [coded.ids for coded in tokenizer.encode_batch(texts, add_special_tokens=False)]


def test_real_text(tokenizer):
    assert [ids.tolist() for ids in encoding.encode(tokenizer, SAMPLE)] == whole(tokenizer, SAMPLE)


@pytest.mark.parametrize("seed", range(10))
def test_random_text_with_placeholders_and_control_tokens(tokenizer, seed):
    draw = random.Random(seed)
    parts = [*PARTS, *PII_PLACEHOLDERS[:2], *CONTROL_TOKENS] if seed % 2 else PARTS[:-2]
    texts = ["".join(draw.choices(parts, k=draw.randrange(60))) for _ in range(400)]
    assert [ids.tolist() for ids in encoding.encode(tokenizer, texts)] == whole(tokenizer, texts)


def test_no_text_has_no_ids(tokenizer):
    assert encoding.encode(tokenizer, []) == [] and [len(ids) for ids in encoding.encode(tokenizer, ["", "a"])] == [
        0,
        1,
    ]
