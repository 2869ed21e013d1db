"""Knows what a request of OpenAI's API may say: each field, of exactly its type, and what it asks of the model."""

from typing import Annotated, Any, ClassVar, Literal

import jiter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from midm_mini.calls import CallFlow, Part, Schemas, call_grammar, schemas
from midm_mini.format import Message
from midm_mini.model import Model

BODY_BYTES = 1 << 20
MESSAGES, TOOLS, STOPS = 256, 64, 4


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
    """A function's name and the JSON of its arguments, an object."""

    name: str
    arguments: str

    @model_validator(mode="after")
    def _is_an_object(self) -> "Called":
        if not isinstance(jiter.from_json(self.arguments.encode("utf-8"), allow_inf_nan=False), dict):
            raise ValueError("arguments: must be the JSON of an object")
        return self


class Call(Shape):
    """A call that the assistant made."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: Called


class TextPart(Shape):
    """A part of a content; text is all that a model of text reads."""

    type: Literal["text"]
    text: str


class Turn(Shape):
    """One message; `passages` is our own field: documents that a user's turn is to be answered from."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    passages: list[str] | None = None
    tool_calls: Annotated[list[Call], Field(max_length=TOOLS)] | None = None
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


class Chosen(Shape):
    """The name of a function that must be called."""

    name: str


class Choice(Shape):
    """A tool that must be called."""

    type: Literal["function"]
    function: Chosen


class NamedSchema(Shape):
    """A JSON schema; it is kept to exactly, `strict` or not."""

    name: str
    description: str | None = None
    wanted: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class Form(Shape):
    """What the reply's text must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _schema_if_named(self) -> "Form":
        if (self.json_schema is None) == (self.type == "json_schema"):
            raise ValueError("json_schema: belongs to the type json_schema, and that needs it")
        return self

    @property
    def schema_asked(self) -> dict[str, Any] | None:
        """The JSON schema that the text must fit."""
        return self.json_schema.wanted if self.json_schema else {"type": "object"} if self.type != "text" else None


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
    tool_choice: Literal["auto", "none", "required"] | Choice | None = None
    response_format: Form | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Chat":
        if self.max_tokens and self.max_completion_tokens:
            raise ValueError("max_tokens: is the old name of max_completion_tokens; give one of them")
        if self.grammar and self._form:
            raise ValueError("response_format: a reply is either a call, as tool_choice wants it, or this")
        return self

    @property
    def schemas(self) -> Schemas:
        """The schemas of the tools."""
        return schemas([tool.model_dump() for tool in self.tools or ()])

    @property
    def grammar(self) -> str | None:
        """The grammar of the call that must be made, or of those that may be."""
        tools, choice = self.schemas, self.tool_choice
        named = choice.function.name if isinstance(choice, Choice) else choice or "auto"
        free = named == "none" or (named == "auto" and (not tools or self._form is not None))
        return None if free else call_grammar(tools, named)

    @property
    def _form(self) -> dict[str, Any] | None:
        return self.response_format.schema_asked if self.response_format else None

    def ids(self, model: Model) -> list[int]:
        """Token ids of the conversation."""
        tools = [tool.model_dump(exclude_unset=True) for tool in self.tools or () if self.tool_choice != "none"]
        return model.chat_ids([turn.message() for turn in self.messages], tools)

    def options(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "max_tokens": self.max_completion_tokens,
            "grammar": self.grammar,
            "json_schema": self._form,
        }
        return super().options() | {name: value for name, value in found.items() if value is not None}

    def flow(self) -> CallFlow:
        """Finds the calls in the text."""
        return CallFlow(self.schemas)


class Completion(Asked):
    """/v1/completions: a text, which BOS is put in front of, or exact token ids."""

    kind: ClassVar = ("cmpl", "text_completion", "text_completion")
    prompt: str | Annotated[list[int], Field(min_length=1, max_length=BODY_BYTES)]

    def ids(self, model: Model) -> list[int]:
        """Token ids of the prompt."""
        if isinstance(self.prompt, str):
            return [model.bos, *model.tokenize(self.prompt, special=False)]
        return self.prompt

    def flow(self) -> "Plain":
        """Nothing in the text is a call."""
        return Plain()


class Plain:
    """Text that is shown as it comes, in the manner of CallFlow."""

    def push(self, text: str) -> list[Part]:
        """The text."""
        return [text] if text else []

    def rest(self) -> list[Part]:
        """Nothing is held back."""
        return []
