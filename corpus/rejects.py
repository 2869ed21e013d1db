"""Knows how to show what was removed: a page per reason with a sample of the documents that were dropped for it."""

import html
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from corpus.lots import lot

PER_REASON = 40  # examples on a page
EXCERPT = 1500  # characters of an example
_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}pre{{white-space:pre-wrap;\
background:#f4f4f4;padding:1em}}td{{padding-right:2em}}</style>
<h1>{title}</h1>
{body}
"""


def sample(rows: Iterable[dict]) -> list[dict]:
    """At most PER_REASON rows of each reason, those with the smallest lots, their texts cut."""
    by_reason = defaultdict(list)
    for row in sorted(rows, key=lambda row: lot(row["id"])):
        by_reason[row["reason"]].append(row | {"text": row["text"][:EXCERPT]})
    return [row for reason in sorted(by_reason) for row in by_reason[reason][:PER_REASON]]


def write(folder: Path, rows: list[dict]) -> None:
    """Writes index.html and a page per reason; rows have id, source, stage, reason, rule, value and text."""
    folder.mkdir()
    pages = defaultdict(list)
    for row in sample(rows):
        pages[row["reason"]].append(row)
    for reason, examples in pages.items():
        title = f"Dropped as {reason} (stage {examples[0]['stage']})"
        (folder / f"{reason}.html").write_text(page(title, "\n".join(map(_example, examples))))
    links = "".join(f'<li><a href="{reason}.html">{reason}</a>: {len(rows)} shown' for reason, rows in pages.items())
    (folder / "index.html").write_text(page("Dropped documents", f"<ul>{links}</ul>"))


def changes(rows: Iterable[tuple[str, str, str]]) -> str:
    """The body of a page that shows (id, before, after) side by side."""
    cells = "".join(
        f"<tr><td colspan=2><h3>{html.escape(name)}</h3><tr><td><pre>{html.escape(before[:EXCERPT])}</pre>"
        f"<td><pre>{html.escape(after[:EXCERPT])}</pre>"
        for name, before, after in rows
    )
    return f"<table><tr><th>before<th>after{cells}</table>"


def page(title: str, body: str) -> str:
    """A whole HTML page."""
    return _PAGE.format(title=html.escape(title), body=body)


def _example(row: dict) -> str:
    name, text = html.escape(row["id"]), html.escape(row["text"])
    said = html.escape(f"{row['source']}: {row['rule']} = {row['value']}")
    return f"<h3>{name}</h3><p>{said}</p><pre>{text}</pre>"
