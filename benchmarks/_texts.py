"""Knows the texts that benchmarks run on: a folder made thinner, several times a folder, a folder in other order."""

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_WORD = re.compile(r"\w+")


def files(data: Path) -> list[Path]:
    """The gzipped JSON lines below a folder, in the order of their names."""
    return sorted(data.rglob("*.jsonl.gz"))


def rows(file: Path) -> Iterator[dict]:
    """The records of one file."""
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def text(row: dict) -> str:
    """A record's text; that of a parallel pair is both sides, as in corpus/reading.py."""
    return row.get("text") or "\n".join(row[key] for key in ("ko", "en") if row.get(key))


def size(data: Path) -> float:
    """Megabytes of text (UTF-8) below a folder."""
    return sum(len(text(row).encode()) for file in files(data) for row in rows(file)) / 1e6


def write(file: Path, records: Iterable[dict]) -> None:
    """Writes records as gzipped JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wt", compresslevel=1, encoding="utf-8") as stream:
        stream.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def thin(data: Path, folder: Path, megabytes: float) -> None:
    """About `megabytes` of text, every file's rows evenly spaced, with ids that stay when files move."""
    step = max(1.0, size(data) / megabytes)
    for file in files(data):
        name = file.relative_to(data).as_posix()
        kept = (
            row for number, row in enumerate(rows(file)) if int(number / step) != int((number - 1) / step) or not number
        )
        named = (row | {"id": f"{name}/{number}", "text": text(row)} for number, row in enumerate(kept) if text(row))
        write(folder / name, ({key: value for key, value in row.items() if key not in ("ko", "en")} for row in named))


def multiply(data: Path, folder: Path, times: int) -> None:
    """`times` versions of every document; in each but the first, about two words in three are other words.

    The thousand commonest words and all with digits stay; any other becomes the one that stands `version` places on
    among the folder's words of its length, last letter and script. So lengths, endings, function words and markup stay
    what the rules expect, while no run of words does: versions are no copies of each other.
    """
    counts = Counter(word for file in files(data) for row in rows(file) for word in _WORD.findall(row["text"]))
    kept = {word for word, _ in counts.most_common(1000)} | {word for word in counts if not word.isalpha()}
    alike: dict[tuple, list[str]] = defaultdict(list)
    for word in sorted(counts.keys() - kept):
        alike[len(word), word[-1], word.isascii(), word[0].isupper()].append(word)
    for version in range(times):
        other = {word: group[(at + version) % len(group)] for group in alike.values() for at, word in enumerate(group)}
        for file in files(data):
            changed = (
                row | {"id": f"{version}/{row['id']}", "text": _replaced(row["text"], other)} for row in rows(file)
            )
            write(folder / f"{version}" / file.relative_to(data), changed)


def by_name(data: Path, folder: Path, name: Callable[[str], str]) -> None:
    """The same files under other names, hence in another order."""
    for file in files(data):
        target = folder / name(file.relative_to(data).as_posix())
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file.resolve())


def _replaced(words: str, other: dict[str, str]) -> str:
    return _WORD.sub(lambda it: other.get(it[0], it[0]), words)
