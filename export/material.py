"""Knows the text that exports are judged and weighed by: what Mini learnt last, never what it is evaluated on."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from corpus import shards
from export.texts import PLAIN_TEXTS


def texts(mix: Path | None, *, count: int, characters: int) -> list[str]:
    """Beginnings of the first documents of the mix's last phase, Korean and English in turn; without one our own."""
    if mix is None:
        return [text[:characters] for text in PLAIN_TEXTS]
    turns = chain.from_iterable(zip(_read(mix, "ko"), _read(mix, "en"), strict=False))
    return [text[:characters] for text in islice(turns, count)]


def _read(mix: Path, lang: str) -> Iterator[str]:
    return (document["text"] for document in shards.read(mix / "phase2") if document["lang"] == lang)
