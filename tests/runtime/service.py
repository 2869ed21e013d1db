"""Knows a server in this process on a free port, OpenAI's client for it, and requests written by hand."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openai
from midm_mini import load
from midm_mini.desk import Desk
from midm_mini.server import LOOPBACK, Limits, build, listen

MESSAGES: list[Any] = [{"role": "user", "content": "한국의 수도는 어디야?"}]
ASK: dict[str, Any] = {"model": "gguf", "messages": MESSAGES, "max_tokens": 8}
USUAL = Limits(refusal_seconds=0.0)


class Service:
    """A running server with what a test wants to know of it."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.steps, self.pause = port, 0, 0.0
        self.client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0, timeout=20)

    def raw(self, data: bytes = b"", *, source: str = "127.0.0.1") -> socket.socket:
        """A connection from an address of this machine that has sent `data`."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=5, source_address=(source, 0))
        line.sendall(data)
        return line

    def post(self, body: object, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a request written by hand."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"host": "localhost", "content-type": "application/json", "content-length": str(len(sent))}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (given | headers).items()), "", ""]
        with self.raw("\r\n".join(lines).encode() + sent) as line:
            head, _, rest = everything(line, until=b"}").partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(rest)

    def quiet(self) -> bool:
        """True once the model rests: no step within a moment."""
        for _ in range(50):
            before = self.steps
            time.sleep(0.1)
            if before == self.steps:
                return True
        return False


def everything(line: socket.socket, until: bytes = b"\0") -> bytes:
    """What comes until the connection ends or the data end with `until`."""
    data = b""
    with suppress(TimeoutError, ConnectionResetError):
        while (more := line.recv(65536)) and not (data := data + more).endswith(until):
            pass
    return data


@contextmanager
def serving(path: Path, *, key: str | None = None, limits: Limits = USUAL, ends: bool = False) -> Iterator[Service]:
    with (
        load(path, threads=1) as model,
        listen("127.0.0.1", 0, key=key) as door,
        Desk(model, queue=limits.queue, seconds=limits.seconds) as desk,
    ):
        service = Service(door.getsockname()[1], key or "none")
        write = model._opened.write

        def counted(ids: Any, choose: Any) -> Iterator[int]:
            for token in write(ids, choose):
                yield token
                service.steps += 1
                time.sleep(service.pause)

        model._opened.write = counted  # type: ignore[method-assign]
        if not ends:
            model._opened.ends = lambda _: False  # type: ignore[method-assign]  # it never ends by itself
        server = build(desk, key=key, hosts=LOOPBACK, limits=limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield service
        finally:
            server.should_exit = True
            thread.join()


def head(body: bytes, path: str = "/v1/chat/completions", length: int | None = None) -> bytes:
    """A request's head."""
    size = len(body) if length is None else length
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", f"content-length: {size}"]
    return "\r\n".join([*lines, "", ""]).encode()
