"""Proves what the server bears and whom it keeps out: long, slow, leaving, waiting and unknown clients."""

import json
import time
from pathlib import Path

import openai
import pytest
from midm_mini import MidmError
from midm_mini.server import Limits, listen

from tests.runtime.service import ASK, Service, everything, head, serving

KEY = "k" * 32


def test_a_body_too_long_is_refused_while_it_comes_chunked_or_not(service: Service) -> None:
    status, body = service.post(b" " * ((1 << 20) + 1))
    assert (status, body["error"]["code"]) == (413, "body_too_large")
    endless = head(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    with service.raw(endless) as line:
        for _ in range(17):
            line.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert b" 413 " in everything(line, until=b"}")
    many = [{"role": "user", "content": "x"}] * 257
    assert (
        service.post(ASK | {"messages": many})[0]
        == service.post(ASK | {"messages": [{"role": "user", "content": "x" * 200_000}]})[0]
        == 400
    )


def test_a_reply_does_not_wait_for_an_acknowledgement(service: Service) -> None:
    took = []
    for _ in range(6):
        started = time.perf_counter()
        service.client.models.list()
        took.append(time.perf_counter() - started)
    assert min(took) < 0.03, took  # it was 0.044 before TCP_NODELAY


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_reply_at_the_next_token(service: Service, stream: bool) -> None:
    service.pause, body = 0.02, json.dumps(ASK | {"max_tokens": 200, "stream": stream}).encode()
    before = service.steps
    with service.raw(head(body) + body) as line:
        if stream:
            assert b"200 OK" in line.recv(100)
        while service.steps < before + 5:
            time.sleep(0.01)
    assert service.quiet() and service.steps < before + 60


def test_a_client_that_leaves_the_queue_is_not_served(service: Service) -> None:
    service.pause, slow = 0.02, json.dumps(ASK | {"max_tokens": 40}).encode()
    quick = json.dumps(ASK | {"max_tokens": 200}).encode()
    before = service.steps
    with service.raw(head(slow) + slow) as first:
        while service.steps == before:
            time.sleep(0.01)
        service.raw(head(quick) + quick).close()
        assert b" 200 " in everything(first, until=b"}}")
    assert service.quiet() and service.steps == before + 39


def test_a_full_queue_says_when_to_come_again(gguf: Path) -> None:
    with serving(gguf, limits=Limits(queue=1, seconds=20)) as service:
        service.pause, body = 0.05, json.dumps(ASK).encode()
        lines = [service.raw(head(body) + body) for _ in range(2)]
        time.sleep(0.2)
        with pytest.raises(openai.RateLimitError) as caught:
            service.client.chat.completions.create(**ASK)
        assert caught.value.code == "queue_full" and caught.value.response.headers["retry-after"] == "1"
        assert all(b" 200 " in everything(line, until=b"}}") for line in lines)
        [line.close() for line in lines]


def test_who_sends_many_requests_waits_for_himself(service: Service) -> None:
    service.pause, body = 0.03, json.dumps(ASK).encode()
    before = service.steps
    flood = [service.raw(head(body) + body, source="127.0.0.2") for _ in range(10)]
    while service.steps == before:
        time.sleep(0.01)
    with service.raw(head(body) + body) as line:
        assert b" 200 " in everything(line, until=b"}}")
    assert service.steps - before < 4 * 7, "a reply of 8 tokens takes 7 steps: one was under way, then came ours"
    assert all(b" 200 " in everything(one, until=b"}}") for one in flood)
    [one.close() for one in flood]


def test_a_queue_filled_by_one_client_is_not_full_for_another(gguf: Path) -> None:
    with serving(gguf, limits=Limits(queue=2, refusal_seconds=0.0)) as service:
        service.pause, body = 0.05, json.dumps(ASK).encode()
        flood = [service.raw(head(body) + body, source="127.0.0.2") for _ in range(3)]
        time.sleep(0.2)
        with service.raw(head(body) + body) as line:
            assert b" 200 " in everything(line, until=b"}}")
        replies = [everything(one, until=b"}}") for one in flood]
        assert [reply.split()[1] for reply in replies] == [b"200", b"200", b"429"]
        [one.close() for one in flood]


@pytest.mark.parametrize(("sent", "status"), [(head(b"", path="/none"), b" 404 "), (b"no head\r\n\r\n", b" 400 ")])
def test_refusals_that_come_in_a_wave_go_in_single_file(gguf: Path, sent: bytes, status: bytes) -> None:
    with serving(gguf, limits=Limits(refusal_seconds=0.1, pace=0.1)) as service:
        started = time.perf_counter()
        lines = [service.raw(sent) for _ in range(6)]
        assert all(status in everything(line, until=b"}}") for line in lines)
        assert time.perf_counter() - started >= 0.5
        [line.close() for line in lines]


def test_a_request_ends_at_its_time_limit_written_or_waiting(gguf: Path) -> None:
    with serving(gguf, limits=Limits(seconds=0.5)) as service:
        service.pause, body = 0.3, json.dumps(ASK | {"max_tokens": 100}).encode()
        with service.raw(head(body) + body) as line:
            while not service.steps:
                time.sleep(0.01)
            with pytest.raises(openai.RateLimitError, match=r"no turn came within 0\.5 seconds"):
                service.client.chat.completions.create(**ASK)
            reply = json.loads(everything(line, until=b"}}").partition(b"\r\n\r\n")[2])
    assert reply["choices"][0]["finish_reason"] == "length" and 1 < reply["usage"]["completion_tokens"] < 10


def test_slow_heads_slow_bodies_and_idle_lines_are_ended(gguf: Path) -> None:
    with serving(gguf, limits=Limits(client_seconds=0.4)) as service:
        slow_head, slow_body, silent = (
            service.raw(b"GET /v1/models HTTP/1.1\r\nho"),
            service.raw(head(b"", length=50)),
            service.raw(),
        )
        refused = service.raw(head(b"", path="/none", length=50))  # answered at once, and its body never ends
        started = time.perf_counter()
        assert b" 408 " in everything(slow_body, until=b"}") and everything(slow_head) == everything(silent) == b""
        assert b" 404 " in everything(refused, until=b"}")
        refused.sendall(b"x")
        assert everything(refused) == b"" and time.perf_counter() - started < 4
        assert service.client.models.list().data
        [line.close() for line in (slow_head, slow_body, silent, refused)]


def test_beyond_the_most_connections_the_oldest_idle_one_gives_way(gguf: Path) -> None:
    with serving(gguf, limits=Limits(connections=4)) as service:
        service.pause, body = 0.05, json.dumps(ASK).encode()
        busy = service.raw(head(body) + body)
        while not service.steps:
            time.sleep(0.01)
        idle = [service.raw(b"GET") for _ in range(10)]
        assert service.client.models.list().data
        assert b" 200 " in everything(busy, until=b"}}")
        assert everything(idle[0]) == b""
        [line.close() for line in (busy, *idle)]


def test_they_give_way_one_after_the_other_however_many_wait(gguf: Path) -> None:
    with serving(gguf, limits=Limits(connections=4, pace=0.4)) as service:
        started = time.perf_counter()
        idle = [service.raw(b"GET") for _ in range(8)]
        assert [everything(line) for line in idle[:4]] == [b""] * 4
        assert time.perf_counter() - started >= 3 * 0.4
        [line.close() for line in idle]


def test_only_the_right_key_opens_and_without_one_nobody_else_can_come(gguf: Path) -> None:
    with serving(gguf, key=KEY, limits=Limits(refusal_seconds=0.05)) as service:
        assert service.client.models.list().data
        started = time.perf_counter()
        assert service.post(ASK)[0] == 401 and time.perf_counter() - started > 0.05  # a guess costs its time
        for wrong in ("", "k" * 31, "k" * 33, "K" * 32, "한" * 11):
            for path in ("/v1/chat/completions", "/v1/models", "/none"):
                status, body = service.post(ASK, path=path, authorization=f"Bearer {wrong}")
                assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        assert service.post(ASK)[0] == service.post(ASK, authorization=KEY)[0] == 401
    for address in ("0.0.0.0", "::"):
        with pytest.raises(MidmError, match="key"):
            listen(address, 0, key=None)
    with pytest.raises(MidmError, match="32"):
        listen("127.0.0.1", 0, key="short")
    listen("0.0.0.0", 0, key=KEY).close()
