"""Knows how conversations become training rows: ids, and which of them bear loss."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_mini.format import chat_segments

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Row = tuple[list[int], list[int]]


def conversation_rows(file: Path, tokenizer: Path, *, context: int) -> list[Row]:
    """Every conversation of a JSONL file as (ids, 1 where the token is the assistant's own, its <|eot_id|> included).

    Rows longer than `context` + 1 ids are cut. Raises ValueError naming the line of a bad record.
    """
    coder = _coder(tokenizer)
    rows = (conversation_row(row["messages"], coder) for row in _records(file, ("messages",)))
    return [(ids[: context + 1], bears[: context + 1]) for ids, bears in rows]


def preference_rows(file: Path, tokenizer: Path, *, context: int) -> list[Row]:
    """Chosen and rejected rows of each pair, one after the other; loss on the reply only."""
    coder, rows = _coder(tokenizer), []
    for pair in _records(file, ("prompt", "chosen", "rejected")):
        asked = len(conversation_row(pair["prompt"], coder)[0])  # ends with the header of the reply
        for reply in (pair["chosen"], pair["rejected"]):
            ids, bears = conversation_row([*pair["prompt"], {"role": "assistant", "content": reply}], coder)
            rows.append((ids[: context + 1], ([0] * asked + bears[asked:])[: context + 1]))
    return rows


def conversation_row(messages: list[Any], coder: "Tokenizer") -> Row:
    """ids of the rendered chat; content is never read as control tokens, exactly as the runtime encodes it."""
    ids: list[int] = []
    bears: list[int] = []
    for segment in chat_segments(messages):
        coder.encode_special_tokens = not segment.control
        part = coder.encode(segment.text, add_special_tokens=False).ids
        ids += part
        bears += [int(segment.learned)] * len(part)
    return ids, bears


def _coder(tokenizer: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tokenizer / "tokenizer.json"))


def _records(file: Path, keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}:{number}: not JSON ({error.msg}); mend or remove the line") from None
        missing = [key for key in keys if key not in record]
        if missing:
            raise ValueError(f"{file}:{number}: no '{missing[0]}'; each record needs {', '.join(keys)}")
        yield record
