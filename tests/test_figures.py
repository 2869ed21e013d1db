"""Every number in the README is followed to a file: the result table to reports/, all others by docs/figures.md."""

import json
import os
import re
import subprocess
import sys
from itertools import accumulate

import pytest

from evals import report
from tests.figures import ROOT, numbers, stands, values

README = (ROOT / "README.md").read_text(encoding="utf-8")
KEYS = {  # a column of the result table → keys of reports/evaluate@<model>.json
    "MB": ("size_bytes",), "KL": ("kl_parent",),
    **{f"{head} {lang}": keys for lang in ("ko", "en") for head, keys in {
        "bits/byte": (f"bpb_{lang}",), "chat": (f"chat_{lang}",),
        "four-choice": (f"qa_{lang}", f"qa_{lang}_low", f"qa_{lang}_high"),
    }.items()},
}  # fmt: skip


def table(text, first):
    """Head and rows of the first Markdown table whose first cell is `first`."""
    lines = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return rows[0], rows[2:]


def columns(head):
    """Full names of the columns: a bare "en" belongs to the head before it, "KL to parent" is KL."""
    names = [cell.replace(" to parent", "") for cell in head[1:]]
    return [*accumulate(names, lambda before, name: f"{before.rsplit(' ', 1)[0]} {name}" if name == "en" else name)]


def test_every_number_of_the_result_table_is_the_one_in_the_models_report():
    evidence = report.read(ROOT / "reports")
    head, rows = table(README, "model")
    seen = 0
    for row in rows:
        name = re.sub(r"[*`]", "", row[0]).split(",")[0].lower()
        for column, cell in zip(columns(head), row[1:], strict=True):
            keys = [key for key in KEYS.get(column, ()) if key in evidence[f"evaluate@{name}"]]
            expected = [evidence[f"evaluate@{name}"][key] for key in keys] or [*values(evidence[f"evaluate@{name}"])]
            shown = numbers(cell.replace("*", ""))
            if keys:
                assert len(shown) == sum(value is not None for value in expected), f"{name}, {column}: {cell}"
                wrong = [text for text, value in zip(shown, expected, strict=False) if not stands(text, [value])]
            else:
                wrong = [text for text in shown if not stands(text, expected)]
            assert not wrong, f"README: {name}, {column}: {wrong}, but reports/evaluate@{name}.json has {expected}"
            seen += len(shown)
    assert seen > 8 * len(rows) > 0


def traced():
    """Rows of docs/figures.md: what the README says, the file that holds it, the words there."""
    text = (ROOT / "docs/figures.md").read_text(encoding="utf-8")
    _, rows = table(text, "README says")
    return [(said, re.search(r"\((.*?)\)", file)[1], words.strip("`")) for said, file, words in rows]


def test_every_other_number_of_the_readme_is_in_the_list_of_where_it_comes_from():
    rest = README.replace(README[README.index("| model |") :].split("\n\n")[0], "")
    rest = re.sub(r"```.*?```", "", rest, flags=re.DOTALL)
    rest = re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+", "", rest)
    for said, _, _ in traced():
        assert re.sub(r"`[^`]*`", "", said) in rest, f"docs/figures.md: README no longer says: {said}"
        rest = rest.replace(said, "")
    strays = [line for line in rest.splitlines() if numbers(re.sub(r"(?m)^\s*\d+\. ", "", line))]
    assert not strays, f"numbers of the README that docs/figures.md does not trace: {strays}"


@pytest.mark.parametrize("said, file, words", traced())
def test_the_named_file_holds_the_words(said, file, words):
    text = (ROOT / "docs" / file).resolve().read_text(encoding="utf-8")
    assert words in text, f"{file} does not hold {words!r}, for {said!r}"


def test_every_number_found_on_the_decision_page_stands_in_the_file_that_its_row_names():
    _, rows = table((ROOT / "docs/at-paper-scale.md").read_text(encoding="utf-8"), "choice")
    for choice, found, file, *_ in rows:
        evidence = json.loads((ROOT / "docs" / re.search(r"\((.*?)\)", file)[1]).resolve().read_text(encoding="utf-8"))
        shown = numbers(re.sub(r"`[^`]*`", "", found))
        wrong = [text for text in shown if not stands(text, evidence)]
        assert shown and not wrong, f"docs/at-paper-scale.md, {choice}: {wrong} not in {file}"


SCRIPT = """
import json
import sys
from pathlib import Path
from pipelines import report
from pipelines._journal import Journal
out, root = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir(parents=True)
talks = out.parent / f"talks-{out.name}"
talks.mkdir()
row = {"kind": "question", "lang": "ko", "tools": [], "messages": [{"role": "user", "content": "?"}], "reply": "!"}
row |= {"finish_reason": "stop", "expected": ["!"], "right": True, "well_formed": True}
(talks / "replies.jsonl").write_text(json.dumps(row))
call = {"reports": root / "reports", "sources": root / "data/sources", "talks": talks}
call |= {"out": out, "params": report.Params()}
report.main(**call, journal=Journal.offline("report", out.parent))
"""


@pytest.mark.slow
def test_report_cards_and_pictures_are_the_same_bytes_whatever_clock_locale_and_hash_seed(tmp_path):
    made = []
    for number, (zone, locale, seed) in enumerate((("UTC", "C", "0"), ("Asia/Seoul", "C.UTF-8", "12345"))):
        place = tmp_path / str(number)
        environment = os.environ | {"TZ": zone, "LC_ALL": locale, "LANG": locale, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SCRIPT, str(place / "out"), str(ROOT)]
        environment |= {"PYTHONPATH": f"{ROOT}:{ROOT}/runtime/src"}
        subprocess.run(command, cwd=place.mkdir() or place, env=environment, check=True, stdout=subprocess.DEVNULL)
        made.append({file.name: file.read_bytes() for file in sorted((place / "out").iterdir())})
    assert {"report.md", "report.html", "model-card.md", "data-card.md", "line.png", "safety.png"} <= set(made[0])
    assert [name for name in made[0] if made[0][name] != made[1].get(name)] == [] and set(made[0]) == set(made[1])
