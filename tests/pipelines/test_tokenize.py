"""tokenize: the counts are those of the files, by origin, language and domain; buckets begin where the plan says."""

import json
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from corpus import plan, shards
from pipelines import tokenize
from pipelines._journal import Journal
from pipelines._stage import StageError

ROWS = [
    {"id": str(n), "lang": ("ko", "en")[n % 2], "domain": "lawscience"[n % 3 :], "kind": ("", "synthetic")[n % 4 == 3],
     "text": "ab" * (n + 1)} for n in range(30)
]  # fmt: skip


def run(place, validation=ROWS):
    for part, rows in (("phase1", ROWS), ("phase2", ROWS[:10]), ("validation", validation)):
        shards.write(place / "mix" / part, rows)
    lines = [{"phase": "phase1", "starts": [0, 12, 30]}, {"phase": "phase2", "starts": [0]}]
    shards.write_lines(place / "mix" / plan.FILE, lines)
    letters = Tokenizer(models.BPE({"<s>": 0, "<pad>": 1, "</s>": 2, "a": 3, "b": 4}, []))
    letters.pre_tokenizer = pre_tokenizers.Whitespace()
    for folder in ("tokenizer", "out"):
        (place / folder).mkdir()
    letters.save(str(place / "tokenizer/tokenizer.json"))
    params = tokenize.Params(documents_per_batch=7)
    call = {"documents": place / "mix", "tokenizer": place / "tokenizer", "out": place / "out"}
    tokenize.main(**call, params=params, journal=Journal.offline("tokenize", place))
    return place / "out", json.loads((place / "reports/tokenize.json").read_text())


def test_sums_by_domain_are_the_lengths_of_the_files_and_of_the_texts(tmp_path):
    out, report = run(tmp_path)
    wanted = {"phase1": ROWS, "phase2": ROWS[:10], "validation_ko": ROWS[::2], "validation_en": ROWS[1::2]}
    for part, rows in wanted.items():
        cells = [cell for langs in report["domains"][part].values() for it in langs.values() for cell in it.values()]
        total = {key: sum(cell[key] for cell in cells) for key in ("documents", "tokens", "characters")}
        assert total == {key: report["phases"][part][key] for key in total}
        assert total["tokens"] == len(np.fromfile(out / f"{part}.bin", "<u2"))
        assert total["documents"] == len(rows)
        assert total["characters"] == sum(len(row["text"]) for row in rows)
    assert set(report["domains"]["phase1"]) == {"organic", "synthetic"}


def test_held_out_documents_lie_by_domain_so_that_each_can_be_looked_at(tmp_path):
    out, report = run(tmp_path)
    sizes = report["phases"]["validation_ko"]["domains"]
    wanted = {domain: sum(1 for row in ROWS[::2] if row["domain"] == domain) for domain in sorted(sizes)}
    ids = np.fromfile(out / "validation_ko.bin", "<u2")
    ends = np.cumsum([0, *sizes.values()])
    assert list(sizes) == list(wanted) and ends[-1] == len(ids)
    opened = [int((ids[a:b] == 0).sum()) for a, b in pairwise(ends)]
    assert opened == list(wanted.values())
    assert set(report["domains"]["validation_ko"]["organic"]) == {"ko"}


def test_buckets_begin_at_the_token_where_their_first_document_does(tmp_path):
    out, report = run(tmp_path)
    opened = np.flatnonzero(np.fromfile(out / "phase1.bin", "<u2") == tokenize.BOS_ID)
    assert report["phases"]["phase1"]["starts"] == [0, opened[12], report["phases"]["phase1"]["tokens"]]
    assert json.loads((out / "index.json").read_text())["phases"]["phase2"]["starts"] == [0]


def test_a_language_without_held_out_text_is_an_error(tmp_path):
    with pytest.raises(StageError, match="validation_en holds no document"):
        run(tmp_path, validation=ROWS[::2])
