"""Knows how conversations held back from training are judged: bits per byte of what the assistant says in them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from midm_mini.format import MidmError, chat_segments

from evals.material import MaterialError, read_jsonl
from evals.metrics import continuation
from evals.subject import Subject
from evals.trials import Trial

Conversation = Mapping[str, Any]


def read_conversations(file: Path, *, per_source: int) -> list[Conversation]:
    """The first conversations of each source (else kind); MaterialError names a line without an assistant's turn."""
    kept: dict[str, list[Conversation]] = {}
    brought = file.exists() and file.stat().st_size > 0  # conversations are the user's own, or there are none
    for where, record in read_jsonl(file) if brought else ():
        try:
            spoken = any(part.learned for part in chat_segments(record["messages"], record.get("tools", ())))
        except (KeyError, TypeError, MidmError) as error:
            raise MaterialError(f"{where}: no conversation ({error}); mend it or run synthesize again") from None
        if not spoken:
            raise MaterialError(f"{where}: the assistant says nothing; remove the line or run synthesize again")
        kept.setdefault(source(record), []).append(record)
    return [record for group in kept.values() for record in group[:per_source]]


def source(record: Conversation) -> str:
    """What a conversation is counted under."""
    return str(record.get("source") or record.get("kind") or "given")


def judge(subject: Subject, conversations: Sequence[Conversation]) -> dict[str, dict[str, Any]]:
    """By source: {nats, bytes} of the assistant's words in each conversation, and the turns that no context holds."""
    found: dict[str, dict[str, Any]] = {}
    for record in conversations:
        group = found.setdefault(source(record), {"nats": [], "bytes": [], "too_long": 0})
        nats, size, too_long = spoken(subject, record["messages"], record.get("tools", ()))
        group["too_long"] += too_long
        if size:
            group["nats"].append(round(nats, 4))
            group["bytes"].append(size)
    return found


def spoken(subject: Subject, messages: Sequence[Any], tools: Sequence[Any]) -> tuple[float, int, int]:
    """Nats and UTF-8 bytes of the assistant's turns given all before them, and how many exceed the context."""
    nats, size, too_long = 0.0, 0, 0
    for end in (n for n, message in enumerate(messages) if message["role"] == "assistant"):
        prompt = subject.chat_ids(messages[:end], tools)
        words = chat_segments(messages[: end + 1], tools)[-2].text  # before its end of turn
        ids = subject.encode(words)
        if len(prompt) + len(ids) > subject.context:
            too_long += 1
        elif ids:
            nats -= continuation(subject.logits([*prompt, *ids[:-1]])[len(prompt) - 1 :], ids)
            size += len(words.encode())
    return nats, size, too_long


def openings(subject: Subject, conversations: Sequence[Conversation], *, per_source: int) -> list[Trial]:
    """The first of each source up to its last reply, which stands as what was expected: to be answered and read."""
    counts: Counter[str] = Counter()
    trials = []
    for record in conversations:
        messages, tools = record["messages"], list(record.get("tools", ()))
        end = max(n for n, message in enumerate(messages) if message["role"] == "assistant")
        fits = end > 0 and len(subject.chat_ids(messages[:end], tools)) < subject.context
        if fits and counts[source(record)] < per_source:
            counts[source(record)] += 1
            about = {"id": str(record["id"]), "lang": record["lang"], "kind": "held back"}
            said = chat_segments(messages[: end + 1])[-2].text
            asked = {"messages": messages[:end], "tools": tools, "expected": [said]}
            trials.append(Trial.model_validate(about | asked))
    return trials
