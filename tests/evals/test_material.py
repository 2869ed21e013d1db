"""Where the judge's material comes from."""

import pytest

from corpus import shards
from evals import material


@pytest.fixture
def folder(tmp_path):
    documents = [{"id": str(i), "text": "가" * 10, "lang": lang} for i in range(5) for lang in ("ko", "en")]
    shards.write(tmp_path / "validation", documents)
    return tmp_path / "validation"


def test_whole_documents_are_read_until_the_limit(folder):
    assert len(material.held_out_texts(folder, lang="ko", max_bytes=61)) == 3
    assert len(material.held_out_texts(folder, lang="en", max_bytes=1)) == 1
    assert len(material.held_out_texts(folder, lang="en", max_bytes=10**9)) == 5


def test_a_language_without_held_out_text_is_an_error_with_a_remedy(folder):
    with pytest.raises(material.MaterialError, match="mix"):
        material.held_out_texts(folder, lang="fr", max_bytes=5)


def test_json_lines_survive_the_file(tmp_path):
    rows = [{"b": "가", "a": 1}, {"c": "one\u2028line"}]
    shards.write_lines(tmp_path / "x.jsonl", rows)
    assert [row for _, row in material.read_jsonl(tmp_path / "x.jsonl")] == rows
    assert (tmp_path / "x.jsonl").read_text(encoding="utf-8").startswith('{"b": "가"')
