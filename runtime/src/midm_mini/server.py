"""Knows the HTTP service: OpenAI's paths, who may ask, how long and how much, and what is logged (never content)."""

import asyncio
import hmac
import ipaddress
import logging
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Iterable, MutableMapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from midm_mini import wire
from midm_mini.asked import BODY_BYTES, Chat, Completion
from midm_mini.desk import Desk, Full, Order, Unfit
from midm_mini.door import Door, Pace
from midm_mini.format import MidmError
from midm_mini.model import Model, Piece
from midm_mini.wire import Refusal

KEY_CHARACTERS = 32
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
PATHS = {"/v1/models", "/v1/chat/completions", "/v1/completions"}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]@/]+)(:\d{1,5})?")
_log = logging.getLogger("midm_mini.server")
_NOTHING = Order(lambda _: [], {})
Found = TypeVar("Found")


@dataclass(frozen=True)
class Limits:
    """What one service bears; those of a request's content stand in wire.py."""

    queue: int = 16  # requests that wait for the model
    seconds: float = 120.0  # of one request, waiting included
    connections: int = 256
    client_seconds: float = 10.0  # for a request's head, for its body, and to take a reply
    refusal_seconds: float = 0.2  # that a refusal is held back: whoever guesses or floods waits for each
    pace: float = 0.016  # between two refusals, or two lines cut: a flood that comes in waves goes in single file


class Gone(Exception):
    """The client has left."""


def run(
    model: Model, *, host: str = "127.0.0.1", port: int = 8000, key: str | None = None, hosts: Iterable[str] = (),
    limits: Limits = Limits(),
) -> None:  # fmt: skip
    """Serves `model` until SIGINT or SIGTERM; raises MidmError on an address or key that is not safe, or OSError."""
    with listen(host, port, key=key) as door, Desk(model, queue=limits.queue, seconds=limits.seconds) as desk:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # what uvicorn hands on to once it has ended
        sys.setswitchinterval(0.0005)  # beside a busy loop the model wrote 235 tokens/s instead of 165 at 0.005
        address, port = door.getsockname()[:2]
        name = f"[{address}]" if ":" in address else address
        print(f"{model_name(model)} on http://{name}:{port}/v1", file=sys.stderr, flush=True)
        build(desk, key=key, hosts=[*LOOPBACK, host, name, *hosts], limits=limits).run(sockets=[door])


def listen(host: str, port: int, *, key: str | None) -> socket.socket:
    """A listening socket; MidmError if others could reach it without a long key."""
    if key is not None and not re.fullmatch(rf"[!-~]{{{KEY_CHARACTERS},}}", key):
        raise MidmError(f"the key needs at least {KEY_CHARACTERS} characters, ASCII without spaces; make a longer one")
    door = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if key is None and not ipaddress.ip_address(door.getsockname()[0]).is_loopback:
        door.close()
        raise MidmError(f"{host} can be reached from other machines: give a key by --key-file or MIDM_MINI_KEY")
    return door


def build(desk: Desk, *, key: str | None, hosts: Iterable[str], limits: Limits) -> uvicorn.Server:
    """The service at a desk, ready to run on a socket."""
    refusals, cuts = Pace(limits.pace, most=1), Pace(limits.pace)
    guard = Guard(application(desk, limits), key=key, hosts=hosts, seconds=limits.refusal_seconds, pace=refusals)
    bounds: dict[str, Any] = {"connections": limits.connections, "seconds": limits.client_seconds}
    door: Any = partial(Door, cuts=cuts, refusals=refusals, **bounds)
    quiet: dict[str, Any] = {"log_config": None, "log_level": "warning", "access_log": False, "server_header": False}
    config = uvicorn.Config(
        guard, http=door, ws="none", lifespan="off", proxy_headers=False, timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=1 << 14, backlog=64, **quiet,
    )  # fmt: skip
    return uvicorn.Server(config)


def model_name(model: Model) -> str:
    """The model's id: its folder's name, or its file's without the ending."""
    return model.path.resolve().stem if model.path.is_file() else model.path.resolve().name


def application(desk: Desk, limits: Limits) -> FastAPI:
    """The paths and what they do."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    card = {"id": model_name(desk.model), "object": "model", "created": int(time.time()), "owned_by": "openmidm"}

    async def answer(request: Request, shape: type[Chat] | type[Completion]) -> Response:
        asked = wire.parse(shape, await _body(request, limits.client_seconds))
        find(asked.model)
        length, most = asked.characters(), wire.CHARACTERS_PER_TOKEN * desk.model.context
        if length > most:
            message = f"{length} characters; the context of {desk.model.context} tokens takes at most {most}"
            raise Refusal(400, message, code="context_length_exceeded")
        order = request.state.order = Order(asked.ids, asked.options(), request.client.host if request.client else "")
        pieces = desk.write(order)
        if not asked.stream:
            return wire.whole(asked, order, await _unless_gone(request, _all(pieces)))
        first = await _unless_gone(request, anext(pieces))  # before the status goes out, for it may be a refusal
        return _Stream(wire.events(asked, order, first, pieces), media_type="text/event-stream")

    def find(name: str) -> dict[str, Any]:
        if name != card["id"]:
            raise Refusal(404, f"this server has {card['id']} only", param="model", code="model_not_found")
        return card

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await answer(request, Chat)

    @app.post("/v1/completions")
    async def complete(request: Request) -> Response:
        return await answer(request, Completion)

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [card]})

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        return JSONResponse(find(name))

    for kind in (Refusal, Unfit, Full, Gone, 404, 405, Exception):
        app.add_exception_handler(kind, _refuse)
    return app


class Guard:
    """Before any path is looked up: a host that we know and the right key; after it, one log line without content."""

    def __init__(self, app: FastAPI, *, key: str | None, hosts: Iterable[str], seconds: float, pace: Pace) -> None:
        self._app, self._hosts, self._seconds, self._pace = app, frozenset(map(str.lower, hosts)), seconds, pace
        self._key = key and f"Bearer {key}".encode()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        started, status, refusal = time.perf_counter(), 499, self._refusal(scope["headers"])

        async def tell(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            if message.get("status", 0) >= 400:
                scope["state"]["refused"] = True  # the door may drop the connection meanwhile
                await asyncio.sleep(self._pace.wait(self._seconds))
            await send(message)

        try:
            await (refusal.response() if refusal else self._app)(scope, receive, tell)
        except Exception as error:  # told by its type and place only, for its text may quote a request
            place = traceback.extract_tb(error.__traceback__)[-1]
            _log.error("%s at %s:%s", type(error).__name__, Path(place.filename).name, place.lineno)
        finally:
            path = scope["path"] if scope["path"] in PATHS else "(other)"
            tokens = wire.usage(scope["state"].get("order") or _NOTHING)
            counts = f"{tokens['prompt_tokens']}+{tokens['completion_tokens']} tokens"
            _log.info("%s %s %s %s %.3f s", scope["method"][:7], path, status, counts, time.perf_counter() - started)

    def _refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
        said = {name: [value for other, value in headers if other == name] for name in (b"host", b"authorization")}
        host = _HOST.fullmatch(b",".join(said[b"host"]).decode("latin-1").lower())
        if not host or host[1] not in self._hosts:  # a page elsewhere whose name was made to point here
            return Refusal(403, "this server does not answer to that host name; see --hosts", code="host_not_allowed")
        if self._key and not hmac.compare_digest(b",".join(said[b"authorization"]), self._key):
            return Refusal(401, "the key is wrong or missing", code="invalid_api_key", www_authenticate="Bearer")
        return None


class _Stream(StreamingResponse):
    """Ends the reply as soon as the client has left, wherever the stream stood."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()  # type: ignore[union-attr]


async def _refuse(_: Request, error: Exception) -> Response:
    match error:
        case Refusal():
            return error.response()
        case Unfit():
            code = "context_length_exceeded" if error.is_too_long else "invalid_value"
            return Refusal(400, str(error), code=code).response()
        case Full():
            return Refusal(429, f"{error}; ask again later", code="queue_full", retry_after="1").response()
        case Gone():
            return Response(status_code=499)  # nobody reads it, but the log does
    status = getattr(error, "status_code", 500)
    told = {404: ("there is no such path", "not_found"), 405: ("the path has no such method", "method_not_allowed")}
    message, code = told.get(status, ("the server failed; its log says where", "internal_error"))
    return Refusal(status, message, code=code, **(getattr(error, "headers", None) or {})).response()


async def _body(request: Request, seconds: float) -> bytes:
    """The JSON body; refused as soon as it is too long or too slow, before anything is parsed."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "content-type: must be application/json", code="unsupported_media_type")  # nor do forms come
    body, declared = bytearray(), int(request.headers.get("content-length", 0))
    try:
        async with asyncio.timeout(seconds):
            while True:
                if max(declared, len(body)) > BODY_BYTES:
                    raise Refusal(413, f"the body exceeds {BODY_BYTES} bytes", code="body_too_large")
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                body += message.get("body", b"")
                if not message.get("more_body") and len(body) <= BODY_BYTES:
                    return bytes(body)
    except TimeoutError:
        raise Refusal(408, f"the body took more than {seconds:g} seconds", code="body_too_slow") from None


async def _unless_gone(request: Request, work: Awaitable[Found]) -> Found:
    """What `work` gives; cancels it and raises Gone when the client leaves before."""

    async def leave() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    found, left = asyncio.ensure_future(work), asyncio.ensure_future(leave())
    try:
        await asyncio.wait({found, left}, return_when=asyncio.FIRST_COMPLETED)
        if not found.done():
            raise Gone
        return found.result()
    finally:
        found.cancel(), left.cancel()


async def _all(pieces: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in pieces]
