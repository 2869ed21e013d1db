"""Proves with OpenAI's own client that the server answers as the model does, and refuses in OpenAI's shape."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
from midm_mini import load

from tests.runtime.service import ASK, MESSAGES, Service, everything, head, serving


@pytest.fixture
def expected(gguf: Path) -> str:
    """What the model says to ASK without a server."""
    with load(gguf, threads=1) as model:
        return model.chat(MESSAGES, max_tokens=8).text


def test_the_client_sees_one_model(service: Service) -> None:
    assert [model.id for model in service.client.models.list()] == ["gguf"]
    assert service.client.models.retrieve("gguf").owned_by == "openmidm"
    with pytest.raises(openai.NotFoundError) as caught:
        service.client.models.retrieve("gpt-5")
    assert caught.value.code == "model_not_found"


def test_a_chat_is_the_models_own_reply_with_its_counts(service: Service, expected: str) -> None:
    reply = service.client.chat.completions.create(**ASK)
    assert reply.choices[0].message.content == expected and reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "length" and reply.object == "chat.completion"
    assert reply.usage and reply.usage.completion_tokens == 8
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 8


def test_a_streamed_chat_says_the_same_with_whole_characters(service: Service, expected: str) -> None:
    chunks = list(service.client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
    *spoken, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken) == expected
    assert spoken[0].choices[0].delta.role == "assistant" and spoken[-1].choices[0].finish_reason == "length"
    assert not last.choices and last.usage and last.usage.completion_tokens == 8
    assert len({chunk.id for chunk in chunks}) == 1


def test_korean_arrives_as_characters_though_its_tokens_are_bytes(service: Service, gguf: Path, monkeypatch) -> None:
    said = "뷁꿻 뷁"
    with load(gguf, threads=1) as model:
        ids = model.tokenize(said, special=False)
    tokens = iter(ids)
    monkeypatch.setattr("midm_mini.model.sampler", lambda **_: lambda logits: next(tokens))
    body = json.dumps(ASK | {"stream": True, "max_tokens": len(ids)}).encode()
    with service.raw(head(body) + body) as line:
        data = everything(line, until=b"[DONE]\n\n\r\n0\r\n\r\n")
    parts = [json.loads(line[6:])["choices"][0] for line in data.splitlines() if line.startswith(b"data: {")]
    texts = [part["delta"].get("content", "") for part in parts]
    assert "".join(texts) == said and len(ids) > len(texts)
    assert "뷁".encode() in data and data.count(b"[DONE]") == 1


def test_a_text_is_continued_streamed_or_not_from_ids_too(service: Service, gguf: Path) -> None:
    complete = service.client.completions.create
    with load(gguf, threads=1) as model:
        expected, ids = model.stream("한국", max_tokens=6).text, [model.bos, *model.tokenize("한국", special=False)]
    assert complete(model="gguf", prompt="한국", max_tokens=6).choices[0].text == expected
    assert complete(model="gguf", prompt=ids, max_tokens=6).choices[0].text == expected
    chunks = complete(model="gguf", prompt="한국", max_tokens=6, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected


def test_sampling_options_reach_the_model(service: Service, expected: str) -> None:
    create = service.client.chat.completions.create
    warm = [create(**ASK, temperature=1.5, seed=seed).choices[0].message.content for seed in (-3, -3, 4)]
    assert warm[0] == warm[1] != warm[2]
    assert create(**ASK, temperature=1.5, top_p=1e-9, seed=1).choices[0].message.content == expected
    stopped = create(**ASK, stop=[expected[3]]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == (expected[: expected.index(expected[3])], "stop")
    assert create(model="gguf", messages=MESSAGES, max_completion_tokens=3).usage.completion_tokens == 3


def test_parts_tools_calls_results_and_passages_reach_the_template(service: Service, monkeypatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("midm_mini.Model.chat_ids", lambda model, *given: seen.append(given) or [0, 5])
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked: list[Any] = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "가"}, {"type": "text", "text": "나"}],
            "passages": ["다"],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    service.client.chat.completions.create(**ASK | {"messages": asked}, tools=[tool])
    user = {"role": "user", "content": "가나", "passages": ["다"]}
    assistant, result = {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "42"}
    assert seen == [([user, assistant, result], [tool])]


CLOCK: Any = {"type": "function", "function": {"name": "clock", "parameters": {"properties": {"시": {"enum": [1, 2]}}}}}


def test_a_required_call_comes_as_an_object_whole_and_streamed(gguf: Path) -> None:
    more: dict[str, Any] = ASK | {"max_tokens": 60, "tools": [CLOCK]}
    with serving(gguf, ends=True) as service:
        create = service.client.chat.completions.create
        for choice in ("required", {"type": "function", "function": {"name": "clock"}}):
            whole = create(**more, tool_choice=choice).choices[0]
            assert whole.finish_reason == "tool_calls" and whole.message.content is None
            (call,) = whole.message.tool_calls
            assert call.type == "function" and call.id and call.function.name == "clock"
            assert set(json.loads(call.function.arguments)) <= {"시"}
            chunks = [chunk.choices[0] for chunk in create(**more, tool_choice=choice, stream=True)]
            (delta,) = [chunk.delta.tool_calls[0] for chunk in chunks if chunk.delta.tool_calls]
            assert delta.index == 0 and delta.function.name == "clock"
            assert delta.function.arguments == call.function.arguments and chunks[-1].finish_reason == "tool_calls"
            assert not "".join(chunk.delta.content or "" for chunk in chunks)
        result = {"role": "tool", "content": "1", "tool_call_id": call.id}
        asked: Any = [*MESSAGES, whole.message.model_dump(exclude_none=True, include={"role", "tool_calls"}), result]
        assert create(model="gguf", messages=asked, max_tokens=2).choices[0].finish_reason in ("stop", "length")


def test_a_form_that_is_asked_for_is_kept(gguf: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"도시": {"type": "string"}},
        "required": ["도시"],
        "additionalProperties": False,
    }
    forms: list[Any] = [
        {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        {"type": "json_object"},
    ]
    with serving(gguf, ends=True) as service:
        for form in forms:
            said = service.client.chat.completions.create(
                **ASK | {"max_tokens": 80}, response_format=form, temperature=1.0
            )
            assert isinstance(json.loads(said.choices[0].message.content), dict)
        for wrong in ({"type": "zz"}, {"not": {}}, {"$ref": "file:///etc/passwd"}, {"const": "x" * 70_000}):
            form = {"type": "json_schema", "json_schema": {"name": "x", "schema": wrong}}
            status, body = service.post(ASK | {"response_format": form})
            assert status == 400 and "schema" in body["error"]["message"]


def test_what_is_no_call_stays_text_with_its_reason(service: Service, gguf: Path, monkeypatch) -> None:
    said = '네. <tool_call>{"name": "rm", "arguments": {}}</tool_call>'
    with load(gguf, threads=1) as model:
        ids = model.tokenize(said, special=False)
    for stream in (False, True):
        tokens = iter(ids)
        monkeypatch.setattr("midm_mini.model.sampler", lambda tokens=tokens, **_: lambda logits: next(tokens))
        found = service.client.chat.completions.create(**ASK | {"max_tokens": len(ids)}, tools=[CLOCK], stream=stream)
        told = [chunk.choices[0].delta for chunk in found] if stream else [found.choices[0].message]
        assert "".join(part.content or "" for part in told) == said and not any(part.tool_calls for part in told)
        (why,) = [part.malformed[0]["why"] for part in told if "malformed" in (part.model_extra or {})]
        assert "no tool of that name" in why


IMAGE = [{"type": "image_url", "image_url": "file:///etc/passwd"}]
REFUSED: dict[str, dict[str, Any]] = {  # by the name that the refusal gives
    "n": {"n": 2},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"top_logprobs": False},
    "logit_bias": {"logit_bias": {"5": 1}},
    "tool_choice": {"tool_choice": "required"},
    "tool_choice.function.name": {"tool_choice": {"type": "function", "function": {"name": 5}}},
    "tools.0": {"tools": [{"type": "function", "function": {"name": ""}}]},
    "response_format.type": {"response_format": {"type": "xml"}},
    "response_format": {"response_format": {"type": "json_schema"}},
    "messages.0.tool_calls.0.function": {
        "messages": [
            {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{"}}]}
        ]
    },
    "foo": {"foo": 1},
    "temperature": {"temperature": 2.5},
    "top_p": {"top_p": 0},
    "seed": {"seed": 2**63},
    "max_tokens": {"max_tokens": -1},
    "stop": {"stop": list("abcde")},
    "stop.0": {"stop": [""]},
    "stream": {"stream": "yes"},
    "stream_options": {"stream_options": {"include_usage": True}},
    "messages": {"messages": []},
    "messages.0.role": {"messages": [{"role": "developer", "content": "x"}]},
    "messages.0.name": {"messages": [{"role": "user", "content": "x", "name": "y"}]},
    "messages.0.content": {"messages": [{"role": "user", "content": 5}]},
    "messages.0.content.0.type": {"messages": [{"role": "user", "content": IMAGE}]},
}


@pytest.mark.parametrize("param", REFUSED)
def test_what_is_unknown_or_out_of_range_is_refused_by_name(service: Service, param: str) -> None:
    status, body = service.post(ASK | REFUSED[param])
    assert status == 400 and body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["param"] == param and param in body["error"]["message"]
    assert body["error"]["type"] == "invalid_request_error" and body["error"]["code"]


def test_saying_the_neutral_value_of_what_is_unsupported_is_no_fault(service: Service, expected: str) -> None:
    neutral: dict[str, Any] = {"n": 1, "presence_penalty": 0.0, "logit_bias": {}, "response_format": {"type": "text"}}
    assert service.client.chat.completions.create(**ASK, **neutral).choices[0].message.content == expected


BODIES = {
    "deep": b'{"a":' * 9000 + b"1" + b"}" * 9000,
    "huge integer": b'{"seed":' + b"9" * 9000 + b"}",
    "not a number": b'{"top_p":NaN}',
    "infinite": b'{"top_p":1e999}',
    "twice": b'{"model":"a","model":"gguf"}',
    "half a surrogate": b'{"model":"\\ud800"}',
    "latin": b'{"model":"\xff"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": "{}".encode("utf-16"),
    "empty": b"",
    "a list": b"[]",
    "two": b"{}{}",
    "nul": b"\0",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_not_plain_json_is_a_400(service: Service, body: bytes) -> None:
    assert service.post(body)[0] == 400


def test_what_does_not_fit_the_context_is_told_as_such(service: Service) -> None:
    for change in ({"max_tokens": 1000}, {"messages": [{"role": "user", "content": "가" * 400}], "stream": True}):
        with pytest.raises(openai.BadRequestError) as caught:
            service.client.chat.completions.create(**ASK | change)
        assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="token ids"):
        service.client.completions.create(model="gguf", prompt=[99999], max_tokens=1)


def test_other_paths_methods_and_types_are_refused_in_the_same_shape(service: Service) -> None:
    requests = {"GET /docs": 404, "GET /openapi.json": 404, "DELETE /v1/models": 405, "GET /v1/chat/completions": 405}
    for request, status in requests.items():
        with service.raw(f"{request} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()) as line:
            first, _, rest = everything(line, until=b"}").partition(b"\r\n\r\n")
        assert int(first.split()[1]) == status and json.loads(rest)["error"]["code"], request
        assert b"access-control" not in first.lower() and b"server:" not in first.lower()
    assert service.post(ASK, **{"content-type": "text/plain"})[0] == 415  # what a page elsewhere may send unasked


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1@evil.example", "", "localhost:x"]
)
def test_a_host_name_that_is_not_ours_is_kept_out(service: Service, host: str) -> None:
    assert service.post(ASK, host=host)[0] == 403


def test_the_log_counts_and_never_quotes(service: Service, caplog, monkeypatch) -> None:
    caplog.set_level("INFO")
    service.client.chat.completions.create(**ASK)
    service.post(ASK | {"secret": "비밀"})
    assert service.post(ASK, path="/v1/%EB%B9%84%EB%B0%80?secret")[0] == 404
    monkeypatch.setattr("midm_mini.Model.chat_ids", lambda *_: {}["비밀"])
    status, body = service.post(ASK)
    assert status == 500 and body["error"]["type"] == "server_error" and "비밀" not in str(body)
    assert service.quiet()  # a line is written after its reply is out
    lines = [record.getMessage() for record in caplog.records if record.name == "midm_mini.server"]
    assert any("POST /v1/chat/completions 200" in line and "+8 tokens" in line for line in lines)
    assert any("KeyError at test_server.py" in line for line in lines)
    assert "비밀" not in caplog.text and "secret" not in caplog.text and "수도" not in caplog.text


def test_a_fault_under_way_ends_a_stream_with_an_error(service: Service, monkeypatch) -> None:
    monkeypatch.setattr(
        "midm_mini.Model._spell", lambda model, token: {}["비밀"] if service.steps % 4 == 3 else (b"x", False)
    )
    with pytest.raises(openai.APIError, match="the model failed"):
        list(service.client.chat.completions.create(**ASK, stream=True))


def test_the_command_serves_reads_its_key_and_ends_cleanly_amid_a_reply(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40 + "\n")
    command = [sys.executable, "-c", "import sys; from midm_mini.cli import main; sys.exit(main())", "serve", str(gguf)]
    options = ["--port", "0", "--threads", "1", "--key-file", str(tmp_path / "key")]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        url = process.stderr.readline().split(" on ")[1].strip()
        with openai.OpenAI(base_url=url, api_key="k" * 40, max_retries=0) as client:
            stream = client.chat.completions.create(model="gguf", messages=MESSAGES, temperature=1.0, stream=True)
            next(iter(stream))
            process.terminate()
            assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()
