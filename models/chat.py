"""Knows how conversations become training rows: ids, and which of them bear loss."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_mini.format import chat_segments

from models.batches import Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Dropped = dict[str, int]


def conversation_rows(
    file: Path, tokenizer: Path, *, context: int, limit: float, kind: str = ""
) -> tuple[list[Row], Dropped]:
    """Every conversation of a JSONL file ({"messages", perhaps "tools"}) as (ids, 1 where the token is the assistant's
    own, its <|eot_id|> included), and how many were dropped, for none is ever cut to `context` + 1 ids.

    With `kind` those alone whose "kind" it is. Raises ValueError naming the line of a bad record, or when more than the
    share `limit`, or all, had to be dropped.
    """
    coder, rows = _coder(tokenizer), []
    for place, record in _records(file):
        if kind and record.get("kind") != kind:
            continue
        row = _row(place, record["messages"], coder, record.get("tools") or ())
        if not any(row[1]):
            raise ValueError(f"{place}: no turn of the assistant, so nothing to learn; mend or remove the line")
        rows.append((place, [row]))
    if kind and not rows:
        raise ValueError(f"{file}: no conversation of kind {kind!r}; let synthesize make some, or do not ask for them")
    return _within(rows, context, limit)


def preference_rows(pairs: Iterable[Any], tokenizer: Path, *, context: int, limit: float) -> tuple[list[Row], Dropped]:
    """Chosen and rejected rows of each pair (corpus/preferences.py), one after the other; loss on the reply only.

    A pair stays or goes whole; otherwise as `conversation_rows`.
    """
    coder, found = _coder(tokenizer), []
    for pair in pairs:
        asked = len(_row(pair.place, pair.prompt, coder, pair.tools)[0])  # ends with the header of the reply
        both = []
        for reply in (pair.chosen, pair.rejected):
            answered = [*pair.prompt, {"role": "assistant", "content": reply}]
            ids, bears = _row(pair.place, answered, coder, pair.tools)
            both.append((ids, [0] * asked + bears[asked:]))
        found.append((pair.place, both))
    return _within(found, context, limit)


def conversation_row(messages: list[Any], coder: "Tokenizer", tools: Sequence[Any] = ()) -> Row:
    """ids of the rendered chat; content is never read as control tokens, exactly as the runtime encodes it."""
    ids: list[int] = []
    bears: list[int] = []
    for segment in chat_segments(messages, tools):
        coder.encode_special_tokens = not segment.control
        part = coder.encode(segment.text, add_special_tokens=False).ids
        ids += part
        bears += [int(segment.learned)] * len(part)
    return ids, bears


def _row(place: str, messages: list[Any], coder: "Tokenizer", tools: Sequence[Any]) -> Row:
    try:
        return conversation_row(messages, coder, tools)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{place}: {error}") from error


def _within(groups: list[tuple[str, list[Row]]], context: int, limit: float) -> tuple[list[Row], Dropped]:
    """The rows of the groups that fit whole; each group with its place."""
    long = [place for place, group in groups if any(len(ids) > context + 1 for ids, _ in group)]
    if len(long) == len(groups) or len(long) > limit * len(groups):
        trouble = f"{len(long)} of {len(groups)} records are longer than the context of {context} tokens"
        first = f"{long[0]} is the first, " if long else ""
        raise ValueError(f"{trouble}: {first}{limit:.0%} may be dropped; raise the context or shorten them")
    lost = set(long)
    rows = [row for place, group in groups if place not in lost for row in group]
    return rows, {"longer than context": len(long)}


def _coder(tokenizer: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tokenizer / "tokenizer.json"))


def _records(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record and its place, `file:line`."""
    lines = file.read_text(encoding="utf-8").split("\n")  # a text may hold U+2028, which splitlines takes for an end
    for number, line in ((n, line) for n, line in enumerate(lines, 1) if line):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}:{number}: not JSON ({error.msg}); mend or remove the line") from None
        if "messages" not in record:
            raise ValueError(f"{file}:{number}: no 'messages'; each record needs them")
        yield f"{file}:{number}", record
