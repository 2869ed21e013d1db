"""Knows OpenAI's wire format: what a request may say, and how replies and refusals are written."""

import json
import re
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import jiter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from midm_mini.desk import Order
from midm_mini.format import Message
from midm_mini.model import Model, Piece

BODY_BYTES = 1 << 20
MESSAGES, TOOLS, STOPS = 256, 64, 4
CHARACTERS_PER_TOKEN = 16  # of context: more than any text has, so that what is longer need not be read
NEUTRAL: Mapping[str, Any] = {  # what cannot be done here may still be said, if saying it asks for nothing
    **{"n": 1, "best_of": 1, "echo": False, "suffix": "", "logprobs": False, "top_logprobs": 0, "logit_bias": {}},
    **{"presence_penalty": 0, "frequency_penalty": 0, "response_format": {"type": "text"}, "modalities": ["text"]},
    **{"tool_choice": "auto", "parallel_tool_calls": True, "store": False},
}
_TYPE = re.compile(r"(constrained-)?str|list\[.*")  # what pydantic adds to a field's place where it had a choice
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


class Shape(BaseModel):
    """A JSON object with these fields and no others, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class Function(Shape):
    """What a tool is called and takes."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Shape):
    """A function that may be called."""

    type: Literal["function"]
    function: Function


class Called(Shape):
    """A function's name and the JSON of its arguments."""

    name: str
    arguments: str


class ToolCall(Shape):
    """A call that the assistant made."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: Called


class Part(Shape):
    """A part of a content; text is all that a model of text reads."""

    type: Literal["text"]
    text: str


class Turn(Shape):
    """One message; `passages` is our own field: documents that a user's turn is to be answered from."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    passages: list[str] | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=TOOLS)] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _belongs_to_its_role(self) -> "Turn":
        if self.content is None and not self.tool_calls:
            raise ValueError("content: only an assistant that calls tools may leave it out")
        if self.tool_call_id is not None and self.role != "tool":
            raise ValueError("tool_call_id: belongs to a tool's message")
        return self

    @property
    def text(self) -> str:
        """The content, its parts joined."""
        return "".join(part if isinstance(part, str) else part.text for part in self.content or ())

    def message(self) -> Message:
        """The turn as the chat template takes it, which checks the rest."""
        message: Message = {"role": self.role, "content": self.text}
        if self.passages:
            message["passages"] = self.passages
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        return message


class StreamOptions(Shape):
    """What a stream tells beside the text."""

    include_usage: bool = False


Count = Annotated[int, Field(ge=1, le=1 << 20)]
Stop = Annotated[str, Field(min_length=1, max_length=256)]


class Asked(Shape):
    """What both kinds of completion share. Temperature is 0 by default: greedy, as everywhere in this wheel."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=STOPS)] | None = None
    user: str | None = None  # a name for somebody's records; we keep none

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> "Asked":
        if self.stream_options and not self.stream:
            raise ValueError("stream_options: only with stream")
        return self

    def characters(self) -> int:
        """Length of what is to be read, as JSON."""
        return len(self.model_dump_json(include={"messages", "tools", "prompt"}, exclude_none=True))

    def options(self) -> dict[str, Any]:
        """Options of Model.stream; what was not said keeps the model's own default."""
        said = self.model_dump(include={"max_tokens", "temperature", "top_p", "seed", "stop"}, exclude_none=True)
        return said | ({"seed": said["seed"] % 2**64} if "seed" in said else {})


class Chat(Asked):
    """/v1/chat/completions."""

    kind: ClassVar = ("chatcmpl", "chat.completion", "chat.completion.chunk")
    messages: Annotated[list[Turn], Field(min_length=1, max_length=MESSAGES)]
    tools: Annotated[list[Tool], Field(max_length=TOOLS)] | None = None
    max_completion_tokens: Count | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> "Chat":
        if self.max_tokens and self.max_completion_tokens:
            raise ValueError("max_tokens: is the old name of max_completion_tokens; give one of them")
        return self

    def ids(self, model: Model) -> list[int]:
        """Token ids of the conversation."""
        tools = [tool.model_dump(exclude_unset=True) for tool in self.tools or ()]
        return model.chat_ids([turn.message() for turn in self.messages], tools)

    def options(self) -> dict[str, Any]:
        limit = self.max_completion_tokens
        return super().options() | ({"max_tokens": limit} if limit else {})

    def whole(self, text: str) -> dict[str, Any]:
        """A choice of a reply given at once."""
        return {"message": {"role": "assistant", "content": text}}

    def part(self, text: str) -> dict[str, Any]:
        """A choice of a chunk."""
        return {"delta": {"content": text} if text else {}}

    def opening(self) -> list[dict[str, Any]]:
        """Choices of the chunk that comes before any text."""
        return [{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}]


class Completion(Asked):
    """/v1/completions: a text, which BOS is put in front of, or exact token ids."""

    kind: ClassVar = ("cmpl", "text_completion", "text_completion")
    prompt: str | Annotated[list[int], Field(min_length=1, max_length=BODY_BYTES)]

    def ids(self, model: Model) -> list[int]:
        """Token ids of the prompt."""
        if isinstance(self.prompt, str):
            return [model.bos, *model.tokenize(self.prompt, special=False)]
        return self.prompt

    def whole(self, text: str) -> dict[str, Any]:
        """A choice of a reply given at once, and of a chunk."""
        return {"text": text}

    part = whole

    def opening(self) -> list[dict[str, Any]]:
        """Choices of the chunk that comes before any text: none is due."""
        return []


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
    choice = asked.whole("".join(piece.text for piece in pieces))
    choices = [{"index": 0, **choice, "logprobs": None, "finish_reason": pieces[-1].finish_reason}]
    return Response(_json(about(asked) | {"choices": choices, "usage": usage(order)}), media_type="application/json")


async def events(
    asked: Chat | Completion, order: Order, first: Piece, more: AsyncGenerator[Piece, None]
) -> AsyncGenerator[bytes, None]:
    """The reply as server-sent events; a fault of ours under way is told as an error, for the status is out."""
    head, counted = about(asked), bool(asked.stream_options and asked.stream_options.include_usage)
    blank = {"usage": None} if counted else {}
    if opening := asked.opening():
        yield _event(head | {"choices": opening} | blank)
    piece: Piece | None = first
    async with aclosing(more):
        while piece:
            if piece.text or piece.finish_reason:
                choice = {"index": 0, **asked.part(piece.text), "logprobs": None, "finish_reason": piece.finish_reason}
                yield _event(head | {"choices": [choice]} | blank)
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


def _event(value: object) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
