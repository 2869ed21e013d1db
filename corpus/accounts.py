"""Knows how mixed documents are counted: by origin, language and domain, with sums that are exact."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

ORGANIC, SYNTHETIC = "organic", "synthetic"  # origins; the latter is also the kind of what a generator wrote


def group(document: Mapping[str, Any]) -> tuple[str, str, str]:
    """Origin, language and domain of a mixed document."""
    origin = SYNTHETIC if document["kind"] == SYNTHETIC else ORGANIC
    return origin, document["lang"], document["domain"]


def sums(table: pa.Table, by: Sequence[str], numbers: Sequence[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Documents, and the sums of columns, of each group: (values of `by`) → {"documents", *numbers}."""
    groups = table.group_by(list(by)).aggregate([*((name, "sum") for name in numbers), ([], "count_all")])
    rows = groups.rename_columns([*by, *numbers, "documents"]).to_pylist()
    return {tuple(row.pop(name) for name in by): row for row in rows}


def nested(counts: Mapping[tuple[str, ...], Mapping[str, Any]]) -> dict[str, Any]:
    """Counts by key tuples as nested mappings, sorted, for a report."""
    tree: dict[str, Any] = {}
    for key, row in sorted(counts.items()):
        branch = tree
        for part in key:
            branch = branch.setdefault(part, {})
        branch.update(row)
    return tree
