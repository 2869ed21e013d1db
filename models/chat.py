"""Knows how conversations become training rows: ids, and which of them bear loss."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_mini.format import chat_segments

from models.batches import Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Dropped = dict[str, int]


def conversation_rows(file: Path, tokenizer: Path, *, context: int, limit: float) -> tuple[list[Row], Dropped]:
    """Every conversation of a JSONL file ({"messages", perhaps "tools"}) as (ids, 1 where the token is the assistant's
    own, its <|eot_id|> included), and how many were dropped, for none is ever cut to `context` + 1 ids.

    Raises ValueError naming the line of a bad record, or when more than the share `limit`, or all, had to be dropped.
    """
    coder, rows = _coder(tokenizer), []
    for place, record in _records(file, ("messages",)):
        row = _row(place, record["messages"], coder, record.get("tools") or ())
        if not any(row[1]):
            raise ValueError(f"{place}: no turn of the assistant, so nothing to learn; mend or remove the line")
        rows.append([row])
    return _within(file, rows, context, limit)


def preference_rows(file: Path, tokenizer: Path, *, context: int, limit: float) -> tuple[list[Row], Dropped]:
    """Chosen and rejected rows of each pair, one after the other; loss on the reply only. A pair stays or goes whole;
    otherwise as `conversation_rows`."""
    coder, pairs = _coder(tokenizer), []
    for place, pair in _records(file, ("prompt", "chosen", "rejected")):
        tools = pair.get("tools") or ()
        asked = len(_row(place, pair["prompt"], coder, tools)[0])  # ends with the header of the reply
        both = []
        for reply in (pair["chosen"], pair["rejected"]):
            answered = [*pair["prompt"], {"role": "assistant", "content": reply}]
            ids, bears = _row(place, answered, coder, tools)
            both.append((ids, [0] * asked + bears[asked:]))
        pairs.append(both)
    return _within(file, pairs, context, limit)


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


def _within(file: Path, groups: list[list[Row]], context: int, limit: float) -> tuple[list[Row], Dropped]:
    kept = [group for group in groups if all(len(ids) <= context + 1 for ids, _ in group)]
    lost = len(groups) - len(kept)
    if not kept or lost > limit * len(groups):
        trouble = f"{file}: {lost} of {len(groups)} records are longer than the context of {context} tokens"
        raise ValueError(f"{trouble}, and {limit:.0%} may be dropped; raise the context or shorten them")
    return [row for group in kept for row in group], {"longer than context": lost}


def _coder(tokenizer: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tokenizer / "tokenizer.json"))


def _records(file: Path, keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record and its place, `file:line`."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}:{number}: not JSON ({error.msg}); mend or remove the line") from None
        missing = [key for key in keys if key not in record]
        if missing:
            raise ValueError(f"{file}:{number}: no '{missing[0]}'; each record needs {', '.join(keys)}")
        yield f"{file}:{number}", record
