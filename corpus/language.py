"""Knows languages without a model or a download: script shares, English function words, Korean particles, endings."""

import re
from functools import cache

import numpy as np

ENGLISH_WORDS = frozenset(
    """the of and to in is that for it as was with be by on not he his but at are this have from or had an they which
    you were her all she there would their we him been has when who will no more if out so up said what its about than
    into them can only other time new some could these two may first then do any your how our use i my me a""".split()  # noqa: SIM905
)
# Written Korean glues its function words to the word before, so the last syllable tells. FineWeb-2 kor_Hang stop words
# (morphemes: 의 다 이 는 에 을 한 은 를 고 에서 가 으로 …) and the commonest other particles and verb endings.
KOREAN_ENDINGS = frozenset("은는이가을를의에로도와과만고다서요까지며면한할된던게네니라들해죠음나")
_WORD = re.compile(r"[^\W\d_]+")
# What a character counts as in a text's census; 0 for all else.
_LATIN, _HANGUL, _RARE_HANGUL, _CHINESE, _OTHER_LETTER, _CODE_SIGN, _REPLACEMENT = range(1, 8)


def identify(text: str, *, min_hangul: float, min_english_words: float) -> tuple[str, float]:
    """The language of `text` (ko, en or other) and the share that decided it: of Hangul letters, or of English words.

    `min_hangul`: share of letters from which a text is Korean (technical Korean holds much Latin script).
    `min_english_words`: share of function words from which a text in Latin script is English.
    """
    census = _census(text)
    total = max(int(census[_LATIN : _OTHER_LETTER + 1].sum()), 1)
    hangul, other = int(census[_HANGUL] + census[_RARE_HANGUL]) / total, int(census[_OTHER_LETTER]) / total
    if hangul >= min_hangul and other < hangul:
        return "ko", hangul
    words = _WORD.findall(text[:20_000].lower())
    share = sum(map(ENGLISH_WORDS.__contains__, words)) / max(len(words), 1)
    return ("en" if int(census[_LATIN]) / total >= 0.8 and share >= min_english_words else "other"), share


def code_signs(text: str) -> float:
    """Share of characters that code is full of and prose is not, such as braces."""
    return int(_census(text)[_CODE_SIGN]) / max(len(text), 1)


def odd_characters(text: str) -> float:
    """Share of Hangul syllables outside KS X 1001, and of replacement characters: broken encodings, random syllables.

    The standard's 2,350 syllables are all that written Korean commonly uses, of 11,172 that can be composed.
    """
    census = _census(text)
    return int(census[_RARE_HANGUL] + census[_REPLACEMENT]) / max(len(text), 1)


def _census(text: str) -> np.ndarray:
    """How many characters of each kind a text holds, int [8]."""
    points = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    return np.bincount(_kinds().take(points, mode="clip"), minlength=8)


@cache
def _kinds() -> np.ndarray:
    kinds = np.array([_OTHER_LETTER * chr(point).isalpha() for point in range(0x32400)], np.uint8)  # no letter beyond
    letters = kinds > 0
    kinds[:0x250][letters[:0x250]] = _LATIN
    kinds[0x3131:0x318F] = _HANGUL
    kinds[0x3400:0xA000][letters[0x3400:0xA000]] = _CHINESE
    encoded = (chr(0xAC00 + offset).encode("euc-kr") for offset in range(11_172))
    kinds[0xAC00:0xD7A4] = [_RARE_HANGUL if len(code) > 2 else _HANGUL for code in encoded]  # spelled out in 8 bytes
    kinds[[*map(ord, "{}[];=<>_\\/*&|#$`")]] = _CODE_SIGN
    kinds[0xFFFD] = _REPLACEMENT
    return kinds
