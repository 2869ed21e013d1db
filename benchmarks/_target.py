"""Knows a server under attack: how it is started and ended, what it is asked, and what it does then."""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

KEY = "an-attack-is-only-as-good-as-its-key"
MEMORY = 4 << 30  # bytes that a server may hold
PATIENCE = 30.0  # seconds for a reply, longer is a hang
GOOD_ADDRESS, OTHER_ADDRESS = "127.0.0.1", "127.0.0.2"


class Target(NamedTuple):
    """A running server: where it listens, what it calls its model, its process; and the address it is attacked from."""

    port: int
    model: str
    process: subprocess.Popen
    source: str = OTHER_ADDRESS

    async def line(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection of an attacker."""
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(self.source, 0))

    def ask(self, body: bytes, *, path: str = "/v1/chat/completions", key: str = KEY) -> bytes:
        """A whole request, written by hand."""
        lines = [f"POST {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {key}", "connection: close"]
        lines += ["content-type: application/json", f"content-length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body

    def chat(self, **more: Any) -> bytes:
        """The body of a good request."""
        messages = [{"role": "user", "content": "한국의 수도는 어디야?"}]
        return json.dumps({"model": self.model, "messages": messages, "max_tokens": 2} | more).encode()

    async def status(self, request: bytes, seen: Counter) -> int:
        """The status that a request gets, 0 for none; counts it."""
        seen["requests"] += 1
        reader, writer = await self.line()
        line = b""
        try:
            writer.write(request)
            async with asyncio.timeout(PATIENCE):
                with suppress(ConnectionError):
                    line = await reader.readline()
                    await reader.read()
        except TimeoutError:
            seen["hang"] += 1
        finally:
            writer.transport.abort()
        found = int(line[9:12]) if line[9:12].isdigit() else 0
        seen["5xx"] += 500 <= found < 600
        return found

    def resident(self) -> float:
        """MiB that the server holds, 0 if it has died."""
        with suppress(OSError, IndexError):
            told = Path(f"/proc/{self.process.pid}/status").read_text()
            return round(int(told.split("VmRSS:")[1].split()[0]) / 1024, 1)
        return 0.0


@contextmanager
def running(command: list[str], env: Mapping[str, str]) -> Iterator[Target]:
    """Starts a server on a free port; ends it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told, quiet = {**os.environ, **env}, subprocess.DEVNULL
    bound = ["prlimit", f"--data={MEMORY}"]  # so that a server which keeps what it is sent dies before the machine
    with subprocess.Popen([*bound, *command, "--port", str(port)], env=told, stdout=quiet, stderr=quiet) as process:
        try:
            yield Target(port, _model_name(port), process)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()


def _model_name(port: int) -> str:
    for _ in range(600):
        time.sleep(0.1)
        line = http.client.HTTPConnection("localhost", port, timeout=5)
        with suppress(OSError):
            line.request("GET", "/v1/models", headers={"authorization": f"Bearer {KEY}"})
            return json.loads(line.getresponse().read())["data"][0]["id"]
    raise TimeoutError(f"no server on port {port} within a minute; run its command by hand to see why")
