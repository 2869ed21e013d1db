"""Proves that calls in a reply become objects, that what is none is told with its reason, and that nothing is lost."""

import json
import random
import time
from typing import Any

import pytest
from midm_mini import MidmError
from midm_mini.calls import CallFlow, Malformed, Part, ToolCall, schemas
from midm_mini.format import render_chat
from midm_mini.schema import fault

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS: list[dict[str, Any]] = [
    {"name": "weather", "description": "날씨", "parameters": WEATHER},
    {"type": "function", "function": {"name": "clock"}},
]
GOOD = '<tool_call>{"name": "weather", "arguments": {"city": "서울", "days": 2}}</tool_call>'


def parts(text: str, tools: Any = TOOLS) -> list[Part]:
    flow = CallFlow(schemas(tools))
    return [*flow.push(text), *flow.rest()]


def raw(part: Part) -> str:
    return part if isinstance(part, str) else part.raw


def test_calls_become_objects_and_the_text_around_them_stays() -> None:
    found = parts(f'잠깐만요.\n{GOOD}\n<tool_call>{{"name":"clock","arguments":{{}}}}</tool_call> 끝')
    assert [part if isinstance(part, str) else part[:2] for part in found] == [
        *("잠깐만요.", ("weather", {"city": "서울", "days": 2}), ("clock", {}), " 끝")
    ]


def test_content_and_calls_rendered_again_are_what_was_written() -> None:
    text = f"잠깐만요.\n{GOOD}\n{GOOD}"
    found = parts(text)
    calls = [{"name": part.name, "arguments": part.arguments} for part in found if isinstance(part, ToolCall)]
    said = {"role": "assistant", "content": "".join(part for part in found if isinstance(part, str))}
    assert render_chat([said | {"tool_calls": calls}]) == render_chat([said | {"content": text}])


BODIES = {  # what stands between the tags, and a word of the reason
    "": "Expecting value",
    "{}": "no object with a name",
    "[1]": "no object with a name",
    '{"name": "weather"}': "no object with a name",
    '{"name": "weather", "arguments": {"city": "a"}, "more": 1}': "no object with a name",
    '{"name": "rm", "arguments": {}}': "no tool of that name",
    '{"name": ["weather"], "arguments": {}}': "no tool of that name",
    '{"name": "weather", "arguments": "서울"}': "no object",
    '{"name": "weather", "arguments": {}}': "city is missing",
    '{"name": "weather", "arguments": {"city": "a", "where": 1}}': "'where' is unknown",
    '{"name": "weather", "arguments": {"city": 5}}': "type string",
    '{"name": "weather", "arguments": {"city": "a", "days": true}}': "type integer",
    '{"name": "weather", "arguments": {"city": "a", "days": 1.5}}': "type integer",
    '{"name": "clock", "arguments": {"x": 1}}': "unknown",
    '{"name": "weather", "arguments": {"city": "a", "city": "b"}}': "twice",
    '{"name": "weather", "arguments": {"city": "\\ud800"}}': "surrogates",
    '{"name": "weather", "arguments": {"city": NaN}}': "not JSON compliant",
    '{"name": "weather", "arguments": {"city": "a", "days": 1e999}}': "not JSON compliant",
    '{"name": "weather", "arguments": {"city": "a", "days": ' + "9" * 5000 + "}}": "4300",
    "[" * 100_000: "deep",
    '{"name": "weather", "arguments": {"city": "a"}} 그리고': "Extra data",
    "<tool_call>" + '{"name": "clock", "arguments": {}}': "Expecting value",
}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:60])
def test_what_is_no_call_is_told_with_its_reason_and_the_next_call_is_read(body: str) -> None:
    found = parts(f"<tool_call>{body}</tool_call>{GOOD}")
    assert isinstance(found[0], Malformed) and BODIES[body] in found[0].why and len(found[0].why) < 500
    assert isinstance(found[-1], ToolCall)


def test_a_call_without_an_end_is_told_at_the_end() -> None:
    (found,) = parts('<tool_call>{"name": "weather"')
    assert isinstance(found, Malformed) and "no end" in found.why


def test_a_tag_inside_a_string_does_not_end_a_call() -> None:
    text = '<tool_call>{"name": "weather", "arguments": {"city": "</tool_call> <tool_call>"}}</tool_call>'
    (found,) = parts(text)
    assert isinstance(found, ToolCall) and found.arguments["city"] == "</tool_call> <tool_call>"
    broken = parts(f'<tool_call>{{"name": "x}}</tool_call>{GOOD}')
    assert [type(part) for part in broken] == [Malformed, ToolCall]


SCRAPS = [
    "<tool_call>",
    "</tool_call>",
    "\n",
    '"',
    "{",
    "}",
    "가",
    "<",
    '{"name": "clock", "arguments": {}}',
    GOOD,
    "\\",
]


def test_however_a_text_is_cut_nothing_is_lost_and_the_parts_are_the_same() -> None:
    choose = random.Random(0)
    for _ in range(2_000):
        text = "".join(choose.choices(SCRAPS, k=choose.randrange(1, 12)))
        flow, found = CallFlow(schemas(TOOLS)), list[Part]()
        at = 0
        while at < len(text):
            step = choose.randrange(1, 9)
            found += flow.push(text[at : at + step])
            at += step
        found += flow.rest()
        whole = parts(text)
        assert "".join(map(raw, found)) == text == "".join(map(raw, whole))
        assert [part for part in found if not isinstance(part, str)] == [p for p in whole if not isinstance(p, str)]


@pytest.mark.parametrize(
    "scrap", ["<tool_call>", "</tool_call>", '<tool_call>"', "<tool_call>{</tool_call>", '"</tool_call>', "\n"]
)
def test_a_huge_hostile_text_takes_no_long_time(scrap: str) -> None:
    text, started = "<tool_call>" + scrap * (400_000 // len(scrap)), time.perf_counter()
    assert "".join(map(raw, parts(text))) == text
    assert time.perf_counter() - started < 10


def test_nothing_of_a_call_shows_before_its_end() -> None:
    flow, shown = CallFlow(schemas(TOOLS)), list[Part]()
    for letter in f"네.\n{GOOD}":
        shown += flow.push(letter)
    assert "".join(part for part in shown if isinstance(part, str)) == "네." and isinstance(shown[-1], ToolCall)


@pytest.mark.parametrize("tool", [{}, {"name": 5}, {"name": ""}, {"name": "a", "parameters": [1]}, {"function": {}}])
def test_a_tool_without_a_name_of_its_own_is_refused(tool: dict) -> None:
    with pytest.raises(MidmError, match=r"tools\.0: needs"):
        schemas([tool])
    with pytest.raises(MidmError, match=r"tools\.2"):
        schemas([*TOOLS, TOOLS[0]])


UNSOUND: list[Any] = [
    {"type": 5},
    {"type": "zz"},
    {"enum": 5},
    {"properties": [1]},
    {"$ref": "#"},
    {"$ref": "#/a"},
    {"minItems": "x"},
]


@pytest.mark.parametrize("schema", [*UNSOUND, {"anyOf": [{"$ref": "#/properties/city"}]}], ids=str)
def test_a_tool_whose_schema_is_none_makes_its_calls_malformed_and_raises_nothing(schema: Any) -> None:
    tool = {"name": "weather", "parameters": {"properties": {"city": schema}}}
    for city in ("서울", 5, [1], {"a": 1}):
        text = f'<tool_call>{{"name": "weather", "arguments": {{"city": {json.dumps(city)}}}}}</tool_call>'
        assert all(isinstance(part, ToolCall | Malformed) for part in parts(text, [tool]))


FITS: list[tuple[Any, Any, str]] = [  # value, schema, a word of the fault
    (1, {"minimum": 2}, "minimum"), (2, {"minimum": 2}, ""), (2, {"exclusiveMaximum": 2}, "exclusiveMaximum"),
    (2.0, {"type": "integer"}, ""), (None, {"type": ["string", "null"]}, ""), (True, {"type": "number"}, "type number"),
    ("가", {"enum": ["가", "나"]}, ""), (1, {"enum": [True]}, "one of"), ("x", {"const": "y"}, "one of"),
    ("abc", {"maxLength": 2}, "maxLength"), ([1, 2], {"minItems": 3}, "minItems"),
    ([1, "a"], {"items": {"type": "integer"}}, "[1]"),
    ({"a": {"b": 1}}, {"properties": {"a": {"properties": {"b": {"type": "string"}}}}}, "arguments.a.b"),
    ({"x": 1}, {"additionalProperties": {"type": "string"}}, "arguments.x"), ({"x": 1}, {}, ""),
    (1, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, ""),
    (1.5, {"oneOf": [{"type": "string"}]}, "none of its forms"),
    (5, {"allOf": [{"minimum": 1}, {"maximum": 4}]}, "maximum"), (1, False, "nothing"), (1, True, ""),
    ({"n": {"n": {"n": 1}}}, {"properties": {"n": {"$ref": "#"}}, "type": "object"}, "type object"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "schema", "word"), FITS, ids=str)
def test_a_value_is_held_against_its_schema(value: Any, schema: Any, word: str) -> None:
    found = fault(value, schema)
    assert word in found and bool(word) == bool(found)
