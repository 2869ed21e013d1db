"""Generators against a real server on this machine and a real tiny bundle: retries, memory, order, secrets, errors."""

import json
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from midm_mini import MidmError

from corpus import generators
from corpus.generators import KEY, Failure, Generator, GeneratorError, Local, Reply, Request, Settings, opened
from tests.corpus.endpoint import FakeEndpoint, Trouble
from tests.runtime.conftest import _gguf, parent  # noqa: F401

SECRET = "sk-test-0123456789abcdef"
SETTINGS = {
    "kind": "endpoint",
    "url": "http://127.0.0.1:1/v1",
    "model": "any-model",
    "temperature": 0.0,
    "top_p": 1.0,
    "max_tokens": 64,
    "concurrency": 4,
    "timeout_seconds": 5,
    "attempts": 3,
    "backoff_seconds": 0.01,
    "prompt_price": 1.0,
    "completion_price": 2.0,
    "max_failed": 0.1,
}


def settings(**changes):
    return Settings(**SETTINGS | changes)


def requests(count):
    return [Request(f"r{n}", "Be brief.", f"question {n}") for n in range(count)]


def complete(server, folder, asked, *, seed=1, **changes):
    generator = opened(settings(url=server.url, **changes), seed=seed, folder=folder)
    return list(generator.complete(asked)), generator.sent


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # must not be used for this machine


def test_replies_stand_in_the_order_of_requests_whatever_the_order_they_arrive_in(tmp_path):
    pauses = random.Random(0)
    said = lambda prompt, _: Trouble(body=body(f"to {prompt}"), seconds=pauses.random() / 20)  # noqa: E731
    with FakeEndpoint(said) as server:
        wide, _ = complete(server, tmp_path / "wide", requests(40), concurrency=8)
        narrow, _ = complete(server, tmp_path / "narrow", requests(40), concurrency=1)
        assert [reply.text for reply in wide] == [f"to question {n}" for n in range(40)]
        assert wide == narrow and 1 < server.busiest <= 8


def test_the_request_is_what_an_openai_client_would_send_and_carries_the_key(tmp_path):
    with FakeEndpoint(lambda prompt, _: "yes") as server:
        [reply], _ = complete(server, tmp_path, requests(1), seed=7)
        [(path, body_)], [headers] = server.bodies, server.headers
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {SECRET}"
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "question 0"}]
    options = {"model": "any-model", "temperature": 0.0, "top_p": 1.0, "max_tokens": 64, "seed": 7}
    assert body_ == options | {"messages": turns}
    assert reply == Reply(text="yes", finish="stop", prompt_tokens=10, completion_tokens=5)


@pytest.mark.parametrize(
    "trouble, reason",
    [
        (Trouble(429, headers={"Retry-After": "0"}), "http_429"),
        (Trouble(500, body=b"oops"), "http_500"),
        (Trouble(503), "http_503"),
        (Trouble(body=b'{"choices": ['), "malformed"),
        (Trouble(body=b'{"choices": []}'), "malformed"),
        (Trouble(body=b"[" * 100_000), "malformed"),
        (Trouble(body=b'{"choices": [{"message": {"content": "\\ud800"}}]}'), "malformed"),
        (Trouble(body=b"{}", headers={"Content-Length": "100"}), "malformed"),
        (Trouble(body=b"{}", seconds=0.6), "timeout"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_a_passing_trouble_is_tried_again_and_counted_when_it_stays(tmp_path, trouble, reason):
    with FakeEndpoint(lambda prompt, before: trouble if before < 2 or prompt.endswith("1") else "fine") as server:
        outcomes, _ = complete(server, tmp_path, requests(2), timeout_seconds=0.3)
        assert [outcomes[0].text, outcomes[1]] == ["fine", Failure(reason)]
        assert server.asked == {"question 0": 3, "question 1": 3}


def test_a_request_that_the_endpoint_refuses_is_not_repeated(tmp_path):
    with FakeEndpoint(lambda prompt, _: Trouble(400, body=b"context too long")) as server:
        assert complete(server, tmp_path, requests(1)) == ([Failure("http_400")], 1)
        assert server.asked.total() == 1


def test_the_endpoint_says_how_long_to_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(generators, "LONGEST_PAUSE", 0.2)
    late = Trouble(429, headers={"Retry-After": "3600"})
    with FakeEndpoint(lambda prompt, before: late if not before else "fine") as server:
        start = time.monotonic()
        [reply], _ = complete(server, tmp_path, requests(1))
        assert reply.text == "fine" and 0.2 <= time.monotonic() - start < 5


def test_nobody_there_is_a_failure_of_connection(tmp_path):
    generator = opened(settings(), seed=1, folder=tmp_path)
    assert list(generator.complete(requests(2))) == [Failure("connection")] * 2


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404])
def test_a_mistake_in_the_settings_stops_the_run_at_once(tmp_path, status):
    headers = {"Location": "http://127.0.0.1:9/elsewhere"}
    with FakeEndpoint(lambda prompt, _: Trouble(status, body=SECRET.encode(), headers=headers)) as server:
        with pytest.raises(GeneratorError, match=rf"HTTP {status} .*check synthesize.generator") as caught:
            complete(server, tmp_path, requests(100), concurrency=2)
        assert server.asked.total() < 10 and SECRET not in str(caught.value)


def test_an_endpoint_that_only_fails_is_given_up(tmp_path):
    with FakeEndpoint(lambda prompt, _: Trouble(500)) as server:
        with pytest.raises(GeneratorError, match=r"20 requests in a row failed \(http_500\)"):
            complete(server, tmp_path, requests(500), attempts=1)
        assert server.asked.total() < 200


def test_what_was_answered_is_never_asked_again_and_what_failed_is(tmp_path):
    with FakeEndpoint(lambda prompt, before: Trouble(400) if prompt.endswith("3") and not before else prompt) as server:
        first, sent = complete(server, tmp_path, requests(6))
        assert sent == 6 and first[3] == Failure("http_400")
        again, sent = complete(server, tmp_path, requests(8))
        assert sent == 3 and [reply.text for reply in again] == [f"question {n}" for n in range(8)]
        assert server.asked == {f"question {n}": 1 + (n == 3) for n in range(8)}
        _, sent = complete(server, tmp_path, requests(8), concurrency=1, attempts=1, timeout_seconds=9)
        assert sent == 0  # how a reply is fetched is not part of what was asked
        for change in ({"temperature": 0.5}, {"max_tokens": 9}, {"model": "other"}, {"seed": 2}):
            assert complete(server, tmp_path, requests(8), **change)[1] == 8


def test_a_damaged_reply_in_the_memory_is_asked_for_again(tmp_path):
    with FakeEndpoint(lambda prompt, _: prompt) as server:
        complete(server, tmp_path, requests(3))
        files = sorted(tmp_path.rglob("*.json"))
        files[0].write_bytes(files[0].read_bytes()[:20])
        assert len(files) == 3 and complete(server, tmp_path, requests(3))[1] == 1


def test_a_killed_run_asks_only_for_what_is_missing(tmp_path):
    """A real process, a real SIGKILL after some replies, the same requests again."""
    code = (
        "import sys, json; from pathlib import Path; from corpus.generators import *\n"
        "asked = [Request(f'r{n}', 'Be brief.', f'question {n}') for n in range(60)]\n"
        "generator = opened(Settings(**json.loads(sys.argv[1])), seed=1, folder=Path(sys.argv[2]))\n"
        "print(json.dumps([outcome.text for outcome in generator.complete(asked)]), generator.sent)"
    )
    with FakeEndpoint(lambda prompt, _: Trouble(body=body(prompt), seconds=0.05)) as server:
        given = json.dumps(SETTINGS | {"url": server.url})
        command = [sys.executable, "-c", code, given, str(tmp_path / "memory")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        while len(list(tmp_path.rglob("*.json"))) < 15:
            assert child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        time.sleep(0.3)  # the server finishes what it was asked
        kept, before = len(list(tmp_path.rglob("*.json"))), server.asked.total()
        assert 15 <= kept < 60 and kept <= before <= kept + 4
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        texts, sent = done.stdout.rsplit(" ", 1)
        assert json.loads(texts) == [f"question {n}" for n in range(60)]
        assert int(sent) == 60 - kept == server.asked.total() - before


def test_the_key_is_in_no_file_and_in_no_message_even_if_the_endpoint_echoes_it(tmp_path):
    with FakeEndpoint(lambda prompt, _: f"your key is {SECRET}") as server:
        assert complete(server, tmp_path, requests(1)) == ([Failure("key_in_reply")], 1)
    with FakeEndpoint(lambda prompt, _: prompt) as server:
        complete(server, tmp_path, requests(5))
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and SECRET in file.read_text()]
    assert not [file for file in tmp_path.rglob("*.draft")]


@pytest.mark.parametrize("bad", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(tmp_path, monkeypatch, bad):
    monkeypatch.setenv(KEY, bad)
    with pytest.raises(GeneratorError, match="set it again") as caught:
        opened(settings(), seed=1, folder=tmp_path)
    assert bad not in str(caught.value)


@pytest.mark.parametrize("url", ["", "host/v1", "ftp://host/v1", "https://me:pass@host/v1", "https://host/v1?key=x"])
def test_a_url_without_a_host_or_with_a_secret_in_it_is_refused(tmp_path, url):
    with pytest.raises(GeneratorError, match=re.escape("synthesize.generator.url")) as caught:
        opened(settings(url=url), seed=1, folder=tmp_path)
    assert "pass" not in str(caught.value).replace("password", "")


def test_a_key_does_not_travel_unencrypted_except_on_this_machine(tmp_path, monkeypatch):
    with pytest.raises(GeneratorError, match="unencrypted; use https"):
        opened(settings(url="http://10.0.0.7:8000/v1"), seed=1, folder=tmp_path)
    opened(settings(url="https://10.0.0.7/v1"), seed=1, folder=tmp_path)
    monkeypatch.delenv(KEY)
    opened(settings(url="http://10.0.0.7:8000/v1"), seed=1, folder=tmp_path)


def test_templates_answer_no_recipe(tmp_path):
    with pytest.raises(GeneratorError, match=r"set synthesize\.generator\.kind to endpoint or local"):
        opened(settings(kind="template"), seed=1, folder=tmp_path)


class Counted:
    """A model that keeps itself busy and knows how many asked at once."""

    def __init__(self):
        self.identity, self.asked = {"model": "counted"}, []

    def ask(self, request):
        self.asked.append(request.name)
        return Reply(text=request.user, finish="stop", prompt_tokens=1, completion_tokens=1)

    def stop(self):
        pass


def test_an_interrupted_reader_leaves_a_memory_that_the_next_run_uses(tmp_path):
    model = Counted()
    replies = Generator(model, tmp_path, at_once=1).complete(requests(5000))
    next(replies)
    replies.close()  # as an exception in the stage does
    assert 1 <= len(model.asked) < 5000
    again = Counted()
    assert len(list(Generator(again, tmp_path, at_once=1).complete(requests(5000)))) == 5000
    assert len(again.asked) == 5000 - len(model.asked)


@pytest.fixture(scope="module")
def bundle(parent, tmp_path_factory):  # noqa: F811 (a fixture of the runtime's tests)
    return _gguf(parent, tmp_path_factory.mktemp("bundle") / "gguf")


def local(bundle, **changes):
    return Local(settings(kind="local", model=str(bundle), **{"temperature": 1.0, "max_tokens": 12} | changes), seed=3)


def test_a_local_model_answers_the_same_in_any_order_and_differently_to_different_requests(bundle):
    forward = [local(bundle).ask(request) for request in requests(4)]
    model = local(bundle)
    backward = [model.ask(request) for request in reversed(requests(4))]
    assert forward == backward[::-1] and len({reply.text for reply in forward}) > 1
    assert all(reply.prompt_tokens > 5 and 1 <= reply.completion_tokens <= 12 for reply in forward)


def test_a_local_model_is_remembered_by_the_bytes_of_its_bundle(bundle, tmp_path):
    chosen = settings(kind="local", model=str(bundle), max_tokens=4)
    runs = [opened(chosen, seed=3, folder=tmp_path) for _ in range(2)]
    first, again = (list(run.complete(requests(3))) for run in runs)
    assert first == again and [run.sent for run in runs] == [3, 0]
    assert str(bundle) not in "".join(file.read_text() for file in tmp_path.rglob("*.json"))
    assert re.fullmatch("[0-9a-f]{64}", local(bundle).identity["model"])


def test_a_request_that_fills_the_context_is_a_failure_and_a_long_reply_is_cut(bundle):
    model = local(bundle, max_tokens=100_000)
    assert model.ask(Request("long", "", "word " * 1000)) == Failure("too_long")
    reply = model.ask(Request("short", "", "word"))
    assert reply.finish in ("stop", "length") and reply.prompt_tokens + reply.completion_tokens <= 256


def test_a_bundle_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MidmError, match="nowhere"):
        opened(settings(kind="local", model=str(tmp_path / "nowhere")), seed=1, folder=tmp_path)


def body(text):
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()
