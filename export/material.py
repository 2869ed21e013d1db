"""Knows the text that exports are judged and weighed by: what Mini learnt last, never what it is evaluated on."""

from itertools import chain, islice
from pathlib import Path

from corpus import shards
from export.texts import PLAIN_TEXTS


def texts(mix: Path | None, *, count: int, characters: int) -> list[str]:
    """Beginnings of the first documents of the mix's last phase, Korean and English in turn; without one our own."""
    if mix is None:
        return [text[:characters] for text in PLAIN_TEXTS]
    both = ((it for it in shards.read(mix / "phase2") if it["lang"] == lang) for lang in ("ko", "en"))
    return [it["text"][:characters] for it in islice(chain.from_iterable(zip(*both, strict=False)), count)]
