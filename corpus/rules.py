"""Knows which documents are worth learning from: cleans a text, asks each rule; the first refusal is the verdict."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from corpus import language, pii
from corpus.cleaning import FENCE, drop_boilerplate, normalise, strip_markup
from corpus.ledger import KEPT

REASONS = ("short", "markup", "language", "boilerplate", "gibberish", "repetition", "spam", "not_prose")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# Korean sentences end in a verb ending even where no full stop is written (reviews, scripture, notices).
_SENTENCE_ENDS = frozenset(".!?…。:;ㅋㅎㅠㅜ다요까죠네라오음함임됨니")
_CLOSERS = "\"'”’)]*_~^ "
_GRAMMAR = 0.2  # a smaller share of grammatical words makes a line furniture: prose has 0.37-0.85, menus 0.0-0.2
_FEW_WORDS, _FEW_LINES = 50, 5  # below, shares of n-grams or lines say nothing (Gopher measured pages of 50 words up)
_SPAM = (  # RE2 syntax
    r"(?:당일|즉시|소액|무직자|무서류) ?대출|카지노|토토|바카라|슬롯|먹튀|꽁머니|첫 ?충전|환전|출장 ?(?:안마|마사지)|"
    r"비아그라|시알리스|무료 ?상담|최저가|초?특가|당일 ?(?:입금|지급|승인)|할인 ?쿠폰|지금 ?(?:바로 ?)?(?:클릭|신청|"
    r"가입|구매|전화|연락|문의)|클릭|선착순|수익 ?보장|고수익|(?:카톡|문자|전화|상담) ?문의|100% ?(?:보장|환불|당첨)|"
    r"(?:월|일|주) ?\d+만 ?원|재택 ?알바|부업|리딩방|급등주|당첨|바로 ?가기|추천인|https?://(?:bit\.ly|tinyurl|t\.me|"
    r"open\.kakao)|\b(?:casino|viagra|cialis|payday|jackpot|free (?:trial|gift|bonus|spins?|shipping)|(?:click|buy|"
    r"order|call|act|apply|sign up|shop|join|register) (?:here|now|today)|limited[- ]time|winner|discounts?|"
    r"(?:special|exclusive) (?:offer|deal)s?|100% (?:free|legit)|guaranteed?|congratulations|make money|"
    r"work from home|you(?:'ve| have) (?:won|been selected)|earn (?:up to )?\$|(?:lowest|best) prices?|\d+% off|"
    r"weight loss|risk[- ]free|no (?:credit check|prescription|risk)|cheap|bonus|promo code)"
)


class Limits(BaseModel):
    """What a text of one language must satisfy (where the values come from: params.yaml)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    min_characters: int  # of cleaned text
    min_mean_word: float  # characters per space-separated word
    max_mean_word: float  # characters per space-separated word
    min_function_words: float  # share of words that grammar marks as running text
    min_alphabetic_words: float  # share of words holding a letter
    min_sentence_ends: float  # share of lines that end a sentence
    max_lines_per_word: float  # line breaks per word: lists and menus are all breaks
    max_repeated_lines: float  # share of lines seen before in the document
    top_n_grams: dict[int, float]  # n → largest share of characters in one n-gram of words (used three times or more)
    repeated_n_grams: dict[int, float]  # n → largest share of characters in n-grams seen before


class Policy(BaseModel):
    """The rules' settings that do not depend on language, and the limits of each language."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    min_hangul: float  # share of letters from which a text is Korean
    min_english_words: float  # share of function words from which a text in Latin script is English
    max_markup: float  # share of characters that were markup, in a text of which too little is left
    max_boilerplate: float  # share of characters in boilerplate lines
    max_furniture: float  # share of characters in lines without grammar: menus, tables, option lists
    max_odd_characters: float  # share of syllables nobody writes, and of replacement characters
    max_spam: float  # advertising terms per word
    limits: dict[str, Limits]  # language → its limits; a text in any other language is dropped


class Verdict(NamedTuple):
    """`reason` is "kept" or one of REASONS; `rule` and `value` say what was measured; `text` is the cleaned text."""

    reason: str
    rule: str
    value: float
    text: str
    lang: str
    masked: Counter[str]


def judge(raw: list[str], policy: Policy) -> list[Verdict]:
    """Cleans and judges texts, in their order; each verdict is a function of its own text and the policy alone."""
    cleaned = drop_boilerplate([normalise(strip_markup(text)) for text in raw])
    masked = pii.mask([text for text, _ in cleaned])
    spam = pc.count_substring_regex(pa.array([text for text, _ in masked], pa.string()), _SPAM, ignore_case=True)
    shortest = min(limits.min_characters for limits in policy.limits.values())
    verdicts = []
    for whole, (_, boilerplate), (text, counts), terms in zip(raw, cleaned, masked, spam.to_pylist(), strict=True):
        prose = FENCE.sub("", text)
        prose = prose if len(prose) >= shortest else text  # rules about words spare the code beside prose
        lang, share = language.identify(prose, min_hangul=policy.min_hangul, min_english_words=policy.min_english_words)
        markup = 1 - len(text) / max(len(whole), 1)
        verdict = (KEPT, "", 0.0)
        if boilerplate > policy.max_boilerplate:
            verdict = ("boilerplate", "boilerplate_share", boilerplate)
        elif len(text) < shortest and markup > policy.max_markup:
            verdict = ("markup", "markup_share", markup)
        elif len(text) < shortest:
            verdict = ("short", "characters", len(text))
        elif lang not in policy.limits:
            verdict = ("language", "language_share", share)
        else:
            verdict = next(_refusals(prose, terms, policy, policy.limits[lang]), verdict)
        verdicts.append(Verdict(*verdict[:2], round(float(verdict[2]), 4), text, lang, counts))
    return verdicts


def _refusals(text: str, spam: int, policy: Policy, limits: Limits) -> Iterator[tuple[str, str, float]]:
    """Each rule that refuses the text: (reason, rule, measured value)."""
    words = text.split()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    grammar = [language.grammatical(line.split()) for line in lines]
    ended = [line.rstrip(_CLOSERS)[-1:] in _SENTENCE_ENDS for line in lines]
    bare = (hits < _GRAMMAR * len(line.split()) for line, hits in zip(lines, grammar, strict=True))
    furniture = sum(len(line) for line, is_bare, end in zip(lines, bare, ended, strict=True) if is_bare and not end)
    lettered = sum(word.isalpha() or any(map(str.isalpha, word)) for word in words)
    most = float("inf")
    measured = [
        ("short", "characters", len(text), limits.min_characters, most),
        ("gibberish", "odd_characters", language.odd_characters(text), 0, policy.max_odd_characters),
        ("gibberish", "mean_word", sum(map(len, words)) / len(words), limits.min_mean_word, limits.max_mean_word),
        ("gibberish", "function_words", sum(grammar) / len(words), limits.min_function_words, most),
        ("spam", "spam_terms", spam / len(words), 0, policy.max_spam),
        ("not_prose", "alphabetic_words", lettered / len(words), limits.min_alphabetic_words, most),
    ]
    if len(words) >= _FEW_WORDS:
        measured += _repetition(words, limits)
    if len(lines) >= _FEW_LINES:
        measured += [
            ("repetition", "repeated_lines", 1 - len(set(lines)) / len(lines), 0, limits.max_repeated_lines),
            ("boilerplate", "furniture_lines", furniture / sum(map(len, lines)), 0, policy.max_furniture),
            ("not_prose", "sentence_ends", sum(ended) / len(lines), limits.min_sentence_ends, most),
            ("not_prose", "lines_per_word", (len(lines) - 1) / len(words), 0, limits.max_lines_per_word),
        ]
    return ((reason, rule, value) for reason, rule, value, least, largest in measured if not least <= value <= largest)


def _repetition(words: list[str], limits: Limits) -> list[tuple[str, str, float, float, float]]:
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.uint64)
    lengths = np.array([len(word) for word in words])
    pairs = n_gram_shares(ids, lengths, 2)[1]
    if pairs <= min(limits.repeated_n_grams.values()) and 2 * pairs <= min(limits.top_n_grams.values()):
        return []  # what repeats as a longer n-gram repeats as pairs too, so nothing below can refuse
    shares = {n: n_gram_shares(ids, lengths, n) for n in {*limits.top_n_grams, *limits.repeated_n_grams}}
    rules = [(f"top_{n}_gram", shares[n][0], most) for n, most in limits.top_n_grams.items()]
    rules += [(f"repeated_{n}_grams", shares[n][1], most) for n, most in limits.repeated_n_grams.items()]
    return [("repetition", rule, share, 0.0, limit) for rule, share, limit in rules]


def n_gram_shares(ids: np.ndarray, lengths: np.ndarray, n: int) -> tuple[float, float]:
    """Shares of characters in (the most frequent repeated n-gram, n-grams seen before) of a text given as word ids."""
    count = len(ids) - n + 1
    if count < 2:
        return 0.0, 0.0
    codes = ids[:count].copy()
    for offset in range(1, n):
        codes = codes * _MULTIPLIER + ids[offset : offset + count]
    _, first, inverse, counts = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    ends = np.concatenate(([0], np.cumsum(lengths)))
    characters = (ends[first + n] - ends[first]) * counts
    top = float(characters[counts > 2].max(initial=0) / ends[-1])  # seen twice is no pattern
    again = np.flatnonzero(first[inverse] != np.arange(count))
    covered = np.zeros(len(ids), dtype=bool)
    for offset in range(n):
        covered[again + offset] = True
    return min(top, 1.0), float(lengths[covered].sum() / ends[-1])
