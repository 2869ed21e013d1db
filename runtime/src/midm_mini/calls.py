"""Knows tool calls in a reply: where one stands, what it asks for, and whether the tool that it names takes that."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from midm_mini.constraint import json_rule
from midm_mini.format import MidmError
from midm_mini.headers.suspect import unique_keys
from midm_mini.schema import fault

OPEN, CLOSE = "<tool_call>", "</tool_call>"
ENDS_TRIED = 8  # closing tags that may stand inside a call's own strings
_OPENS = re.compile(f"\n?{OPEN}")  # the template gives each call a line of its own


class ToolCall(NamedTuple):
    """A call that its tool takes. Nothing here runs it."""

    name: str
    arguments: dict[str, Any]
    raw: str  # as the model wrote it


class Malformed(NamedTuple):
    """What begins as a call and is none that can be made."""

    raw: str
    why: str


Part = str | ToolCall | Malformed
Schemas = Mapping[str, Mapping[str, Any]]


def schemas(tools: Sequence[Mapping[str, Any]]) -> Schemas:
    """The schema of each tool's arguments by name: no arguments but those listed, unless it says so.

    tools: as `chat` takes them. Raises MidmError on one without a name, or with a name that stands twice.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for n, tool in enumerate(tools):
        made = tool.get("function", tool)
        name, takes = made.get("name"), made.get("parameters") or {}
        if not isinstance(name, str) or not name or name in found or not isinstance(takes, Mapping):
            raise MidmError(f"tools.{n}: needs a `name` of its own and, if it takes any, `parameters`, a JSON schema")
        found[name] = {"type": "object", "additionalProperties": False, **takes}
    return found


class Leave(str):
    """A grammar that any text keeps to until it opens a call: a limit may cut it, and without it a reply goes on."""


def call_grammar(tools: Schemas, choice: str) -> str:
    """The grammar of one valid call, as `stream` takes it: of the tool `choice`, or of any if that is "required"; if
    it is "auto", of text in which every call is a valid one."""
    takers = {name: takes for name, takes in tools.items() if choice in ("auto", "required", name)}
    if not takers:
        listed = ", ".join(tools) or "none is"
        raise MidmError(f"tool_choice: {choice!r:.99} must be auto, none, required or a listed tool ({listed})")
    calls = "\n  | ".join(_rule(name, takes) for name, takes in takers.items())
    opened = f'(opened ({calls}))* TEXT\nopened[lazy]: TEXT "{OPEN}"\nTEXT: /(.|\\n)*/'
    return Leave(f"start: {opened}") if choice == "auto" else f'start: "{OPEN}" ({calls})'


class CallFlow:
    """Text in as it is written, parts out once they are certain: text as it comes, calls when they have ended.

    Nothing is lost: the parts, or their `raw`, are the text.
    """

    def __init__(self, tools: Schemas) -> None:
        self._tools, self._held = tools, ""

    def push(self, text: str) -> list[Part]:
        """The parts that became certain."""
        return self._take(self._held + text, is_whole=False)

    def rest(self) -> list[Part]:
        """What was held back, now that no more comes; a call without an end is malformed."""
        return self._take(self._held, is_whole=True)

    def _take(self, text: str, *, is_whole: bool) -> list[Part]:
        parts: list[Part] = []
        at = 0
        while opens := _OPENS.search(text, at):
            parts.append(text[at : opens.start()])
            at, end = opens.start(), _end(text, opens.end(), is_whole=is_whole)
            if end is None:
                break
            parts.append(self._call(text[at:end]))
            at = end
        if opens is None:
            safe = len(text) if is_whole else len(text) - _half_open(text[at:])
            parts.append(text[at:safe])
            at = safe
        elif is_whole:
            parts.append(Malformed(text[at:], "it has no end"))
            at = len(text)
        self._held = text[at:]
        return [part for part in parts if part]

    def _call(self, raw: str) -> ToolCall | Malformed:
        try:
            said = _parsed(raw.strip().removeprefix(OPEN).removesuffix(CLOSE))
            if not isinstance(said, dict) or said.keys() != {"name", "arguments"}:
                raise ValueError("it is no object with a name, arguments and nothing else")
            name, arguments = said["name"], said["arguments"]
            if not isinstance(name, str) or name not in self._tools:
                raise ValueError(f"no tool of that name is listed: {name!r:.99}")
            if not isinstance(arguments, dict):
                raise ValueError("its arguments are no object")
            if why := fault(arguments, self._tools[name]):
                raise ValueError(why)
        except RecursionError:
            return Malformed(raw, "it, or its tool's schema, is nested too deeply")
        except (AttributeError, LookupError, TypeError) as error:
            return Malformed(raw, f"its tool's schema is not sound ({error!r:.99})")
        except ValueError as error:
            return Malformed(raw, str(error))
        return ToolCall(name, arguments, raw)


def _rule(name: str, takes: Mapping[str, Any]) -> str:
    opening, closing = f'{{"name": {_json(name)}, "arguments": ', f"}}{CLOSE}"
    return f"{_json(opening)} {json_rule(takes)} {_json(closing)}"


def _end(text: str, start: int, *, is_whole: bool) -> int | None:
    """Where the call whose body begins at `start` ends: after its first closing tag that stands in none of its strings;
    None while that may be still to come."""
    end = first = text.find(CLOSE, start)
    for _ in range(ENDS_TRIED):
        if end < 0:
            break
        try:
            json.loads(text[start:end])
            return end + len(CLOSE)
        except RecursionError:
            break
        except ValueError as error:
            if not str(error).startswith("Unterminated string"):
                break
        end = text.find(CLOSE, end + 1)
    return first + len(CLOSE) if first >= 0 and (is_whole or end >= 0) else None


def _half_open(text: str) -> int:
    """How many of the last characters may turn out to open a call."""
    marks = (f"\n{OPEN}", OPEN)
    return max((n for mark in marks for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)


def _parsed(body: str) -> Any:
    """JSON that can be written again: no doubled keys, no NaN, no number beyond a float, no half characters."""
    said = json.loads(body, object_pairs_hook=unique_keys)
    _json(said).encode("utf-8")
    return said


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
