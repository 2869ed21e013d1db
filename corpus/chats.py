"""Knows chat files that others wrote: reads their formats into conversations, and gives every row a verdict."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from midm_mini.format import MidmError, chat_segments
from pydantic import BaseModel, ConfigDict, ValidationError

from corpus.reading import Quarantined, read_rows
from corpus.synthesis import REPLY, SOLUTION_FORM
from corpus.world import LANGUAGES, SLOT

LONGEST_ROW = 1 << 20  # bytes
FILES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
ROLES = {  # of OpenAI's and ShareGPT's files, in ours
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "function_call": "assistant", "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
REASONING = re.compile(r"<think>.*?(?:</think>|\Z)\s*|\A(?:풀이|Solution):.*?\n(?=(?:답|Answer):)", re.DOTALL)


class ChatError(ValueError):
    """Chat files or an adapter that cannot be used; the message names the file, the row and the remedy."""


class Given(BaseModel):
    """The user's own chat files."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    folder: str  # that dvc.yaml hands over as --chats
    files: list[str]  # names or glob patterns in it; "*" may find none
    reasoning: Literal["keep", "drop"]  # of <think>…</think>, and of "풀이:" or "Solution:" before the answer
    max_bad: float  # share of a file's rows that may be quarantined
    held_back: float  # share, by lot, that is kept from training to judge it by


class Adapter(BaseModel):
    """A flat source as data/conversations/<name>.yaml describes it; templates name fields as {field} or {a.0.b}."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: str  # of its file, which is <name>.jsonl, .jsonl.gz or .jsonl.zst
    lang: Literal["ko", "en"]
    user: str
    assistant: str
    system: str = ""
    where: dict[str, list[str]] = {}  # only rows with one of these values are taken
    remove: str = ""  # what this pattern matches is cut from the reply
    final: str = ""  # the mark in a reply that parts the reasoning from the final answer
    license: str
    url: str


class Verdict(NamedTuple):
    """What becomes of a row: its conversation if there is no `reason`; `bad` rows are quarantined, others dropped."""

    file: str
    line: int
    conversation: dict[str, Any]
    reason: str = ""
    bad: bool = False


def read_adapters(folder: Path) -> dict[str, Adapter]:
    """The adapters by name; ChatError names the file and the key that is wrong."""
    from ruamel.yaml import YAML, YAMLError

    found = {}
    for file in sorted(folder.glob("*.yaml")):
        try:
            found[file.stem] = Adapter.model_validate(YAML(typ="safe", pure=True).load(file))
        except (ValidationError, YAMLError) as error:
            raise ChatError(f"{file}: {' '.join(str(error).split())}; compare with the other files there") from None
        if found[file.stem].name != file.stem:
            raise ChatError(f"{file}: name is {found[file.stem].name!r}; make it equal to the file's name")
    return found


def collected(
    folder: Path, adapters: Path, given: Given, *, gate: Callable[[Sequence[str]], Sequence[str]]
) -> list[Verdict]:
    """A verdict for every row of the given files; `adapters` is the folder of adapters; raises ChatError."""
    return settled(read(folder, given, read_adapters(adapters)), max_bad=given.max_bad, gate=gate)


def read(folder: Path, given: Given, known: Mapping[str, Adapter]) -> Iterator[Verdict]:
    """A verdict for every row of the given files, in the order of their names; ChatError if a named file is absent."""
    for pattern in given.files:
        if pattern != "*" and not any(folder.glob(pattern)):
            raise ChatError(f"{folder}: no file {pattern} there; mend synthesize.given.files or the folder")
    found = {path for pattern in given.files for path in folder.glob(pattern) if path.name.endswith(FILES)}
    for path in sorted(found):
        adapter = known.get(path.name.split(".jsonl")[0])
        rows = read_rows(path, path.name, max_record_bytes=LONGEST_ROW, make=lambda row, *, file, line: (line, row))
        for row in rows:
            if isinstance(row, Quarantined):
                yield Verdict(path.name, row.line, {}, row.reason, bad=True)
            else:
                yield _verdict(path.name, *row, adapter=adapter, reasoning=given.reasoning)


def settled(
    verdicts: Iterable[Verdict], *, max_bad: float, gate: Callable[[Sequence[str]], Sequence[str]]
) -> list[Verdict]:
    """The verdicts with repeated conversations and those that the gate has a reason against dropped.

    Raises ChatError if more than `max_bad` of a file's rows are quarantined.
    """
    rows, seen = [*verdicts], set()
    texts = [json.dumps(row.conversation.get("messages"), ensure_ascii=False) for row in rows]
    for place, (row, text, reason) in enumerate(zip(rows, texts, gate(texts), strict=True)):
        if not row.reason:
            rows[place] = row._replace(reason=reason or ("duplicate" if text in seen else ""))
            seen.add(text)
    for file, total in Counter(row.file for row in rows).items():
        bad = [row for row in rows if row.file == file and row.bad]
        if len(bad) > max_bad * total:
            first = "; ".join(f"{row.file}:{row.line} {row.reason}" for row in bad[:3])
            raise ChatError(f"{len(bad)} of {total} rows are no conversations, more than {max_bad:.1%}: {first}; "
                            "mend them, or raise synthesize.given.max_bad")  # fmt: skip
    return rows


def records(rows: Iterable[Verdict], share: float, *, lot: Callable[..., int]) -> dict[str, list]:
    """The kept conversations by the name of their file: dialogues, or held_back for a share of them by lot."""
    kept = [row.conversation for row in rows if not row.reason]
    back = {talk["id"] for talk in kept if lot("held back", talk["source"], talk["messages"][:-1]) < share * 2**64}
    parts = {"dialogues": [talk for talk in kept if talk["id"] not in back]}
    return parts | {"held_back": [talk for talk in kept if talk["id"] in back]}


def account(rows: Iterable[Verdict]) -> dict[str, dict[str, Any]]:
    """Per file how many rows were read, kept, and dropped or quarantined for which reason."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        counts = found.setdefault(row.file, {"read": 0, "kept": 0, "dropped": Counter(), "quarantined": Counter()})
        counts["read"] += 1
        if row.reason:
            counts["quarantined" if row.bad else "dropped"][row.reason.partition(":")[0]] += 1
        else:
            counts["kept"] += 1
    return found


def _verdict(file: str, line: int, record: Any, *, adapter: Adapter | None, reasoning: str) -> Verdict:
    try:
        if not isinstance(record, dict):
            raise ChatError("not_an_object")
        where = dict(adapter.where) if adapter else {}
        if any(str(record.get(field)) not in values for field, values in where.items()):
            return Verdict(file, line, {}, "not_chosen")
        if str(record.get("split", "train")) != "train":  # whatever the format: what is marked test is never trained on
            return Verdict(file, line, {}, "not_for_training")
        made = _adapted(record, adapter, reasoning) if adapter else _known(record, reasoning)
        _check(made)
    except ChatError as error:
        return Verdict(file, line, {}, str(error), bad=True)
    lang = adapter.lang if adapter else _language(record, made["messages"])
    named = {"id": f"dialogue/given/{file}:{line}"}
    return Verdict(file, line, {**named, "lang": lang, "kind": "given", "source": file.split(".jsonl")[0], **made})


def _adapted(record: dict, adapter: Adapter, reasoning: str) -> dict[str, Any]:
    system, user, reply = (_fill(text, record) for text in (adapter.system, adapter.user, adapter.assistant))
    reply = re.sub(adapter.remove, "", reply) if adapter.remove else reply
    if adapter.final:
        work, mark, answer = (part.strip() for part in reply.rpartition(adapter.final))
        if not mark:
            raise ChatError(f"no_final_answer: nothing after {adapter.final!r}")
        form = SOLUTION_FORM[adapter.lang].split("\n", 1)[1] if reasoning == "keep" else REPLY[adapter.lang]
        reply = form.format(w=work, a=answer, o=answer)
    turns = [("system", system), ("user", user), ("assistant", _final(reply, reasoning))]
    return {"messages": [{"role": role, "content": text} for role, text in turns if text or role != "system"]}


def _fill(template: str, record: dict) -> str:
    def field(match: re.Match[str]) -> str:
        value: Any = record
        for key in match[1].split("."):
            try:
                value = value[int(key) if isinstance(value, list) else key]
            except (LookupError, TypeError, ValueError):
                raise ChatError(f"missing_field: {match[1]}") from None
        if not isinstance(value, str):
            raise ChatError(f"not_text: {match[1]}")
        return value

    return SLOT.sub(field, template).strip()


def _known(record: dict, reasoning: str) -> dict[str, Any]:
    """OpenAI's `messages`, ShareGPT's `conversations` or Alpaca's `instruction`, by what the record has."""
    if "messages" in record:
        turns = _list(record, "messages")
        made = [_turn(turn.get("role"), turn.get("content"), turn, reasoning) for turn in turns]
    elif "conversations" in record:
        made = [_shared(turn, reasoning) for turn in _list(record, "conversations")]
    elif "instruction" in record:
        user = "\n".join(_text(record[key]) for key in ("instruction", "input") if record.get(key))
        made = [_turn("user", user, {}, reasoning), _turn("assistant", record.get("output"), {}, reasoning)]
    else:
        raise ChatError("unknown_format: no messages, conversations or instruction")
    if record.get("system") and made[:1] and made[0]["role"] != "system":
        made.insert(0, _turn("system", record["system"], {}, reasoning))
    tools = record.get("tools") or []
    tools = _json(tools, "tools") if isinstance(tools, str) else tools
    return {"messages": made} | ({"tools": tools} if tools else {})


def _shared(turn: dict, reasoning: str) -> dict[str, Any]:
    role, value = turn.get("from"), turn.get("value")
    if role == "function_call":
        return _turn(role, "", {"tool_calls": [_json(_text(value), "tool_call")]}, reasoning)
    return _turn(role, value, {}, reasoning)


def _turn(role: Any, content: Any, more: dict, reasoning: str) -> dict[str, Any]:
    if role not in ROLES:
        raise ChatError(f"unknown_role: {role!r}")
    turn: dict[str, Any] = {"role": ROLES[role], "content": _text(content)}
    if turn["role"] == "assistant":
        turn["content"] = _final(turn["content"], reasoning)
        if more.get("tool_calls"):
            turn["tool_calls"] = [_call(call) for call in _list(more, "tool_calls")]
    elif turn["role"] == "user" and more.get("passages"):
        turn["passages"] = more["passages"]
    return turn


def _call(call: dict) -> dict[str, Any]:
    made = call.get("function", call)
    if not isinstance(made, dict) or not isinstance(made.get("name"), str):
        raise ChatError("bad_tool_call: no name")
    arguments = made.get("arguments", {})
    arguments = _json(arguments, "tool_call") if isinstance(arguments, str) else arguments
    if not isinstance(arguments, dict):
        raise ChatError("bad_tool_call: arguments are no object")
    return {"name": made["name"], "arguments": arguments}


def _check(made: dict[str, Any]) -> None:
    """Raises ChatError where nothing, or nothing sound, can be learnt from a conversation."""
    messages, tools = made["messages"], made.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise ChatError("bad_tools: no list of schemas")
    if not messages or messages[-1]["role"] != "assistant":
        raise ChatError("no_reply: the last turn is not the assistant's")
    if not any(turn["role"] == "user" for turn in messages):
        raise ChatError("no_question: no turn is a user's")
    for number, turn in enumerate(messages):
        if not turn["content"].strip() and not turn.get("tool_calls") and not turn.get("passages"):
            raise ChatError(f"empty_turn: message {number} of the {turn['role']}")
    listed = {tool.get("function", tool).get("name") for tool in tools}
    called = {call["name"] for turn in messages for call in turn.get("tool_calls", ())}
    if tools and not called <= listed:
        raise ChatError(f"unlisted_tool: {sorted(called - listed)}")
    try:
        "".join(segment.text for segment in chat_segments(messages, tools)).encode()
    except (MidmError, UnicodeEncodeError) as error:
        raise ChatError(f"not_renderable: {error}") from None


def _final(reply: str, reasoning: str) -> str:
    return reply if reasoning == "keep" else REASONING.sub("", reply).strip()


def _text(content: Any) -> str:
    """A turn's text, also of OpenAI's list of parts; a tool's result may be any JSON."""
    if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
        return "\n".join(part["text"] for part in content)
    if content is None:
        return ""
    if not isinstance(content, str):
        raise ChatError(f"not_text: {json.dumps(content, ensure_ascii=False)[:80]}")
    return content


def _list(record: dict, key: str) -> list[dict]:
    if not isinstance(record[key], list) or not all(isinstance(turn, dict) for turn in record[key]):
        raise ChatError(f"not_a_list: {key}")
    return record[key]


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ChatError(f"bad_{what}: not JSON ({error.msg})") from None


def _language(record: dict, messages: Sequence[Mapping[str, Any]]) -> str:
    said = "".join(turn["content"] for turn in messages)
    return record["lang"] if record.get("lang") in LANGUAGES else "ko" if re.search("[가-힣]", said) else "en"
