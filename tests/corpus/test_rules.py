"""The filter's rules: cleaning keeps what is text, and each reason for dropping has a text that earns it."""

import random
import unicodedata
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpus import language, lines, scoring
from corpus.cleaning import normalise, strip_markup
from corpus.reading import read_folder
from corpus.rules import STAGE_OF, STAGES, clean, judge, languages, plain
from corpus.words import repeats
from pipelines._stage import load_params
from pipelines.filter import Params
from tests import house

POLICY = load_params("filter", Params, house.ROOT / "profiles/demo.yaml")
KOREAN = "우리 동네 시장에는 사십 년째 두부를 만드는 할머니가 계신다. 새벽 세 시에 일어나 콩을 갈고 가마솥에 끓인다."
ENGLISH = "The bakery at the corner of our street opens at six, and for the first half hour it belongs to the workers."


JUDGES = scoring.load(house.ROOT / "data/judges")


class Found(NamedTuple):
    reason: str
    rule: str
    value: float
    lang: str
    text: str
    masked: Counter


def judged(texts, policy=POLICY):
    """Verdicts of texts that stand alone in their corpus."""
    cleaned = clean(plain(texts, policy), ["s"] * len(texts), policy, seen=lines.Sketch.of(4), sizes=Counter())
    verdicts = judge(cleaned, [len(text) for text in texts], policy, judges=JUDGES)
    return [Found(*verdict[:4], one.text, one.masked) for verdict, one in zip(verdicts, cleaned, strict=True)]


def verdict(text, policy=POLICY):
    return judged([text], policy)[0]


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
@example("\xa0Â\x80")
def test_normalising_twice_changes_nothing_more(text):
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=6))
def test_a_verdict_depends_on_its_own_text_only(texts):
    assert judged(texts) == [verdict(text) for text in texts]


def test_a_kept_text_is_kept_again_unchanged():
    sample = [d["text"] for d in read_folder(house.ROOT / "data/sample/text", max_record_bytes=1 << 24)]
    kept = [v for v in judged(sample) if v.reason == "kept"]
    again = judged([v.text for v in kept])
    assert len(kept) > 200
    assert [(v.reason, v.text, v.lang) for v in again] == [("kept", v.text, v.lang) for v in kept]


@pytest.mark.parametrize(
    "raw, clean",
    [
        ("\ufeff한\u200b글\x07 \u00a0 두  칸\r\n\r\n\r\n\r\n끝 ", "한글 두 칸\n\n끝"),
        (unicodedata.normalize("NFD", "한글"), "한글"),
        ("한글입니다".encode().decode("latin-1"), "한글입니다"),
        ("caf\u0065\u0301", "café"),
        ("    if x:\n        return", "if x:\n        return"),
    ],
)
def test_text_is_repaired(raw, clean):
    assert normalise(raw) == clean


@pytest.mark.parametrize(
    "raw, clean",
    [
        ("<p>비가 <b>그친</b> 뒤 &amp; 숲</p><script>x()</script>", "비가 그친 뒤 & 숲"),
        (
            '<?xml version="1.0"?><html><head><title>t</title></head><body><p>One</p><p>Two</p></body></html>',
            "One\n\nTwo",
        ),
        ("---\ntitle: x\n---\n# 제목 {#anchor}\n본문", "제목\n본문"),
        ("[글](https://a.b/c) ![그림](x.png) **굵게** [[문서|이름]] {{틀}}", "글  굵게 이름"),
        ("앞\n```html\n<b>code</b>\n```\n<i>뒤</i>", "앞\n```html\n<b>code</b>\n```\n뒤"),
        ("`std::vector<int>`와 a < b", "`std::vector<int>`와 a < b"),
        (".. note::\n\n   See :ref:`the page <page>`.", "See the page."),
        (
            '{"cells": [{"cell_type": "markdown", "source": ["# 제목"]}, {"cell_type": "code", "source": "x = 1"}]}',
            "제목\n\n```\nx = 1\n```",
        ),
        ('{"cells": broken', '{"cells": broken'),
    ],
)
def test_markup_becomes_text_and_code_stays(raw, clean):
    assert strip_markup(raw).strip() == clean


def test_boilerplate_lines_go_and_paragraphs_that_mention_them_stay():
    text = f"로그인\n{KOREAN}\n무단전재 및 재배포 금지\n{KOREAN * 3} 이용약관을 읽어야 한다."
    every, owners, keys = lines.keys([text], ["s"])
    [(cleaned, share)] = lines.drop([text], every, owners, keys < 0)
    assert cleaned == f"{KOREAN}\n{KOREAN * 3} 이용약관을 읽어야 한다."
    assert 0 < share < 0.2


@pytest.mark.parametrize(
    "text, lang",
    [
        (KOREAN, "ko"),
        (ENGLISH, "en"),
        (f"{KOREAN}\n{ENGLISH}", "ko"),
        ("반도체 공정에서 photolithography는 빛으로 circuit pattern을 그리는 단계이다.", "ko"),
        ("大韓民國의 憲法은 民主主義를 基本으로 한다", "ko"),
        ("東京は日本の首都であり、世界でも最大級の都市のひとつである。", "other"),
        ("北京是中华人民共和国的首都，也是全国的政治中心。", "other"),
        ("Los volcanes se forman en lugares donde el magma encuentra un camino hacia la superficie.", "other"),
        ("Jeden Samstag gehe ich auf den Markt am alten Rathaus, und die Stände stehen schon.", "other"),
        ("Di pulau tempat saya lahir, hampir semua orang mengenal laut sejak kecil.", "other"),
        ("Москва является столицей России.", "other"),
        ("", "other"),
    ],
)
def test_languages_are_told_apart_without_a_model(text, lang):
    assert language.identify(text, min_hangul=POLICY.min_hangul, min_english_words=POLICY.min_english_words)[0] == lang


def random_syllables(count):
    draw = random.Random(3)
    return " ".join("".join(chr(draw.randrange(0xAC00, 0xD7A4)) for _ in range(3)) for _ in range(count))


DROPPED = [
    ("short", "characters", "네, 알겠습니다."),
    ("markup", "markup_share", "<div class='a'><span></span></div>" * 40 + "끝"),
    ("language", "language_share", "Los volcanes se forman en lugares donde el magma encuentra un camino. " * 3),
    ("boilerplate", "boilerplate_share", "로그인\n회원가입\n공지사항\n이용약관\nⓒ 신문사 무단전재 금지\n제목입니다"),
    (
        "boilerplate",
        "furniture_lines",
        "이 상품을 산 분이 본 것은\n색상 검정\n사이즈 S M L\n총 금액 0원\n적립 쿠폰\n구매 특전",
    ),
    ("gibberish", "odd_characters", random_syllables(40)),
    ("gibberish", "function_words", "ㅁㄴㅇㄹ ㅂㅈㄷㄱ ㅋㅌㅊㅍ ㅓㅏㅣ ㅕㅑㅐㅔ " * 8),
    ("gibberish", "mean_word", "가나다라마바사아자차카타파하거너더러머버서 " * 4),
    (
        "spam",
        "spam_terms",
        "카지노에서 첫충전 보너스를 받고 지금 바로 가입하세요. 선착순 환전까지 고수익입니다. 토토까지.",
    ),
    ("repetition", "repeated_lines", f"{KOREAN}\n이 글을 읽어 주셔서 고맙습니다.\n" + "그리고 또.\n" * 4),
    ("repetition", "top_2_gram", "정말 좋은 " * 40 + KOREAN),
    ("not_prose", "alphabetic_words", KOREAN + " ".join(map(str, range(24)))),
]


@pytest.mark.parametrize("reason, rule, text", DROPPED)
def test_each_reason_has_a_text_that_earns_it(reason, rule, text):
    found = verdict(text)
    assert (found.reason, found.rule) == (reason, rule)
    assert STAGE_OF[found.reason] in STAGES
    without = POLICY.model_copy(update={"stages": [stage for stage in STAGES if stage != STAGE_OF[reason]]})
    assert verdict(text, without).reason != reason  # a stage that is off refuses nothing


@pytest.mark.parametrize("text", [KOREAN, ENGLISH, f"{KOREAN}\n{ENGLISH}"])
def test_plain_prose_is_kept(text):
    assert verdict(text).reason == "kept"


def test_code_beside_prose_is_not_held_against_it():
    code = "```python\nfor i in range(10):\n    print(i)\n    print(i)\n    print(i)\n```"
    found = verdict(f"{KOREAN}\n{code}\n{KOREAN}다시.")
    assert (found.reason, code in found.text) == ("kept", True)


CODE = (house.ROOT / "corpus/bpe.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("text, lang", [(CODE, "code"), (f"{KOREAN} {KOREAN}\n{CODE[:60]}", "ko"), (ENGLISH, "en")])
def test_bare_code_is_a_language_of_its_own(text, lang):
    assert languages([text], POLICY, judges=JUDGES)[0][0] == lang


def test_personal_data_is_masked_in_what_is_kept():
    found = verdict(f"{KOREAN} 문의는 010-1234-5678로 주세요.")
    assert "#@전화번호@#" in found.text
    assert found.masked == {"전화번호": 1}


def brute_force(words, n):
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    total = sum(map(len, words))
    top = max((grams.count(g) * sum(map(len, g)) for g in grams if grams.count(g) > 2), default=0)
    covered = {i + k for i, g in enumerate(grams) if g in grams[:i] for k in range(n)}
    return min(top / total, 1.0), sum(len(words[i]) for i in covered) / total


@settings(deadline=None)
@given(words=st.lists(st.sampled_from(["가", "나다", "라마바", "x"]), min_size=1, max_size=40), n=st.integers(2, 10))
def test_n_gram_shares_equal_a_count_by_hand(words, n):
    ids = np.array([sorted(set(words)).index(word) for word in words] * 2)
    owners = np.repeat([0, 1], len(words))  # two equal texts, of which neither sees the other
    shares = dict(repeats(ids, np.array([len(word) for word in words] * 2), owners, n))[n]
    assert (shares.top[0], shares.again[0]) == pytest.approx(brute_force(words, n))
    assert (shares.top[1], shares.again[1]) == pytest.approx(brute_force(words, n))


def test_repetition_does_not_grow_with_length():
    draw = random.Random(1)
    law = "\n".join(
        f"제{n}조 이 법에서 정하는 {draw.choice('가나다라마바사')}목의 일을 다음과 같이 한다." for n in range(900)
    )
    short = POLICY.model_copy(update={"repetition_words": 10**6})
    part = POLICY.model_copy(update={"repetition_words": 100})
    assert verdict(law, short).value >= verdict(law, part).value


def pages(count):
    """Documents that share a template and end in the same line."""
    return [f"바로 가는 길 {n}\n{story(n)}\n이 문서는 자동으로 만들었습니다." for n in range(count)]


def story(n):
    return f"{KOREAN} 그 집의 {chr(ord('가') + 28 * n)}씨 이야기입니다."


def test_lines_that_many_documents_repeat_go_and_copies_stay_whole():
    texts = [*pages(30), *[KOREAN] * 30]
    every, owners, keys = lines.keys(texts, ["s"] * len(texts))
    sketch = lines.Sketch.of(12)
    sketch.add(*lines.documents_per_key(owners, keys))
    cleaned = [text for text, _ in lines.drop(texts, every, owners, sketch.counts(keys) >= 20)]
    assert cleaned == [story(n) for n in range(30)] + [KOREAN] * 30


def test_lines_of_fenced_code_stay_however_often_they_stand_in_the_corpus():
    block = "```python\nimport torch\n```"
    texts = [f"{story(n)}\n{block}\n이 문서는 자동으로 만들었습니다." for n in range(30)] + ["```python\nimport torch"]
    every, owners, _ = lines.keys(texts, ["s"] * len(texts))
    repeated = {*block.split("\n"), "이 문서는 자동으로 만들었습니다."}
    furniture = np.array([line in repeated for line in every.to_pylist()])
    cleaned = [text for text, _ in lines.drop(texts, every, owners, furniture)]
    assert all(text.endswith(block) for text in cleaned[:30])
    assert cleaned[30].startswith("```python")  # a fence that is never closed guards itself alone


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(1, 50), max_size=20), max_size=9), st.randoms())
def test_counts_of_lines_are_never_too_low_and_do_not_depend_on_order(parts, draw):
    counted = [np.unique(np.array(part, dtype=np.uint64), return_counts=True) for part in parts]
    sketches = []
    for _ in range(2):
        draw.shuffle(counted)
        sketches.append(lines.Sketch.of(6))
        for keys, counts in counted:
            sketches[-1].add(keys, counts.astype(np.uint64))
    assert (sketches[0].cells == sketches[1].cells).all()
    true = Counter(key for part in parts for key in part)
    keys = np.array(sorted(true), dtype=np.uint64)
    assert (sketches[0].counts(keys) >= [true[int(key)] for key in keys]).all()


ABUSE = [
    "What an idiot you are. Shut up and go to hell, you stupid bastard, and take your dumbass friends with you.",
    "야 이 병신아 지랄하지 말고 닥쳐. 너 같은 또라이 새끼는 처음 본다. 정말 역겹다, 꺼져라. 미친놈이 따로 없네요.",
]
ABOUT_IT = [
    "The word bastard once named a child whose parents were not married. Courts used it without contempt, and "
    "only later did it become an insult; today dictionaries mark it as offensive and advise against its use.",
    "병신이라는 말은 본래 몸이 온전하지 못한 사람을 가리켰다. 오늘날에는 장애인을 비하하는 욕설로 여겨지므로 쓰지 "
    "않는 것이 바람직하며, 방송에서는 이 말을 들려주지 않는다. 국어사전은 이 낱말의 뜻과 "
    "쓰임을 설명하면서 주의할 점을 함께 적고 있다.",
]


@pytest.mark.parametrize("text", ABUSE)
def test_abuse_is_dropped_as_toxic(text):
    assert verdict(text).reason == "toxic"


@pytest.mark.parametrize("text", ABOUT_IT)
def test_a_text_about_a_word_of_abuse_stays(text):
    assert verdict(text).reason == "kept"
