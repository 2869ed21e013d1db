"""Needles lie where they should, and bits land in the quarter where their token stands."""

import json
import math

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from evals.long_context import DRAWS, LENGTHS, bits_by_quarter, documents, long_context, needles

FILLER = [0, *range(300, 340), 2, 0, *range(340, 380), 2]


def encode(text):
    return [byte + 3 for byte in text.encode()]


def decode(ids):
    return bytes(token - 3 for token in ids if 3 <= token < 259).decode(errors="ignore")


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_a_needle_holds_its_fact_once_and_fills_its_share_of_the_context(lang):
    found = list(needles(FILLER, encode, lang, 1024))
    for needle in found:
        right, *wrong = (decode(choice).strip() for choice in needle.choices)
        text = decode(needle.prefix)
        assert text.count(right) == 1 and not any(value in text for value in wrong)
        assert len(needle.prefix) + max(map(len, needle.choices)) == int(needle.length * 1024)
        place = next(i for i in range(len(needle.prefix)) if decode(needle.prefix[:i]).count(right))
        assert abs(place / (1024 * needle.length) - needle.depth) < 0.35
        assert needle.prefix[0] == 0 and not {1, 2} & set(needle.prefix)
    assert len(found) == len(LENGTHS) * 3 * DRAWS
    assert found == list(needles(FILLER, encode, lang, 1024))


def test_only_long_documents_count_and_they_are_cut_at_the_context():
    assert documents([0, 5, 2, 0, *range(10, 30), 2], 16) == [[0, *range(10, 25)]]


def test_bits_fall_into_the_quarter_of_their_token_and_specials_hold_none():
    bits = math.log(2)
    scored = iter([([0, 7, 8, 9, 2], [4 * bits, 4 * bits, 2 * bits, 99.0])])
    assert bits_by_quarter(scored, lambda token: 2, 8) == {"quarter 1": 2.0, "quarter 2": 1.0}


def test_a_model_is_judged_with_its_tokenizer_on_held_out_shards(tmp_path):
    from models.shapes import Shape, build

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: n for n, letter in enumerate(["<s>", "<pad>", "</s>", *letters])}
    coder = Tokenizer(models.BPE(vocabulary, []))
    coder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    coder.save(str(tmp_path / "tokenizer.json"))
    import numpy as np

    phases = {}
    for phase in ("validation_ko", "validation_en"):
        ids = np.array([0, *range(3, 203), 2], "<u2")
        ids.tofile(tmp_path / f"{phase}.bin")
        phases[phase] = {"tokens": len(ids), "starts": [0]}
    index = {"dtype": "uint16", "vocabulary": len(vocabulary), "phases": phases}
    (tmp_path / "index.json").write_text(json.dumps(index))
    model = build(Shape(320, 32, 64, 1, 2, 1, 16, tied=True, rope_theta=1e4, context=32), seed=0)
    found = long_context(model, tokens=tmp_path, tokenizer=tmp_path, context=256)
    assert set(found["needle"]) >= {"ko", "en", "1 of the context", "depth 0.5"}
    assert list(found["bpb"]["ko"]) == ["quarter 1", "quarter 2", "quarter 3", "quarter 4"]
    assert found["bpb"]["ko"]["quarter 1"] == pytest.approx(math.log2(320), abs=0.3)
