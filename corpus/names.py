"""Knows names that nobody bears: what is said of them can be read, but not remembered."""

from corpus.lots import Lot

SYLLABLES = (  # of which made-up names are built, as Korean and English write them
    ("가", "ga"), ("넬", "nel"), ("도", "do"), ("렌", "ren"), ("마", "ma"), ("벨", "bel"), ("사", "sa"), ("오", "o"),
    ("자", "ja"), ("카", "ka"), ("타", "ta"), ("파", "pa"), ("하", "ha"), ("고", "go"), ("누", "nu"), ("디", "di"),
    ("로", "ro"), ("미", "mi"), ("보", "bo"), ("수", "su"), ("잔", "jan"), ("코", "ko"), ("툰", "tun"), ("피", "pi"),
)  # fmt: skip


def is_name(word: str) -> bool:
    """Whether an English word is a name, and no chemical symbol or day of a month."""
    return any(letter.isupper() for letter in word) and len(word) > 2 and not word[-1].isdigit()


def made_up_name(lot: Lot, *labels: object) -> dict[str, str]:
    """A name of two or three syllables, by language."""
    parts = [SYLLABLES[lot("name", *labels, n) % len(SYLLABLES)] for n in range(2 + lot("length", *labels) % 2)]
    korean, english = ("".join(side) for side in zip(*parts, strict=True))
    return {"ko": korean, "en": english.capitalize()}
