"""Document shards: what is written is read back, in order, in bounded pieces."""

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import shards

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
COLUMNS = dict.fromkeys(shards.FIELDS, TEXT) | dict.fromkeys(shards.SCORES, st.floats(0, 1))
DOCUMENTS = st.lists(st.fixed_dictionaries(COLUMNS), max_size=25)


@settings(deadline=None, max_examples=50)
@given(documents=DOCUMENTS, rows=st.integers(1, 9))
def test_reading_gives_back_what_was_written_in_order(tmp_path_factory, documents, rows):
    folder = tmp_path_factory.mktemp("shards")
    assert shards.write(folder, iter(documents), rows_per_shard=rows) == len(documents)
    assert list(shards.read(folder)) == documents


def test_the_same_documents_give_the_same_bytes(tmp_path):
    documents = [{"id": str(n), "text": "가나다 " * n} for n in range(50)]
    for name in ("a", "b"):
        shards.write(tmp_path / name, documents, rows_per_shard=20)
    names = [path.name for path in shards.paths(tmp_path / "a")]
    assert names == ["shard-00000.parquet", "shard-00001.parquet", "shard-00002.parquet"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_every_column_is_text_and_missing_fields_are_empty(tmp_path):
    shards.write(tmp_path, [{"id": "1", "text": "x"}])
    assert pq.read_schema(tmp_path / "shard-00000.parquet").equals(shards.DOCUMENT_SCHEMA)
    assert next(shards.read(tmp_path))["license"] == ""


def test_a_shard_is_closed_when_its_text_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BYTES_PER_SHARD", 100)
    shards.write(tmp_path, [{"id": str(n), "text": "x" * 60} for n in range(4)])
    assert len(shards.paths(tmp_path)) == 2


def test_no_documents_leave_one_empty_shard(tmp_path):
    assert shards.write(tmp_path, []) == 0
    assert list(shards.read(tmp_path)) == []


def test_a_folder_without_shards_and_a_damaged_shard_are_named(tmp_path):
    with pytest.raises(shards.ShardError, match="no document shards"):
        list(shards.read(tmp_path))
    (tmp_path / "shard-00000.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(shards.ShardError, match=r"shard-00000\.parquet: not a readable"):
        list(shards.read(tmp_path))
