"""Knows how a bundle is compared with its manifest, offline: size and digest of each file, none missing or besides."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from midm_mini.format import MANIFEST
from midm_mini.headers.suspect import MIB, Suspect

SIZE, FILES = MIB, 4_096
FIELDS = frozenset({"path", "bytes", "sha256"})
PATH = re.compile(r"(?!\.)[^/\\:\x00-\x1f\x7f]{1,255}(/(?!\.)[^/\\:\x00-\x1f\x7f]{1,255}){0,8}")  # no `..`, no drive


class Row(NamedTuple):
    """One file and what is wrong with it; "" where it is as the manifest says."""

    path: str
    bytes: int
    fault: str


def compare(folder: Path) -> Iterator[Row]:
    """Yields a row for each file the manifest lists and for each it does not; MidmError when it is itself unsound."""
    listed = _listed(Suspect(folder / MANIFEST))
    for path, (size, digest) in listed.items():
        yield Row(path, size, _fault(folder / path, size, digest))
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if (file.is_symlink() or not file.is_dir()) and path not in listed and path != MANIFEST:
            yield Row(path, file.lstat().st_size, "not in the manifest")


def _listed(suspect: Suspect) -> dict[str, tuple[int, str]]:
    """Path → size and sha256; only `files` is read of the manifest, and strictly."""
    rows = suspect.json(most=SIZE).get("files")
    suspect.must(isinstance(rows, list) and 0 < len(rows) <= FILES, "files", type(rows).__name__, f"1 to {FILES} rows")
    found, folded = dict[str, tuple[int, str]](), set[str]()
    for index, row in enumerate(rows):
        field, fields = f"files[{index}]", ", ".join(sorted(FIELDS))
        suspect.must(isinstance(row, dict) and row.keys() == FIELDS, field, row, f"{fields} and nothing else")
        path, digest = row["path"], row["sha256"]
        inside = isinstance(path, str) and PATH.fullmatch(path) and path != MANIFEST
        suspect.must(inside, f"{field}.path", path, "a plain path inside the folder")
        suspect.must(path.casefold() not in folded, f"{field}.path", path, "each file once")
        folded.add(path.casefold())  # some file systems would take two spellings for one
        plain = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
        suspect.must(plain, f"{field}.sha256", digest, "64 hexadecimal digits")
        found[path] = (suspect.whole(row["bytes"], f"{field}.bytes", 0, 1 << 50), digest)
    return found


def _fault(file: Path, size: int, digest: str) -> str:
    if not file.is_file():
        return "missing"
    if (found := file.stat().st_size) != size:
        return f"{found} bytes, the manifest says {size}"
    with file.open("rb") as stream:
        actual: Any = hashlib.file_digest(stream, "sha256").hexdigest()
    return "" if actual == digest else f"sha256 {actual[:12]}…, the manifest says {digest[:12]}…"
