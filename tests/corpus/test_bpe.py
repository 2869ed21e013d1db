"""The vocabulary: layout, exact round trips, particles cut off their stems, identical bytes from identical text."""

import json
import random
import unicodedata
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from midm_mini.format import CONTROL_TOKENS, PII_PLACEHOLDERS
from tokenizers import Tokenizer

from corpus import bpe, morphemes, pretokens, tally

TEXT = ["프랑스의 수도는 파리이다. 프랑스는 유럽에 있다.", "The capital of France is Paris, 12345 km away."] * 30


@pytest.fixture(scope="module")
def tokenizer():
    return bpe.train(TEXT, vocab_size=340, min_frequency=2)


def test_the_layout_is_the_references(tokenizer):
    assert [tokenizer.id_to_token(i) for i in range(3)] == ["<|begin_of_text|>", "<pad>", "<|end_of_text|>"]
    last = [tokenizer.id_to_token(i) for i in range(340 - 18 - 5, 340)]
    assert last == [*CONTROL_TOKENS[3:], *PII_PLACEHOLDERS] and tokenizer.get_vocab_size() == 340


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "한글과 English\n\n\t섞임  ",
        unicodedata.normalize("NFD", "각 나라"),
        "👩‍👩‍👧🇰🇷",
        "a\u200b\x00b",
        "١٢٣½",
    ],
)
def test_decoding_gives_back_every_byte(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_all_of_hangul_and_random_unicode_come_back(tokenizer):
    """A million strings: benchmarks/tokenizer_runtimes.py."""
    draw = random.Random(1)
    blocks = ((0xAC00, 0xD7A4), (0x1100, 0x1200), (0x3130, 0x3190), (0xA960, 0xA980), (0xD7B0, 0xD800))
    hangul = [chr(code) for block in blocks for code in range(*block)]
    planes = [range(1, 0x80), range(0x80, 0xD800), range(0xE000, 0x10000), range(0x10000, 0x110000)]
    made = ["".join(chr(draw.choice(draw.choice(planes))) for _ in range(draw.randint(1, 24))) for _ in range(5000)]
    texts = [*hangul, *(unicodedata.normalize("NFD", text) for text in hangul), *made]
    ids = [coded.ids for coded in tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert tokenizer.decode_batch(ids, skip_special_tokens=False) == texts


def test_content_that_spells_a_control_token_stays_text(tokenizer):
    coder = Tokenizer.from_str(tokenizer.to_str())
    coder.encode_special_tokens = True
    control = {coder.token_to_id(token) for token in CONTROL_TOKENS}
    for token in CONTROL_TOKENS:
        ids = coder.encode(f"가{token}{token} b", add_special_tokens=False).ids
        assert control.isdisjoint(ids) and coder.decode(ids, skip_special_tokens=False) == f"가{token}{token} b"


def test_single_digits_need_no_other_regex():
    text = [f"번호 {n} {n}" for n in range(300)]
    words = pretokens.occurrences(pa.array(text), np.ones(len(text)))
    made = bpe.learn(bpe.parts(words, morphemes.digits), vocab_size=287, min_frequency=1)
    assert made.encode("2026").tokens == ["2", "0", "2", "6"]


def test_particles_are_not_merged_into_their_stems(tokenizer):
    pieces = [[tokenizer.decode([i]) for i in tokenizer.encode(t).ids] for t in (" 프랑스의", " 프랑스는", " 프랑스")]
    assert pieces == [[" 프랑스", "의"], [" 프랑스", "는"], [" 프랑스"]]


def test_kiwi_finds_where_morphemes_meet():
    words = [" 학교에서는", "먹었다", " 했습니다", " Seoul에서", "abc", " 나"]
    found = zip(words, morphemes.morphemes(words), strict=True)
    parts = [[word[a:b] for a, b in pairwise([0, *cuts, len(word)])] for word, cuts in found]
    assert parts == [
        [" 학교", "에서", "는"],
        ["먹", "었", "다"],
        [" 했", "습니다"],
        [" Seoul", "에서"],
        ["abc"],
        [" 나"],
    ]


@pytest.mark.parametrize("bounded, whole", [(1.0, False), (0.95, True)])
def test_merges_cross_a_boundary_only_when_the_bounded_share_is_learnt(bounded, whole):
    words = tally.of_mapping({" 학교에서는": 900, " 학교": 500, " 강에서는": 300, "에서": 400, "abc": 2000})
    made = bpe.learn(words, cuts=[(morphemes.morphemes, bounded)], min_frequency=1, vocab_size=299)
    assert (len(made.encode(" 학교에서는").ids) < 3) is whole
    merges = json.loads(made.to_str())["model"]["merges"]
    assert len(set(map(tuple, merges))) == len(merges)


@pytest.mark.parametrize("share, alike, joined", [(1.0, True, 0), (0.995, True, 2), (0.0, False, 3)])
def test_words_are_spelt_alike_behind_a_space_until_merges_may_take_it(share, alike, joined):
    words = tally.of_mapping({" harbour": 900, " harvest": 800, " hut": 300, " 항구": 700, " 항해": 600, " 하늘": 90})
    made = bpe.learn(words, cuts=[(morphemes.openings, share)], min_frequency=1, vocab_size=301)
    spelt = [(made.encode(f" {word}").tokens, made.encode(word).tokens) for word in ("harbour", "harvest", "항구")]
    assert all("".join(spaced) == "Ġ" + "".join(alone) for spaced, alone in spelt)
    assert all(spaced in (["Ġ", *alone], ["Ġ" + alone[0], *alone[1:]]) for spaced, alone in spelt) is alike
    assert sum(spaced[0] != "Ġ" for spaced, _ in spelt) == joined


def test_digits_come_in_groups_of_at_most_three(tokenizer):
    assert all(len(piece.strip()) <= 3 for i in tokenizer.encode("1234567").ids for piece in [tokenizer.decode([i])])


def test_too_little_text_is_an_error_with_a_remedy():
    with pytest.raises(ValueError, match=r"lower tokenizer\.vocab_size"):
        bpe.train(["짧다"], vocab_size=4000, min_frequency=2)


def test_the_same_text_gives_the_same_bytes_and_loads_without_remote_code(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    bpe.save(tokenizer, tmp_path / "a", context=64)
    bpe.save(bpe.train(TEXT, vocab_size=340, min_frequency=2), tmp_path / "b", context=64)
    for file in sorted(path.name for path in (tmp_path / "a").iterdir()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    loaded = AutoTokenizer.from_pretrained(tmp_path / "a")
    assert (loaded.bos_token_id, loaded.pad_token_id, loaded.eos_token_id) == (0, 1, 2)
    ids = loaded.apply_chat_template([{"role": "user", "content": "안녕"}], add_generation_prompt=True)["input_ids"]
    assert ids.count(0) == 1
