"""Knows the bundle's vocabulary: special tokens, the chat template and the names of files; the makers import it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

BOS = "<|begin_of_text|>"
PAD = "<pad>"
EOS = "<|end_of_text|>"
EOT = "<|eot_id|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
BEGIN_PASSAGE = "<|begin_of_passage|>"
END_PASSAGE = "<|end_of_passage|>"

CHAT_SPECIALS = (EOT, START_HEADER, END_HEADER, BEGIN_PASSAGE, END_PASSAGE)
CONTROL_TOKENS = (BOS, PAD, EOS, *CHAT_SPECIALS)  # written by the template only, never read out of content
# Placeholders are text, not control: each is one id wherever it stands, in content too, and shows in replies.
PII_PLACEHOLDERS: tuple[str, ...] = (
    *("#@이름@#", "#@ID@#", "#@주민번호@#", "#@이메일@#", "#@계좌번호@#", "#@전화번호@#", "#@주소@#", "#@자동차번호@#"),
    *("#@사업자등록번호@#", "#@자동차운전면허번호@#", "#@여권번호@#", "#@외국인등록번호@#", "#@건보번호@#"),
    *("#@신용카드번호@#", "#@IP@#", "#@MAC주소@#", "#@SNS계정@#", "#@통관번호@#"),
)
SPECIAL_TOKENS = (*CONTROL_TOKENS, *PII_PLACEHOLDERS)  # order of ids: the first three are 0, 1, 2; the rest come last
STOP_TOKENS = (EOT, EOS)
ROLES = ("system", "user", "assistant", "tool")
SYSTEM_PROMPTS = {  # the preset of each language; training data use the same words
    "ko": "당신은 OpenMidm의 작은 비서 미니입니다. 짧고 정확하게 답하고, 모르면 모른다고 말합니다.",
    "en": "You are Mini, OpenMidm's small assistant. Answer briefly and exactly; say so when you do not know.",
}
MANIFEST = "manifest.json"
CHAT_TEMPLATE = (
    "{%- macro open(role) %}{{- '" + START_HEADER + "' + role + '" + END_HEADER + "\\n\\n' }}{%- endmacro %}"
    "{{- '" + BOS + "' }}"
    "{%- if tools %}{{- open('system') }}"
    "{%- if messages and messages[0]['role'] == 'system' %}{{- messages[0]['content'] + '\\n\\n' }}{%- endif %}"
    "{{- '<tools>\\n' }}{%- for tool in tools %}"
    "{{- (tool['function'] if tool['function'] is defined else tool) | tojson }}{{- '\\n' }}{%- endfor %}"
    "{{- '</tools>" + EOT + "' }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message['role'] not in ['system', 'user', 'assistant', 'tool'] %}"
    "{{- raise_exception('unknown role ' + message['role']) }}{%- endif %}"
    "{%- if message['role'] == 'tool' %}{{- open('user') }}{{- '<tool_response>\\n' }}"
    "{{- message['content'] }}{{- '\\n</tool_response>" + EOT + "' }}"
    "{%- elif not (tools and loop.first and message['role'] == 'system') %}{{- open(message['role']) }}"
    "{%- for passage in message['passages'] or [] %}"
    "{{- '" + BEGIN_PASSAGE + "' + passage + '" + END_PASSAGE + "\\n' }}{%- endfor %}"
    "{%- if message['content'] %}{{- message['content'] }}{%- endif %}"
    "{%- for call in message['tool_calls'] or [] %}"
    "{%- set made = call['function'] if call['function'] is defined else call %}"
    "{%- if message['content'] or not loop.first %}{{- '\\n' }}{%- endif %}"
    "{{- '<tool_call>{\"name\": ' + (made['name'] | tojson) + ', \"arguments\": ' }}"
    "{{- made['arguments'] if made['arguments'] is string else made['arguments'] | tojson }}"
    "{{- '}</tool_call>' }}{%- endfor %}"
    "{{- '" + EOT + "' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- open('assistant') }}{%- endif %}"
)  # fmt: skip


class Message(TypedDict):
    """One turn: `role` is one of ROLES, `content` is plain text that is never trimmed and never read as control.

    A user's turn may carry the passages to answer from, an assistant's the tools it calls ({"name", "arguments"}, or
    OpenAI's form); a tool's turn is a call's result.
    """

    role: str
    content: str
    passages: NotRequired[Sequence[str]]
    tool_calls: NotRequired[Sequence[Mapping[str, Any]]]


class Segment(NamedTuple):
    """A stretch of a rendered chat: `control` text may hold special tokens, `learned` is what an assistant writes."""

    text: str
    control: bool
    learned: bool


class MidmError(ValueError):
    """Whatever this wheel refuses: a ValueError whose message says what, where and the remedy."""


def chat_segments(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[Segment]:
    """The chat as segments; it ends with an open assistant turn unless the last message is the assistant's own.

    tools: JSON schemas of functions ({"name", "description", "parameters"}, or OpenAI's form); they stand in the first
    turn, a system's.
    """
    opening = Segment(f"{START_HEADER}assistant{END_HEADER}\n\n", True, False)
    segments = [Segment(BOS, True, False)]
    checked = [_checked(message, index) for index, message in enumerate(messages)]
    if tools:
        said = checked.pop(0)[2] + "\n\n" if messages and messages[0]["role"] == "system" else ""
        listed = "".join(f"{_json(tool.get('function', tool))}\n" for tool in tools)
        checked.insert(0, ("system", (), f"{said}<tools>\n{listed}</tools>"))
    for role, passages, content in checked:
        if role == "assistant":  # its reply begins after the blank line, as it does when the model writes it
            segments += [opening, Segment(content, False, True), Segment(EOT, True, True)]
            continue
        segments.append(Segment(f"{START_HEADER}{role}{END_HEADER}", True, False))
        before = "\n\n"  # one text with what follows, so that a content's own leading newlines merge with it
        for passage in passages:
            segments += [Segment(before, False, False), Segment(BEGIN_PASSAGE, True, False)]
            segments += [Segment(passage, False, False), Segment(END_PASSAGE, True, False)]
            before = "\n"
        segments += [Segment(before + content, False, False), Segment(EOT, True, False)]
    return segments if messages and messages[-1]["role"] == "assistant" else [*segments, opening]


def with_passages(messages: Sequence[Message], passages: Sequence[str]) -> Sequence[Message]:
    """The chat with `passages`, after those that it has, in its last user's turn; MidmError if it has none."""
    if not passages:
        return messages
    if isinstance(passages, str):
        raise MidmError("`passages` is a list of texts")
    at = max((n for n, message in enumerate(messages) if message.get("role") == "user"), default=None)
    if at is None:
        raise MidmError("passages: there is no user's turn to answer from them")
    turn: Message = {**messages[at], "passages": [*messages[at].get("passages", ()), *passages]}
    return [*messages[:at], turn, *messages[at + 1 :]]


def render_chat(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
    """The chat as text, BOS included; equals CHAT_TEMPLATE (generation prompt on unless the assistant spoke last)."""
    return "".join(segment.text for segment in chat_segments(messages, tools))


def chat_ids(
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    encode_control: Callable[[str], list[int]],
    encode_text: Callable[[str], list[int]],
) -> list[int]:
    """Token ids of a chat in which only the template's own parts can become control tokens."""
    encoders = {True: encode_control, False: encode_text}
    parts = chat_segments(messages, tools)
    return [token for part in parts if part.text for token in encoders[part.control](part.text)]


def artifact_format(path: Path) -> str:
    """gguf, onnx-genai or onnx: what lies at `path` (a .gguf file or a folder); MidmError if nothing or several."""
    if path.is_file() and path.suffix == ".gguf":
        return "gguf"
    layouts = {"*.gguf": "gguf", "genai_config.json": "onnx-genai", "model.onnx": "onnx", "onnx/*.onnx": "onnx"}
    for pattern, kind in layouts.items():
        count = len(list(path.glob(pattern)))
        if count > 1:
            raise MidmError(f"{path}: holds {count} {pattern}; name one of them")
        if count:
            return kind
    raise MidmError(f"{path}: no .gguf file, genai_config.json or model.onnx there; give an exported artifact")


def graph_file(folder: Path) -> Path:
    """The ONNX graph of a folder: under onnx/ where transformers.js looks for it, else beside the configs."""
    return next(folder.glob("onnx/*.onnx"), folder / "model.onnx")


def _checked(message: Message, index: int) -> tuple[str, Sequence[str], str]:
    """The header's role, passages and text; a tool's result is a user's turn, in tags, as calls are (midm-facts)."""
    role, content = message.get("role"), message.get("content")
    more = {"user": "passages", "assistant": "tool_calls"}.get(str(role))
    if set(message) - {more} != {"role", "content"} or not isinstance(content, str):
        raise MidmError(
            f"message {index}: needs `role`, a text `content`, a user's `passages` or an assistant's "
            f"`tool_calls` and nothing else, got keys {sorted(message)}"
        )
    if role not in ROLES:
        raise MidmError(f"message {index}: unknown role {role!r}; use one of {', '.join(ROLES)}")
    if role == "tool":
        return "user", (), f"<tool_response>\n{content}\n</tool_response>"
    passages, calls = message.get("passages") or (), message.get("tool_calls") or ()
    if isinstance(passages, str) or not all(isinstance(passage, str) for passage in passages):
        raise MidmError(f"message {index}: `passages` is a list of texts")
    return role, passages, "\n".join([*[content] * bool(content), *(_call(call, index) for call in calls)])


def _call(call: Mapping[str, Any], index: int) -> str:
    made = call.get("function", call)
    if not isinstance(made.get("name"), str) or not isinstance(made.get("arguments"), str | Mapping):
        raise MidmError(f"message {index}: a tool call needs a `name` and `arguments`, an object or its JSON")
    arguments = made["arguments"] if isinstance(made["arguments"], str) else _json(made["arguments"])
    return f'<tool_call>{{"name": {_json(made["name"])}, "arguments": {arguments}}}</tool_call>'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # as every engine's tojson
