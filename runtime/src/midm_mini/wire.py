"""Knows OpenAI's wire format: how a request is read, and how replies and refusals are written."""

import json
import re
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import jiter
from fastapi.responses import Response
from pydantic import ValidationError

from midm_mini.asked import Asked, Chat, Completion
from midm_mini.calls import Malformed, Part, ToolCall
from midm_mini.desk import Order
from midm_mini.model import Piece

CHARACTERS_PER_TOKEN = 16  # of context: more than any text has, so that what is longer need not be read
NEUTRAL: Mapping[str, Any] = {  # what cannot be done here may still be said, if saying it asks for nothing
    **{"n": 1, "best_of": 1, "echo": False, "suffix": "", "logprobs": False, "top_logprobs": 0, "logit_bias": {}},
    **{"presence_penalty": 0, "frequency_penalty": 0, "modalities": ["text"]},
    **{"parallel_tool_calls": True, "store": False},
}
_TYPE = re.compile(
    r"(constrained-)?str|(list|literal)\[.*|Choice"
)  # what pydantic adds to a place where it had a choice
KINDS = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error"}


class Refusal(Exception):
    """An HTTP status with an OpenAI error: `param` is the field at fault, `code` a word for programs."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, **headers: str
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        kind = KINDS.get(status, "invalid_request_error")
        self.error = {"error": {"message": message[:500], "type": kind, "param": param and param[:100], "code": code}}

    def response(self) -> Response:
        """The refusal as it goes out."""
        return Response(_json(self.error), self.status, self.headers, "application/json")


Kind = TypeVar("Kind", bound=Asked)


def parse(shape: type[Kind], body: bytes) -> Kind:
    """The request in a body; raises Refusal 400 that names the field. Duplicate keys, NaN, lone surrogates, deep
    nesting and integers of thousands of digits are no JSON here."""
    try:
        said = jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(said, dict):
        raise Refusal(400, "the body must be a JSON object", code="invalid_json")
    for name in NEUTRAL.keys() & said.keys():
        value, neutral = said.pop(name), NEUTRAL[name]
        if value is not None and (value != neutral or isinstance(value, bool) != isinstance(neutral, bool)):
            message = f"{name}: this server does not support it; leave it out or give {json.dumps(neutral)}"
            raise Refusal(400, message, param=name, code="unsupported_parameter")
    try:
        return shape.model_validate(said)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        first = max(found, key=lambda one: len(one["loc"]))  # of a choice of types, the one that it comes closest to
        where = ".".join(str(part) for part in first["loc"] if not _TYPE.fullmatch(str(part)))
        message = first["msg"].removeprefix("Value error, ")
        param, message = (where, f"{where}: {message}") if where else (message.split(":")[0], message)
        code = "unknown_parameter" if first["type"] == "extra_forbidden" else "invalid_value"
        raise Refusal(400, message, param=param, code=code) from error


def about(asked: Chat | Completion) -> dict[str, Any]:
    """What a reply and each of its chunks begin with."""
    prefix, name, chunk = asked.kind
    kind = chunk if asked.stream else name
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": asked.model}


def whole(asked: Chat | Completion, order: Order, pieces: Sequence[Piece]) -> Response:
    """The reply at once."""
    flow = asked.flow()
    parts = [*flow.push("".join(piece.text for piece in pieces)), *flow.rest()]
    text = "".join(map(_text, parts))
    choice: dict[str, Any] = {"text": text}
    if isinstance(asked, Chat):
        calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
        told = [part._asdict() for part in parts if isinstance(part, Malformed)]
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
        message |= {name: found for name, found in {"tool_calls": calls, "malformed": told}.items() if found}
        choice = {"message": message}
    reason = _reason(pieces[-1], any(isinstance(part, ToolCall) for part in parts))
    choices = [{"index": 0, **choice, "logprobs": None, "finish_reason": reason}]
    return Response(_json(about(asked) | {"choices": choices, "usage": usage(order)}), media_type="application/json")


async def events(
    asked: Chat | Completion, order: Order, first: Piece, more: AsyncGenerator[Piece, None]
) -> AsyncGenerator[bytes, None]:
    """The reply as server-sent events; a fault of ours under way is told as an error, for the status is out."""
    head, counted = about(asked), bool(asked.stream_options and asked.stream_options.include_usage)
    blank = {"usage": None} if counted else {}

    def chunk(told: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, **({"delta": told} if isinstance(asked, Chat) else {"text": ""} | told)}
        return _event(head | {"choices": [choice | {"logprobs": None, "finish_reason": reason}]} | blank)

    flow, calls = asked.flow(), 0
    if isinstance(asked, Chat):
        yield chunk({"role": "assistant", "content": ""})
    piece: Piece | None = first
    async with aclosing(more):
        while piece:
            for part in [*flow.push(piece.text), *(flow.rest() if piece.finish_reason else ())]:
                yield chunk(_told(part, calls) if isinstance(asked, Chat) else {"text": part})
                calls += isinstance(part, ToolCall)
            if piece.finish_reason:
                yield chunk({}, _reason(piece, calls > 0))
            try:
                piece = await anext(more, None)
            except Exception:
                yield _event(Refusal(500, "the model failed; ask again", code="internal_error").error)
                raise
    if counted:
        yield _event(head | {"choices": [], "usage": usage(order)})
    yield b"data: [DONE]\n\n"


def usage(order: Order) -> dict[str, int]:
    """Tokens read and written; the token that ends a turn counts."""
    counts = {"prompt_tokens": order.prompt_tokens, "completion_tokens": order.completion_tokens}
    return counts | {"total_tokens": sum(counts.values())}


def _told(part: Part, before: int) -> dict[str, Any]:
    """A part of a chat's stream; `before`: the calls before it."""
    if isinstance(part, ToolCall):
        return {"tool_calls": [{"index": before, **_call(part)}]}
    return {"content": _text(part)} | ({"malformed": [part._asdict()]} if isinstance(part, Malformed) else {})


def _text(part: Part) -> str:
    """What a part is as content: what is no call stays text."""
    return part if isinstance(part, str) else part.raw if isinstance(part, Malformed) else ""


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {
        "id": f"call_{uuid.uuid4().hex}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _reason(last: Piece, has_called: bool) -> str | None:
    return "tool_calls" if has_called and last.finish_reason == "stop" else last.finish_reason


def _event(value: object) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
