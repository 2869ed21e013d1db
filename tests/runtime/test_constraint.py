"""Proves that a reply kept to a schema always fits it, through every backend, and that no schema harms the process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from midm_mini import MidmError, Model, load
from midm_mini.calls import ToolCall
from midm_mini.schema import fault

QUESTIONS = {"ko": "한국의 수도는 어디야?", "en": "What is the capital of Korea?"}
CITY = {
    "type": "object",
    "properties": {
        "도시": {"type": "string"},
        "people": {"type": "integer"},
        "kind": {"enum": ["수도", "항구"]},
        "rivers": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "twin": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/twin"}]},
    },
    "$defs": {"twin": {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}},
    "required": ["도시", "people", "kind", "rivers"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, Any] = {
    "city": CITY,
    "any object": {"type": "object"},
    "anything": {},
    "list": {"type": "array", "items": {"type": "number"}, "maxItems": 5},
    "text": {"type": "string", "minLength": 3},
    "one of two": {"oneOf": [{"const": "네"}, {"const": False}]},
}
TOOLS = [{"name": "add", "parameters": {"properties": {"n": {"type": "integer"}}, "required": ["n"]}}, {"name": "now"}]


def asked(language: str) -> list[Any]:
    return [{"role": "user", "content": QUESTIONS[language]}]


@pytest.mark.parametrize("language", QUESTIONS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("name", SCHEMAS)
def test_a_random_model_kept_to_a_schema_writes_json_that_fits_it(
    model: Model, name: str, temperature: float, language: str
) -> None:
    for seed in range(2):
        reply = model.chat(
            asked(language), json_schema=SCHEMAS[name], temperature=temperature, seed=seed, max_tokens=130
        )
        assert not fault(json.loads(reply.text), SCHEMAS[name]), reply.text
        assert reply.finish_reason == "stop" and len(reply._seen) <= 130


def test_a_reply_ends_within_any_limit_that_can_hold_an_end(model: Model) -> None:
    for limit in range(60, 128, 9):
        reply = model.chat(asked("ko"), json_schema=CITY, temperature=1.0, seed=limit, max_tokens=limit)
        assert not fault(json.loads(reply.text), CITY)
    assert list(model.chat(asked("ko"), json_schema=CITY, max_tokens=3))[-1].finish_reason == "length"


ONE_TEXT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def test_a_model_that_wants_to_end_is_led_to_the_nearest_end(model: Model, monkeypatch) -> None:
    import numpy as np

    wish = np.zeros(model.vocab_size, np.float32)
    wish[next(token for token in range(model.vocab_size) if model._opened.ends(token))] = 9
    monkeypatch.setattr(model._opened, "start", lambda _: wish)
    monkeypatch.setattr(model._opened, "step", lambda _: wish)
    reply = model.chat(asked("en"), json_schema=ONE_TEXT)
    assert json.loads(reply.text) == {"a": ""} and len(reply._seen) < 30


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_required_call_is_always_one_valid_call(model: Model, temperature: float) -> None:
    for choice in ("required", "add", "now"):
        reply = model.chat(asked("ko"), TOOLS, tool_choice=choice, temperature=temperature, seed=3, max_tokens=80)
        (call,) = reply.parts()
        assert isinstance(call, ToolCall) and choice in ("required", call.name)
        assert reply.tool_calls == [call] and not reply.content and not reply.malformed and reply.text == call.raw


def opening(model: Model, monkeypatch, text: str) -> None:
    """Makes the model begin with `text` and go on as the dice fall."""
    import numpy as np

    dice, forced = np.random.default_rng(0), iter(model.tokenize(text, special=False))

    def scores(_: Any) -> np.ndarray:
        found = dice.normal(size=model.vocab_size).astype(np.float32)
        if (token := next(forced, None)) is not None:
            found[token] = 99
        return found

    monkeypatch.setattr(model._opened, "start", scores)
    monkeypatch.setattr(model._opened, "step", scores)


@pytest.mark.parametrize("before", ["", "네, 알겠습니다.\n"])
def test_a_call_that_the_model_opens_by_itself_is_a_valid_one(model: Model, monkeypatch, before: str) -> None:
    opening(model, monkeypatch, f"{before}<tool_call>")
    reply = model.chat(asked("ko"), TOOLS[1:])
    assert reply.tool_calls[0][:2] == ("now", {}) and reply.content.startswith(before.strip()) and not reply.malformed


def test_text_beside_a_call_is_the_models_own_and_a_limit_may_cut_it(model: Model, monkeypatch) -> None:
    opening(model, monkeypatch, "tool_call 없이 말합니다. {")
    reply = model.chat(asked("ko"), TOOLS, max_tokens=5)
    assert reply.text and reply.finish_reason == "length"
    free = model.chat(asked("ko"), TOOLS, json_schema=ONE_TEXT, max_tokens=60)
    assert json.loads(free.text).keys() == {"a"}, "a schema that was asked for goes before"


def test_tools_of_a_schema_that_no_grammar_knows_are_held_against_it_afterwards(model: Model, monkeypatch) -> None:
    odd = [{"name": "odd", "parameters": {"properties": {"a": {"not": {"type": "string"}}}}}]
    opening(model, monkeypatch, '<tool_call>{"name": "even", "arguments": {}}</tool_call>')
    reply = model.chat(asked("ko"), odd, temperature=1.0, max_tokens=60)
    assert reply.malformed[0].why.startswith("no tool of that name")
    with pytest.raises(MidmError, match="refused"):
        model.chat(asked("ko"), odd, tool_choice="required")


def test_hidden_tools_are_not_shown_and_an_unknown_choice_is_refused(model: Model) -> None:
    assert (
        model.chat(asked("ko"), TOOLS, tool_choice="none", max_tokens=4).text
        == model.chat(asked("ko"), max_tokens=4).text
    )
    for tools, choice in ((TOOLS, "rm"), ([], "required")):
        with pytest.raises(MidmError, match="tool_choice"):
            model.chat(asked("ko"), tools, tool_choice=choice)


@pytest.mark.parametrize("grammar", ['root ::= "서울" | "부산"', 'start: "서울" | "부산"', "start: /서울|부산/"])
def test_a_grammar_in_either_notation_holds(model: Model, grammar: str) -> None:
    for seed in range(4):
        assert model.chat(asked("ko"), grammar=grammar, temperature=1.0, seed=seed).text in ("서울", "부산")


def test_the_same_schema_and_seed_give_the_same_text_on_every_backend(artifacts: dict[str, Path]) -> None:
    said = set()
    for path in artifacts.values():
        with load(path, threads=1) as model:
            said.add(model.chat(asked("ko"), json_schema=CITY, temperature=0.7, seed=5, max_tokens=100).text)
    assert len(said) == 1


def nested(depth: int, wrap: str) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {wrap: [schema, {"type": "null"}]} if wrap.endswith("Of") else {"type": "array", "items": schema}
    return schema


STRANGE: dict[str, Any] = {
    **{f"{word} of {n}": nested(n, word) for word in ("items", "anyOf", "oneOf", "allOf") for n in (3, 60, 200, 5000)},
    **{f"{word}: {value!r:.20}": {word: value} for word in ("type", "enum", "properties", "items", "required", "anyOf",
       "$ref", "pattern", "format", "minLength", "maxItems", "minimum", "multipleOf", "const", "x-guidance")
       for value in (None, -1, 10**9, 1e308, "", "(", "http://127.0.0.1:1/x", [], ["x"], {}, {"a": 5}, True)},
    **{f"pattern {n}": {"type": "string", "pattern": text} for n, text in enumerate((
       "(a+)+$", "(a{1000}){1000}", "^(?=a)b$", "\\p{L}{1,500}" * 20, "[" * 500, "(" * 5000, "a{0,100000}", "\\",
       "(?<a>b)\\1"))},
    "self": {"$ref": "#"}, "selves": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    "tree": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"], "additionalProperties": False},
    "ring": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "power": {"$defs": {f"d{n}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{n + 1}"}] * 9, "minItems": 9}
              for n in range(20)} | {"d20": {}}, "$ref": "#/$defs/d0"},
    "product": {"allOf": [{"anyOf": [{"properties": {f"{n}{m}": {}}} for m in range(3)]} for n in range(12)]},
    "many names": {"properties": {f"p{n}": {"type": "string"} for n in range(2000)}},
    "many words": {"enum": [f"{n}" for n in range(8000)]}, "too long": {"const": "x" * 100_000},
    "short and long": {"type": "string", "minLength": 10**9}, "never": {"type": "integer", "minimum": 5, "maximum": 4},
    "surrogate": {"const": "\ud800"}, "zero": {"const": "\0"}, "quote": {"const": '"}\n start: "'},
    "nan": {"const": float("nan")},
}  # fmt: skip
GRAMMARS = ["", "x", "start: start", 'start: start "a"', "root ::= root", 'root ::= root "a" | root', "start: /(/",
            "start: x", "root ::= " + "(" * 3000, 'start: "a" ~ 1000000',
            "start: /(a{1000}){1000}/", "\0", "root ::= [^"]  # fmt: skip

HOSTILE = """
import json, sys, time
from midm_mini import MidmError, load
from tests.runtime.test_constraint import GRAMMARS, STRANGE
refused = 0
with load(sys.argv[1], threads=1) as model:
    for name, options in {**{name: {"json_schema": schema} for name, schema in STRANGE.items()},
                          **{grammar: {"grammar": grammar} for grammar in GRAMMARS}}.items():
        started = time.perf_counter()
        try:
            reply = model.stream("x", max_tokens=40, temperature=1.0, seed=1, **options)
            text = reply.text
            if "json_schema" in options and reply.finish_reason == "stop":
                json.loads(text)
        except MidmError as error:
            refused += 1
            assert len(str(error)) < 600, name
        assert time.perf_counter() - started < 5, name
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak = int(status["VmHWM"].split()[0]) // 1024  # MiB; ru_maxrss would be that of the test run it was forked from
print(len(STRANGE) + len(GRAMMARS), refused, peak)
"""


def test_no_strange_schema_or_grammar_crashes_hangs_or_fills_the_process(gguf: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HOSTILE, str(gguf)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    tried, refused, peak = map(int, done.stdout.split())
    assert tried > 200 and 50 < refused < tried and peak < 600


def test_without_the_library_the_error_says_what_to_install(model: Model, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MidmError, match=r"midm-mini\[grammar\]"):
        model.chat(asked("ko"), json_schema=CITY)
