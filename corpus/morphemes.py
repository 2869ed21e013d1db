"""Knows where a word's morphemes meet, so that merges need not cross these places: particles by rule, or all by Kiwi.

Needed while a vocabulary is learnt, never when text is encoded.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from kiwipiepy import Kiwi, Token

Cut = Callable[[Sequence[str]], Iterable[list[int]]]  # words → of each the characters at which a morpheme begins

# Particles and endings that close an eojeol, so that 프랑스의 and 프랑스는 share their stem.
JOSA = (
    r"(?<=[가-힣]{2})(?:은|는|이|가|을|를|의|에|에서|으로|로|과|와|도|만"
    r"|이다|다|입니다|이에요|예요|인가|인가요|이라는|라는)$"
)
_PARTICLE, _SYLLABLES = regex.compile(JOSA), regex.compile("[가-힣]{2}")


def particles(words: Sequence[str]) -> Iterator[list[int]]:
    """The particle or ending at the end of each word, by a list."""
    for word in words:
        found = _PARTICLE.search(word)
        yield [found.start()] if found else []


def openings(words: Sequence[str]) -> Iterator[list[int]]:
    """The space or mark before a word, so that a word is spelt alike with and without one."""
    for word in words:
        yield [1] if word[1:2].isalpha() and not word[0].isalpha() else []


def digits(words: Sequence[str]) -> Iterator[list[int]]:
    """Every digit of a number, so that 2026 is four tokens however the regex groups it."""
    for word in words:
        yield list(range(1, len(word))) if word.isnumeric() else []


def morphemes(words: Sequence[str]) -> Iterator[list[int]]:
    """By Kiwi's analysis (https://github.com/bab2min/Kiwi); morphemes inside one syllable, as in 했, stay whole."""
    korean = [word for word in words if _SYLLABLES.search(word)]
    analyses = _kiwi().tokenize(iter(korean))
    for word in words:
        yield _starts(word, next(analyses)) if _SYLLABLES.search(word) else []


def _starts(word: str, tokens: "Sequence[Token]") -> list[int]:
    """Where a token begins behind all before it; a space stays with what follows."""
    found, end = [], 0
    for token in tokens:
        if end <= token.start and token.len and word[: token.start].strip():
            found.append(token.start)
        end = max(end, token.start + token.len)
    return sorted(set(found))


@cache
def _kiwi() -> "Kiwi":
    from kiwipiepy import Kiwi  # 2 s and 500 MB: only for who asks

    return Kiwi(num_workers=-1)
