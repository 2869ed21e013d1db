"""Merges: the Hugging Face trainer's own, from counts; and pretokens counted as its regex cuts them."""

import json
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from corpus import bpe, merges, morphemes, pretokens, tally
from corpus.reading import read_folder
from tests import house

SPECIALS = ["<|begin_of_text|>", "<pad>", "<|end_of_text|>"]


def sample():
    return [document["text"] for document in read_folder(house.ROOT / "data/sample/text", max_record_bytes=1 << 24)]


def noise(seed):
    draw = random.Random(seed)
    return ["".join(draw.choices("aab \n.1가각 나다은는", k=draw.randrange(1, 400))) for _ in range(60)]


def counted(texts):
    return pretokens.occurrences(pa.array(texts), np.ones(len(texts)))


def theirs(texts, size, patterns):
    tokenizer = Tokenizer(models.BPE())
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    given = {"min_frequency": 2, "initial_alphabet": alphabet, "special_tokens": SPECIALS, "show_progress": False}
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, **given))
    return json.loads(tokenizer.to_str())["model"]


@pytest.mark.parametrize("texts", [sample(), *map(noise, range(3))], ids=["sample", "noise0", "noise1", "noise2"])
@pytest.mark.parametrize("particles", [True, False])
def test_merges_and_vocabulary_are_those_of_the_hugging_face_trainer(texts, particles):
    patterns = [pretokens.PRETOKENIZER, *[morphemes.JOSA] * particles]
    model = theirs(texts, 600, patterns)
    words = counted(texts)
    size = len(model["vocab"]) + len(bpe.LAST)
    cuts = [(morphemes.particles, 1.0)] * particles
    ours = json.loads(bpe.learn(words, vocab_size=size, min_frequency=2, cuts=cuts).to_str())["model"]
    assert ours["merges"] == model["merges"]
    assert ours["vocab"] == model["vocab"]


@pytest.mark.parametrize("seed", range(20))
def test_pretokens_are_counted_as_the_regex_cuts_the_whole_text(seed):
    draw = random.Random(seed)
    letters = " \n\r\t.,'sdll1２٣가나abé\u3000\xa0\x85\x0b\u2028\u200bㅋ-"
    texts = ["".join(draw.choices(letters, k=draw.randrange(300))) for _ in range(50)]
    weights = np.array(draw.choices([0, 1, 7], k=50))
    cut = pre_tokenizers.Split(Regex(pretokens.PRETOKENIZER), "isolated")
    found = [[piece for piece, _ in cut.pre_tokenize_str(text)] for text in texts]
    for count, own in ((pretokens.occurrences, list), (pretokens.documents, set)):
        expected = Counter[str]()
        for weight, pieces in zip(weights.tolist(), found, strict=True):
            expected.update({piece: times * weight for piece, times in Counter(own(pieces)).items()})
        words = count(pa.array(texts), weights)
        assert dict(zip((word.as_py().decode() for word in words.spelled), words.counts, strict=True)) == expected


def test_merges_learnt_in_two_parts_are_those_learnt_at_once():
    words, given = counted(sample()), {"first_ids": np.arange(256), "least": 2}
    whole = merges.learn(words, vocab_size=1200, **given).merges
    first = merges.learn(words, vocab_size=500, **given).merges
    rest = merges.learn(words, vocab_size=1200, before=first, **given).merges
    assert np.concatenate([first, rest]).tolist() == whole.tolist()


def test_counts_and_not_their_scale_decide():
    words, given = counted(sample()), {"first_ids": np.arange(256), "vocab_size": 700}
    once, often = (
        merges.learn(words._replace(counts=words.counts * scale), least=2 * scale, **given) for scale in (1, 100)
    )
    assert (once.merges == often.merges).all() and (once.counts * 100 == often.counts).all()


def test_a_word_longer_than_any_room_is_learnt_from():
    words = tally.of_mapping({"ab" * 200_000: 3})
    learnt = merges.learn(words, first_ids=np.arange(256), vocab_size=260, least=2)
    assert learnt.merges[0].tolist() == [97, 98, 256]
