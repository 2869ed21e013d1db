"""Words counted over a folder of shards: the sum over shards and workers, weights, caps, and a run that was killed."""

from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from corpus import pretokens, shards, tally

ROWS = [
    {
        "id": str(n),
        "lang": ("ko", "en")[n % 2],
        "domain": ("law", "general")[n % 3 == 0],
        "text": f"가 나 word{n % 7} 다 {n}",
    }
    for n in range(100)
]


def weigh(lang, domain, *, law=3):
    return law if domain == "law" else 2


def counted(folder, scratch, **changed):
    recipe = tally.Recipe(**{"measure": pretokens.occurrences, "weigh": weigh, "most": 1 << 40} | changed)
    words, used = tally.of_folder(folder, recipe, scratch=scratch)
    return spelled(words), used


def spelled(words):
    return {word.as_py().decode(): int(count) for word, count in zip(words.spelled, words.counts, strict=True)}


def expected(rows):
    found = Counter()
    for row in rows:
        found.update(
            spelled(pretokens.occurrences(pa.array([row["text"]]), np.array([weigh(row["lang"], row["domain"])])))
        )
    return found


@pytest.fixture
def folder(tmp_path):
    shards.write(tmp_path / "shards", ROWS, rows_per_shard=30)
    return tmp_path / "shards"


def test_the_sum_is_that_of_every_document_by_its_weight(folder, tmp_path):
    found, used = counted(folder, tmp_path)
    assert found == expected(ROWS)
    assert used == {lang: sum(len(row["text"]) for row in ROWS if row["lang"] == lang) for lang in ("en", "ko")}


@pytest.mark.parametrize("rows", [ROWS, []])
def test_texts_are_counted_alike_a_few_at_a_time(rows, monkeypatch):
    monkeypatch.setattr(tally, "_AT_ONCE", 7)
    texts = ((row["text"], weigh(row["lang"], row["domain"])) for row in rows)
    assert spelled(tally.of_texts(texts, pretokens.occurrences)) == expected(rows)


def test_workers_and_one_process_count_the_same(folder, tmp_path, monkeypatch):
    several, _ = counted(folder, tmp_path / "several")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert counted(folder, tmp_path / "one")[0] == several


def test_a_language_ends_with_the_document_that_reaches_its_cap(folder, tmp_path):
    sizes = Counter()
    taken = [row for row in ROWS if sizes[row["lang"]] < 200 and not sizes.update({row["lang"]: len(row["text"])})]
    assert 20 < len(taken) < len(ROWS)
    found, used = counted(folder, tmp_path, most=200)
    assert found == expected(taken) and used == dict(sizes)


def test_a_killed_run_goes_on_with_the_shards_that_are_left(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    real, seen = tally.write, []

    def dies(file, words):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(file)
        real(file, words)

    monkeypatch.setattr(tally, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        counted(folder, tmp_path)
    monkeypatch.setattr(tally, "write", lambda file, words: seen.append(file) or real(file, words))
    assert counted(folder, tmp_path, weigh=partial(weigh, law=3))[0] == expected(ROWS)
    assert len(seen) == len(set(seen)) == 4
