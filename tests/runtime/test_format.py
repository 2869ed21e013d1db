"""Proves that the plain renderer, the Jinja template and the segments say the same."""

import itertools
import json
from functools import partial
from pathlib import Path

import pytest
from midm_mini.format import (
    CHAT_TEMPLATE,
    EOT,
    PII_PLACEHOLDERS,
    ROLES,
    SPECIAL_TOKENS,
    MidmError,
    artifact_format,
    chat_segments,
    render_chat,
)  # fmt: skip

CONTENTS = [
    "",
    " ",
    "\n앞뒤 빈칸 \n\n",
    "{{ 7*7 }} {% if x %}",
    f"속임수{EOT}",
    "'\"\\n<|start_header_id|>",
    "e\u0301 👩‍🚀",
]


TOOLS = [
    {
        "name": "계산",
        "description": '두 수를 "더한다" <b>&\'',
        "parameters": {"type": "object", "properties": {"z": {"type": "number", "default": 0.5}}, "strict": True},
    },
    {"type": "function", "function": {"name": "now", "parameters": {}, "note": None}},
]
CALLS = [{"function": {"name": "계산", "arguments": {"z": 1, "a": "나\n"}}}, {"name": "now", "arguments": '{"q":1}'}]
LONG_CHAT = [
    {"role": "system", "content": "짧게.\n"},
    {"role": "user", "content": " 안녕? <b>'\"\\ ", "passages": ["첫 글\n둘째", f"two{EOT}"]},
    {"role": "assistant", "content": "네.", "tool_calls": CALLS},
    {"role": "tool", "content": "[1, 2]"},
    {"role": "assistant", "content": "", "tool_calls": CALLS[1:]},
    {"role": "user", "content": "또"},
]


def jinja(messages: list[dict], tools: list[dict] | None = None) -> str:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise ValueError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)  # as transformers builds it
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    template = environment.from_string(CHAT_TEMPLATE)
    opened = not messages or messages[-1]["role"] != "assistant"
    given = {"messages": messages, "tools": tools, "raise_exception": raise_exception}
    return template.render(add_generation_prompt=opened, **given)


@pytest.mark.parametrize(
    "roles", [*itertools.product(ROLES), *itertools.product(ROLES, repeat=2), ("system", *ROLES[1:] * 3)]
)
def test_render_chat_equals_the_jinja_template(roles: tuple[str, ...]) -> None:
    for shift in range(len(CONTENTS)):
        messages = [{"role": role, "content": CONTENTS[(n + shift) % len(CONTENTS)]} for n, role in enumerate(roles)]
        assert render_chat(messages) == jinja(messages)


@pytest.mark.parametrize("tools", [[], TOOLS, TOOLS[:1]])
@pytest.mark.parametrize("length", range(len(LONG_CHAT) + 1))
def test_tools_passages_and_calls_equal_the_jinja_template(tools: list[dict], length: int) -> None:
    for start in (0, 1):
        assert render_chat(LONG_CHAT[start:length], tools) == jinja(LONG_CHAT[start:length], tools)


def test_tools_passages_and_calls_are_written_as_the_reference_writes_them() -> None:
    text = render_chat(LONG_CHAT, TOOLS)
    assert text.count("<|begin_of_text|>") == 1 and text.count("<|start_header_id|>system") == 1
    assert "짧게.\n\n\n<tools>\n{" in text and '{"name": "now", "parameters": {}, "note": null}\n</tools>' in text
    assert "<|begin_of_passage|>첫 글\n둘째<|end_of_passage|>\n" in text
    assert '네.\n<tool_call>{"name": "계산", "arguments": {"z": 1, "a": "나\\n"}}</tool_call>\n<tool_call>' in text


def test_a_passage_never_becomes_control() -> None:
    parts = chat_segments(LONG_CHAT, TOOLS)
    assert all(not part.control for part in parts if f"two{EOT}" in part.text)


def test_render_chat_of_one_question_is_the_contract() -> None:
    assert render_chat([{"role": "user", "content": "Q"}]) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_the_tokenizer_folder_renders_the_same_through_transformers(parent: Path) -> None:
    from transformers import AutoTokenizer

    messages = [{"role": "system", "content": " 친절 "}, {"role": "user", "content": "안녕\n"}]
    tokenizer = AutoTokenizer.from_pretrained(parent)
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == render_chat(messages)


def test_only_what_the_assistant_writes_is_learned() -> None:
    messages = [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "A"},
        {"role": "tool", "content": "T"},
    ]
    assert [part.text for part in chat_segments(messages) if part.learned] == ["A", EOT]


@pytest.mark.parametrize("render", [render_chat, jinja])
def test_an_unknown_role_is_refused(render) -> None:
    with pytest.raises(ValueError, match="unknown role"):
        render([{"role": "root", "content": "x"}])


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user"},
        {"content": "x"},
        {"role": "user", "content": None},
        {"role": "user", "content": "x", "name": "y"},
        {"role": "user", "content": "x", "passages": "one text"},
        {"role": "system", "content": "x", "passages": []},
        {"role": "user", "content": "x", "tool_calls": []},
        {"role": "assistant", "content": "x", "tool_calls": [{"name": "f"}]},
    ],
)
def test_a_message_of_another_shape_is_refused_by_number(message: dict) -> None:
    with pytest.raises(MidmError, match="message 1"):
        render_chat([{"role": "user", "content": "x"}, message])


def test_special_tokens_are_distinct_and_eighteen_are_placeholders() -> None:
    assert len(PII_PLACEHOLDERS) == 18 and len(set(SPECIAL_TOKENS)) == len(SPECIAL_TOKENS) == 26
    assert all(name.startswith("#@") and name.endswith("@#") for name in PII_PLACEHOLDERS)


def test_the_format_of_an_artifact_is_told_from_its_files(artifacts: dict[str, Path], tmp_path: Path) -> None:
    assert {artifact_format(path) for path in artifacts.values()} == {"gguf", "onnx-genai", "onnx"}
    assert artifact_format(next(artifacts["gguf"].iterdir())) == "gguf"
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(MidmError, match="name one"):
        artifact_format(tmp_path)
