"""Knows what two runs have in common: numbers, bytes and figures side by side, with intervals where there are any."""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from evals.metrics import paired
from evals.report import table
from pipelines import _tracking

NONE = "–"
QUESTIONS = ("evaluate.seed", "evaluate.max_questions")  # with their text, they say which questions were asked


@dataclass(frozen=True)
class Side:
    """What is known of a run: dotted params, md5 by path, and every report by name."""

    params: dict[str, Any]
    md5s: dict[str, str]
    reports: dict[str, Any]


def main() -> None:
    """`--a` and `--b`: each a folder of reports, a revision of git, or a run's or pipeline's id or name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--a", required=True)
    parser.add_argument("--b", required=True)
    asked = parser.parse_args()
    try:
        print(page(asked.a, side(asked.a), asked.b, side(asked.b)))
    except LookupError as error:
        sys.exit(f"error: {error.args[0]}")


def page(name_a: str, a: Side, name_b: str, b: Side) -> str:
    """Markdown: the params, data and metrics that differ; what is equal is only counted."""
    parts = []
    for title, one, two in (("Params", a.params, b.params), ("Data (md5)", a.md5s, b.md5s)):
        keys = sorted({*one, *two})
        rows = [(key, str(one.get(key, NONE)), str(two.get(key, NONE))) for key in keys if one.get(key) != two.get(key)]
        parts.append(_part(title, ("", name_a, name_b), rows, len(keys)))
    figures = [*_figures(a, b)]
    rows = [row for row in figures if row[2] != row[3]]
    heads = ("report", "figure", name_a, name_b, "b − a, 95 % interval")
    return "\n\n".join([*parts, _part("Metrics", heads, rows, len(figures))])


def side(name: str) -> Side:
    """The named folder, revision or run; LookupError if it is none of them."""
    if Path(name).is_dir():
        place, names = Path(name).resolve(), [path.name for path in Path(name).glob("*.json")]
        return _of_files(lambda file: _text(place.parent / file), place.name, names)
    if commit := _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip():
        names = [Path(line).name for line in _git("ls-tree", "--name-only", commit, "reports/").splitlines()]
        return _of_files(lambda file: _git("show", f"{commit}:./{file}"), "reports", names)
    runs = _tracking.runs_of(name)
    texts = {run.stage: _tracking.attachment(run.id, "report.json") for run in runs}
    params = {f"{run.stage.split('@')[0]}.{key}": value for run in runs for key, value in run.params.items()}
    md5s = {path: md5 for run in runs for path, md5 in [*run.inputs.items(), run.output] if path}
    return Side(params, md5s, {stage: json.loads(text) for stage, text in texts.items() if text})


def _of_files(read: Callable[[str], str], folder: str, names: list[str]) -> Side:
    reader = YAML(typ="safe", pure=True)
    stages = (reader.load(read("dvc.lock")) or {}).get("stages", {}).values()
    data = [row for stage in stages for row in [*stage.get("deps", []), *stage.get("outs", [])]]
    return Side(
        {key: str(value) for key, value in _leaves(reader.load(read("params.yaml")) or {})},
        {row["path"]: row["md5"] for row in data if "md5" in row and not row["path"].endswith((".py", ".json"))},
        {name.removesuffix(".json"): json.loads(read(f"{folder}/{name}")) for name in names if name.endswith(".json")},
    )


def _figures(a: Side, b: Side) -> Iterator[tuple[str, str, str, str, str]]:
    """(report, figure, of a, of b, difference) of every number and rate that either side has."""
    asked = [[side.md5s.get("artifacts/synthesize"), *map(side.params.get, QUESTIONS)] for side in (a, b)]
    same = asked[0] == asked[1] and None not in asked[0]
    for name in sorted({*a.reports, *b.reports}):
        one, two = (dict(_leaves(side.reports.get(name, {}))) for side in (a, b))
        for key in sorted({*one, *two}):
            left, right = one.get(key), two.get(key)
            if key.endswith(("_low", "_high", ".low", ".high", ".n")) or not isinstance(left or right, (int, float)):
                continue
            yield name, key, _shown(one, key), _shown(two, key), _difference(one, two, key, same)


def _difference(one: Mapping[str, Any], two: Mapping[str, Any], key: str, same_questions: bool) -> str:
    """Paired where both hold marks of the same questions, else of two independent rates (Newcombe 1998, method 10)."""
    if key not in one or key not in two:
        return NONE
    marks = "marks_" + key.removeprefix("qa_")
    if same_questions and key.startswith("qa_") and marks in one and marks in two:
        found = paired(two[marks], one[marks])
        return f"{found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}] paired, n = {found['n']}"
    value, (low1, high1), (low2, high2) = two[key] - one[key], _interval(one, key), _interval(two, key)
    if low1 is None or low2 is None:
        return f"{value:+.4g}"
    low = value - math.hypot(two[key] - low2, high1 - one[key])
    high = value + math.hypot(high2 - two[key], one[key] - low1)
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


def _interval(report: Mapping[str, Any], key: str) -> tuple[Any, Any]:
    stem = key.removesuffix(".value") + "." if key.endswith(".value") else f"{key}_"
    return report.get(f"{stem}low"), report.get(f"{stem}high")


def _shown(report: Mapping[str, Any], key: str) -> str:
    if key not in report:
        return NONE
    low, high = _interval(report, key)
    value = report[key]
    return f"{value:.4f} [{low:.4f}, {high:.4f}]" if low is not None else f"{value:.6g}"


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, leaf) of nested mappings; lists are leaves."""
    for key, inner in values.items():
        name = f"{prefix}{key}"
        if isinstance(inner, dict):
            yield from _leaves(inner, f"{name}.")
        else:
            yield name, inner


def _part(title: str, heads: tuple[str, ...], rows: list[Any], whole: int) -> str:
    told = f"## {title}: {len(rows)} of {whole} differ"
    return f"{told}\n\n{table(heads, rows)}" if rows else told


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    main()
