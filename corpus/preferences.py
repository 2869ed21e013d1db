"""Knows preference pairs in the forms people keep them in: two replies to a prompt, conversations, transcripts."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from corpus.reading import Quarantined, files, read_rows

LONGEST_ROW = 1 << 24  # bytes
ROLES = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")


class Pair(NamedTuple):
    """A prompt and two replies to it, of which the first was preferred; `place` is file and number of the record."""

    place: str
    prompt: list[dict[str, Any]]
    chosen: str
    rejected: str
    tools: list[Any]


def read(*sources: Path, limit: float) -> tuple[list[Pair], dict[str, int]]:
    """The pairs of files, or of all files below folders but their pages; and how many records were none, by reason.

    Each of those is named in a line of output; ValueError when they are more than the share `limit` of all.
    """
    pairs, dropped = list[Pair](), Counter[str]()
    below = [[source] if source.is_file() else files(source) for source in sources]
    for file in (file for found in below for file in found if file.suffix != ".md"):
        for number, record in enumerate(read_rows(file, file.name, max_record_bytes=LONGEST_ROW), 1):
            try:
                pairs.append(_pair(f"{file}:{number}", record))
            except ValueError as error:
                print(f"{file}:{number}: dropped: {error}", flush=True)
                dropped[str(error)] += 1
    if dropped.total() > limit * (len(pairs) + dropped.total()):
        why = ", ".join(f"{times} × {reason}" for reason, times in dropped.items())
        raise ValueError(f"{', '.join(map(str, sources))}: too many records are no preference pairs ({why}); mend them")
    return pairs, dict(dropped)


def _pair(place: str, record: Any) -> Pair:
    if isinstance(record, Quarantined):
        raise ValueError(record.reason.replace("_", " "))
    if not isinstance(record, dict) or not {"chosen", "rejected"} <= record.keys():
        raise ValueError("no 'chosen' and 'rejected'")
    chosen, rejected = (_talk(record.get("prompt"), record[side]) for side in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise ValueError("the two differ before their last turn")
    if chosen == rejected:
        raise ValueError("chosen and rejected are the same")
    better, worse = (talk[-1]["content"] for talk in (chosen, rejected))
    return Pair(place, chosen[:-1], better, worse, list(record.get("tools") or []))


def _talk(prompt: Any, said: Any) -> list[dict[str, Any]]:
    """The whole conversation that one side of a record stands for; it ends with a reply that says something."""
    if isinstance(said, str):
        asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        talk = [*asked, {"role": "assistant", "content": said}] if asked else list(_turns(said))
    else:
        talk = list(said or [])
    if len(talk) < 2 or not all(isinstance(turn, dict) and isinstance(turn.get("content"), str) for turn in talk):
        raise ValueError("not a prompt and a reply")
    if talk[-1].get("role") != "assistant" or not talk[-1]["content"].strip():
        raise ValueError("the last turn is no reply of the assistant")
    return talk


def _turns(transcript: str) -> Iterator[dict[str, Any]]:
    before, *parts = TURN.split(transcript)
    if before.strip():
        raise ValueError("a transcript begins with 'Human:' or 'Assistant:'")
    for role, content in zip(parts[::2], parts[1::2], strict=True):
        yield {"role": ROLES[role], "content": content.strip()}
