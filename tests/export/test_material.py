"""Texts that judge and weigh exports: training text in both languages, disjoint from all evaluation."""

from pathlib import Path

from corpus import shards
from export import material

REST = {"source": "test", "license": "mit", "url": "", "label": ""}


def test_both_languages_take_turns_in_reading_order_whatever_the_mix_s_order_is(tmp_path: Path) -> None:
    languages = ["en", "en", "ko", "en", "ko", "en"]
    rows = [{"id": str(n), "lang": lang, "text": f"{lang} {n} and more", **REST} for n, lang in enumerate(languages)]
    shards.write(tmp_path / "phase2", rows)
    assert material.texts(tmp_path, count=3, characters=4) == ["ko 2", "en 0", "ko 4"]
    assert len(material.texts(tmp_path, count=99, characters=4)) == 4
