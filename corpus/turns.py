"""Knows the forms in which others write a chat: OpenAI's, ShareGPT's, Alpaca's; and what makes a conversation sound."""

import json
import re
from typing import Any

from midm_mini.format import MidmError, chat_segments

ROLES = {  # of OpenAI's and ShareGPT's files, in ours
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "function_call": "assistant", "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
REASONING = re.compile(r"<think>.*?(?:</think>|\Z)\s*|\A(?:풀이|Solution):.*?\n(?=(?:답|Answer):)", re.DOTALL)


class ChatError(ValueError):
    """What cannot be used as a chat, and why: `reason: detail` of a row, or a file and the remedy."""


def parsed(record: dict, reasoning: str) -> dict[str, Any]:
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
        turn["content"] = final_answer(turn["content"], reasoning)
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


def check(made: dict[str, Any]) -> None:
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


def written(made: dict[str, Any]) -> list[str]:
    """What a chat says when it is rendered: each piece of text between control tokens."""
    segments = chat_segments(made["messages"], made.get("tools", ()))
    return [segment.text for segment in segments if not segment.control]


def final_answer(reply: str, reasoning: str) -> str:
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
