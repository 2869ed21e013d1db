"""Knows how mixed documents are counted: by origin, language and domain, with sums that are exact."""

from collections.abc import Mapping
from typing import Any, NamedTuple

ORGANIC, SYNTHETIC = "organic", "synthetic"  # origins; the latter is also the kind of what a generator wrote


class Group(NamedTuple):
    """What documents that are counted together have in common."""

    origin: str
    lang: str
    domain: str
    register: str
    source: str
    license: str
    label: str

    @property
    def cell(self) -> str:
        """What the weights of a phase look at: language/domain, behind `synthetic/` where that is the origin."""
        return f"{self.lang}/{self.domain}" if self.origin == ORGANIC else f"{SYNTHETIC}/{self.lang}/{self.domain}"


def key_of(document: Mapping[str, Any]) -> tuple[str, str, str]:
    """Origin, language and domain of a mixed document."""
    origin = SYNTHETIC if document["kind"] == SYNTHETIC else ORGANIC
    return origin, document["lang"], document["domain"]


def nested(counts: Mapping[tuple[str, ...], Mapping[str, Any]]) -> dict[str, Any]:
    """Counts by key tuples as nested mappings, sorted, for a report."""
    tree: dict[str, Any] = {}
    for key, row in sorted(counts.items()):
        branch = tree
        for part in key:
            branch = branch.setdefault(part, {})
        branch.update(row)
    return tree
