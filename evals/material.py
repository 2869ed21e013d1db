"""Knows where the judge's material lies: JSON lines with their line numbers, held-out documents."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus import shards


class MaterialError(ValueError):
    """Material that cannot be used: file, line, remedy."""


def read_jsonl(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file:line", record) of every line; MaterialError for a line that is no JSON object and for an empty file."""
    text = file.read_text(encoding="utf-8")  # which may hold U+2028 inside a string: no end of a line
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise MaterialError(f"{file}: is empty; make it again (dvc repro) or restore it from the repository")
    for number, line in lines:
        try:
            yield f"{file}:{number}", {**json.loads(line)}
        except (TypeError, ValueError) as error:
            raise MaterialError(f"{file}:{number}: not a JSON object ({error}); mend or remake it") from None


def held_out_texts(folder: Path, *, lang: str, max_bytes: int) -> list[str]:
    """Whole validation documents of one language, in order, until `max_bytes` of UTF-8 are reached (at least one)."""
    texts, size = [], 0
    for text in (document["text"] for document in shards.read(folder) if document["lang"] == lang):
        if text and size < max_bytes:
            texts.append(text)
            size += len(text.encode())
    if not texts:
        raise MaterialError(f"{folder}: no held-out text in {lang!r}; give text in it or raise mix's validation share")
    return texts
