"""Knows which form a Korean particle takes: by the sound that the word before it ends with."""

import re
import unicodedata

PARTICLES = {  # written as after a consonant → (after a consonant, after a vowel)
    "은": ("은", "는"), "이": ("이", "가"), "을": ("을", "를"), "과": ("과", "와"), "으로": ("으로", "로"),
    "이다": ("이다", "다"), "이에요": ("이에요", "예요"), "입니다": ("입니다", "입니다"), "이라고": ("이라고", "라고"),
    "이라는": ("이라는", "라는"), "이며": ("이며", "며"),
}  # fmt: skip
DIGIT_FINALS = dict(zip("0123456789", "ㅇㄹ ㅁ  ㄱㄹㄹ ", strict=True))  # 영 일 이 삼 사 오 육 칠 팔 구
LETTER_FINALS = {"L": "ㄹ", "M": "ㅁ", "N": "ㄴ", "R": "ㄹ"}  # 엘 엠 엔 알; every other letter's name ends in a vowel
ENDINGS = (  # of English words as Korean writes them: apple 애플, time 타임, phone 폰, ring 링, cat 캣, water 워터
    ("(ll?|[^aeiou]le)$", "ㄹ"), ("(m|[aeiou]me)$", "ㅁ"), ("(n|[aeiou]ne)$", "ㄴ"), ("ng$", "ㅇ"),
    ("([^aeiou][aeiou]|oo)[kcpt]$", "ㄱ"), ("ck$", "ㄱ"),
)  # fmt: skip


def final_sound(word: str) -> str:
    """The final consonant of a word as spoken in Korean ("" after a vowel); trailing quotes and brackets are silent."""
    spoken = re.sub(r"[\s\"'’”)\]」』>.,!?]+$", "", unicodedata.normalize("NFC", word))
    if not spoken:
        raise ValueError(f"no particle can follow {word!r}: it holds nothing spoken; give the word a letter or a digit")
    last = spoken[-1]
    if "가" <= last <= "힣":
        index = (ord(last) - ord("가")) % 28
        return " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"[index].strip()
    if last in DIGIT_FINALS:
        return DIGIT_FINALS[last].strip()
    if last.isascii() and last.isalpha():
        return _latin_final(re.findall(r"[A-Za-z]+$", spoken)[0])
    raise ValueError(f"no particle can follow {word!r}: {last!r} has no known sound; use Hangul, Latin or digits")


def with_particle(word: str, particle: str) -> str:
    """The word and its particle, which is named by its form after a consonant: "파리" and "은" give "파리는"."""
    after_consonant, after_vowel = PARTICLES[particle]
    final = final_sound(word)
    vowel_form = not final or (particle == "으로" and final == "ㄹ")
    return word + (after_vowel if vowel_form else after_consonant)


def _latin_final(word: str) -> str:
    if len(word) <= 2 or word.isupper():  # spelled out: Fe is 에프이, KTX is 케이티엑스
        return LETTER_FINALS.get(word[-1].upper(), "")
    return next((final for pattern, final in ENDINGS if re.search(pattern, word.lower())), "")
