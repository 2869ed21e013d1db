"""Knows how the corpus reads as a data card: what the data stages reported, and nothing that none of them measured."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from corpus.sources import Source
from evals.report import Evidence, table

UNKNOWN, UNASSIGNED = "not measured", "unknown"
RARE = 0.01  # a smaller share of a phase's organic characters is named as a gap
STAGES = ("ingest", "filter", "dedup", "synthesize", "mix", "tokenize")
HEADER = """\
# The corpus: data card

Every figure comes from `reports/*.json`, which the data stages wrote; what no stage measured is called "{unknown}".
Stages with a report: {present}. Characters are Unicode code points. Licences and addresses are those that the
documents carry, or their source's description in `data/sources/`. A document that comes n times in a phase counts n
times there."""

Cell = tuple[str, str, str, str]  # part (phase1 … validation), origin, language, domain


def page(evidence: Evidence, described: Mapping[str, Source]) -> str:
    """The data card in Markdown; `described`: the catalogue of data/sources."""
    found = {stage: evidence.get(stage, {}) for stage in STAGES}
    cells = sizes(found["mix"], found["tokenize"])
    sections = {
        "Sources": _sources(found, described),
        "Sizes by phase, language and domain": _sizes(cells),
        "Filter": _filter(found["filter"]),
        "Duplicates": _losses(found["dedup"]),
        "Decontamination": _contamination(found["mix"]),
        "Personal data masked": _counts(found["filter"].get("masked"), ("type", "found")),
        "Synthetic text": _synthetic(found["synthesize"], cells),
        "Known gaps": "\n".join(f"- {gap}" for gap in gaps(found, cells)),
    }
    head = HEADER.format(unknown=UNKNOWN, present=", ".join(name for name in STAGES if found[name]) or "none")
    return "\n\n".join([head, *(f"## {title}\n\n{text or UNKNOWN}" for title, text in sections.items())]) + "\n"


def sizes(mix: Mapping[str, Any], tokenize: Mapping[str, Any]) -> dict[Cell, Counter[str]]:
    """Documents, characters and, where text was tokenized, tokens of every part, origin, language and domain."""
    cells: dict[Cell, Counter[str]] = {}
    for report, wanted in ((mix, ("documents", "characters")), (tokenize, ("tokens",))):
        for part, *key, row in _leaves(report.get("domains", {}), 4):
            cell = cells.setdefault((part.split("_")[0], *key), Counter())
            cell.update({name: row[name] for name in wanted})
    return dict(sorted(cells.items()))


def gaps(evidence: Evidence, cells: Mapping[Cell, Counter[str]]) -> Iterator[str]:
    """What the figures show to be missing, rare, unequal or unmeasured, one sentence each."""
    groups: dict[tuple[str, str], Counter[str]] = {}  # (phase, taxonomy) → organic characters by value
    for (part, origin, lang, domain), count in cells.items():
        for taxonomy, value in (("languages", lang), ("domains", domain)) if origin == "organic" else ():
            groups.setdefault((part, taxonomy), Counter())[value] += count["characters"]
    for part, origin, register, row in _leaves(evidence["mix"].get("registers", {}), 3):
        if origin == "organic":
            groups.setdefault((part, "registers"), Counter())[register or UNASSIGNED] += row["characters"]
    for (part, taxonomy), counts in sorted(groups.items()):
        whole = max(counts.total(), 1)
        if taxonomy == "languages":
            yield f"{part}: languages of the organic characters: {_shares(counts, whole)}."
        elif rare := {value: count for value, count in counts.items() if count < RARE * whole}:
            yield f"{part}: {taxonomy} below {RARE:.0%} of the organic characters: {_shares(rare, whole)}."
        if UNASSIGNED in counts:
            yield f"{part}: {counts[UNASSIGNED] / whole:.1%} of the organic characters have none of the {taxonomy}."
    for part, pattern, row in _leaves(evidence["mix"].get("weights", {}), 2):
        if row["reached"] < (1 - RARE) * row["target"]:
            yield f"{part}: {pattern} reached {row['reached']:,} of the {row['target']:,} characters wanted."
    overlaps = evidence["mix"].get("contamination", {})
    if absent := sorted(name for name, row in overlaps.items() if "absent" in row):
        yield f"Evaluation sets not searched, as their items were not there: {', '.join(absent)}."
    if silent := [name for name in STAGES if not evidence[name]]:
        yield f"Stages without a report: {', '.join(silent)}."


def _sources(evidence: Evidence, described: Mapping[str, Source]) -> str:
    rows = [
        (
            name,
            license or _said(described, name, "license"),
            row["url"] or _said(described, name, "url"),
            *_figures(row),
        )
        for name, license, row in _leaves(evidence["mix"].get("sources", {}), 2)
    ]
    if not rows:
        counts = {name: sum(row.values()) for name, row in evidence["ingest"].get("by_source", {}).items()}
        said = {name: (_said(described, name, "license"), _said(described, name, "url")) for name in counts}
        rows = [(name, *said[name], f"{count:,}", UNKNOWN) for name, count in counts.items()]
    return _rows(("source", "licence", "address begins", "documents", "characters"), rows)


def _said(described: Mapping[str, Source], name: str, key: str) -> str:
    return getattr(described.get(name), key, "") or UNKNOWN


def _sizes(cells: Mapping[Cell, Counter[str]]) -> str:
    heads = ("part", "origin", "language", "domain", "documents", "characters", "tokens")
    rows = [
        (*cell, *_figures(row), f"{row['tokens']:,}" if "tokens" in row else UNKNOWN) for cell, row in cells.items()
    ]
    return _rows(heads, rows)


def _filter(report: Mapping[str, Any]) -> str:
    stages: dict[str, Counter[str]] = {}
    for _, stage, (documents, characters) in _leaves(report.get("waterfall", {}).get("by_language", {}), 2):
        stages.setdefault(stage, Counter()).update(documents=documents, characters=characters)
    taken = [(stage, *_figures(row)) for stage, row in sorted(stages.items())]
    fall = table(("stage", "documents", "characters"), taken) if taken else f"Characters by stage: {UNKNOWN}."
    return f"{_losses(report)}\n\n{fall}" if report else ""


def _losses(report: Mapping[str, Any]) -> str:
    if not report:
        return ""
    flow = f"{report['documents_in']:,} documents in, {report['documents_kept']:,} kept; "
    flow += f"{report['characters_in']:,} characters in, {report['characters_kept']:,} kept."
    return f"{flow}\n\n{_counts(report['dropped'], ('reason', 'documents dropped'))}"


def _contamination(mix: Mapping[str, Any]) -> str:
    sets = {name: row for name, row in sorted(mix.get("contamination", {}).items()) if "absent" not in row}
    rows = [
        (
            name,
            *(f"{row[key]:,}" for key in ("items", "too_short", "found")),
            UNKNOWN if row["share"] is None else f"{row['share']:.4%}",
        )
        for name, row in sets.items()
    ]
    heads = ("evaluation set", "items", "too short to search", "found in organic text", "share of those searched")
    dropped = mix.get("dropped", {}).get("contaminated", 0)
    return f"{dropped:,} organic documents were dropped for it.\n\n{table(heads, rows)}" if rows else ""


def _synthetic(report: Mapping[str, Any], cells: Mapping[Cell, Counter[str]]) -> str:
    wholes, made = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for (part, origin, lang, _), row in cells.items():
        wholes[part, lang] += row["characters"]
        made[part, lang] += row["characters"] if origin == "synthetic" else 0
    rows = [(*key, f"{made[key]:,}", f"{made[key] / whole:.1%}") for key, whole in sorted(wholes.items()) if whole]
    shares = table(("part", "language", "synthetic characters", "share"), rows) if rows else f"Shares: {UNKNOWN}."
    generators = _counts(report.get("documents"), ("generator", "documents made")) or f"Generators: {UNKNOWN}."
    return f"{generators}\n\n{shares}" if report else ""


def _counts(counts: Mapping[str, int] | None, heads: Sequence[str]) -> str:
    if counts is None:
        return ""
    return table(heads, ((name, f"{count:,}") for name, count in sorted(counts.items()))) if counts else "None."


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(heads, rows) if rows else ""


def _shares(counts: Mapping[str, int], whole: int) -> str:
    return ", ".join(f"{value} {count / whole:.2%}" for value, count in sorted(counts.items()))


def _figures(row: Mapping[str, int]) -> tuple[str, str]:
    return f"{row['documents']:,}", f"{row['characters']:,}"


def _leaves(tree: Mapping[str, Any], depth: int) -> Iterator[tuple[Any, ...]]:
    """(key, key, …, leaf) of mappings nested `depth` deep, sorted."""
    for key, inner in sorted(tree.items()):
        yield from ((key, *rest) for rest in (_leaves(inner, depth - 1) if depth > 1 else [(inner,)]))
