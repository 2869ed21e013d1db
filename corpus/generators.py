"""Knows who answers requests: an OpenAI-compatible endpoint or a local model, one seam for both, replies remembered."""

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol
from urllib import request as http
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from midm_mini.format import Message
from pydantic import BaseModel, ConfigDict, Field, ValidationError

KEY = "OPENMIDM_GENERATOR_KEY"  # the environment variable: a key stands in no file, log or message
HOPELESS = 20  # failures in a row after which a run stops, instead of trying thousands of times more
LARGEST_REPLY = 8 << 20  # bytes
LONGEST_PAUSE = 60.0  # seconds, whatever the endpoint asks for
_MISTAKES = (301, 302, 303, 307, 308, 401, 403, 404, 405)  # of the settings, so that no request can succeed


class GeneratorError(ValueError):
    """A generator that cannot work at all; the message names it and the remedy, never the key."""


class Request(NamedTuple):
    """One question: `name` is its own among all of a run, `system` and `user` are the two turns."""

    name: str
    system: str
    user: str


class Reply(BaseModel):
    """What came back; "length" says that the text broke off. Tokens are 0 where an endpoint does not count them."""

    model_config = ConfigDict(frozen=True)
    text: str
    finish: Literal["stop", "length", "content_filter", "other"]
    prompt_tokens: int
    completion_tokens: int


class Failure(NamedTuple):
    """No reply, and why: http_429, timeout, connection, malformed, too_long, key_in_reply."""

    reason: str


class Model(Protocol):
    """Whatever answers one request; `identity` is all that decides the reply besides the request."""

    identity: dict[str, Any]

    def ask(self, request: Request) -> Reply | Failure: ...
    def stop(self) -> None: ...  # called while requests may be under way: wait no longer


class Settings(BaseModel):
    """Who generates, and how; keys that a kind does not need stay as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["template", "endpoint", "local"]  # template: the world's own documents and nothing else
    url: str  # endpoint: up to and including /v1
    model: str  # endpoint: the name that it serves; local: a .gguf file or an exported folder
    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(ge=1)  # of a reply; one that is cut off there is dropped
    concurrency: int = Field(ge=1)  # endpoint: requests under way at once; the result is the same for any number
    timeout_seconds: float = Field(gt=0)  # endpoint: silence after which a request is tried again
    attempts: int = Field(ge=1)  # endpoint: tries per request in all
    backoff_seconds: float = Field(ge=0)  # endpoint: before the second try; doubles with each
    prompt_price: float = Field(ge=0)  # per million tokens, in any currency: it only multiplies
    completion_price: float = Field(ge=0)
    max_failed: float = Field(ge=0, le=1)  # share of requests without a reply from which the stage stops


class Generator:
    """Asks a model only what no run has asked before: replies lie in `folder` by the hash of their request.

    Failures are not kept, so that the next run asks again. `sent` counts what was really asked.
    """

    def __init__(self, model: Model, folder: Path, *, at_once: int) -> None:
        self._model, self._folder, self._at_once, self.sent = model, folder, at_once, 0

    def complete(self, requests: Iterable[Request]) -> Iterator[Reply | Failure]:
        """One outcome per request, in order; to be called once. GeneratorError after HOPELESS failures in a row."""
        pool, streak = ThreadPoolExecutor(self._at_once), 0
        try:
            for outcome, sent in pool.map(self._answer, requests):
                self.sent += sent
                streak = streak + 1 if isinstance(outcome, Failure) else 0
                if isinstance(outcome, Failure) and streak == HOPELESS:
                    said = f"{self._model.identity['model']}: {streak} requests in a row failed ({outcome.reason})"
                    raise GeneratorError(f"{said}; what was answered is kept, run again once it is mended")
                yield outcome
        finally:
            self._model.stop()
            pool.shutdown(cancel_futures=True)

    def _answer(self, request: Request) -> tuple[Reply | Failure, bool]:
        said = self._model.identity | {"messages": _messages(request)}
        digest = hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        file = self._folder / digest[:2] / f"{digest}.json"
        try:
            return Reply.model_validate_json(file.read_bytes()), False
        except (FileNotFoundError, ValidationError):
            outcome = self._model.ask(request)
        if isinstance(outcome, Reply):
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}.draft")
            draft.write_text(outcome.model_dump_json(), encoding="utf-8")
            draft.replace(file)
        return outcome, True


class Endpoint:
    """A model behind an OpenAI-compatible endpoint; redirects are refused, for they would carry the key elsewhere."""

    def __init__(self, settings: Settings, *, seed: int, key: str) -> None:
        options = settings.model_dump(include={"model", "temperature", "top_p", "max_tokens"})
        self.identity = {"url": settings.url.rstrip("/"), **options, "seed": seed}
        self._settings, self._key, self._stopped = settings, key, threading.Event()
        near = _check_place(settings.url, key)
        self._opener = http.build_opener(_NoRedirects, *([http.ProxyHandler({})] if near else []))

    def ask(self, request: Request) -> Reply | Failure:
        """Tries again with growing pauses while that may help; GeneratorError if no request can ever succeed."""
        body = {name: value for name, value in self.identity.items() if name != "url"}
        data = json.dumps(body | {"messages": _messages(request)}, ensure_ascii=False).encode()
        for attempt in range(self._settings.attempts):
            outcome, asked_pause = self._attempt(data)
            if isinstance(outcome, Reply) or not _may_pass(outcome.reason) or attempt + 1 == self._settings.attempts:
                return outcome
            pause = max(asked_pause, self._settings.backoff_seconds * 2**attempt)
            if self._stopped.wait(min(pause, LONGEST_PAUSE)):
                break
        return outcome

    def stop(self) -> None:
        """Ends all pauses."""
        self._stopped.set()

    def _attempt(self, data: bytes) -> tuple[Reply | Failure, float]:
        """One try: the outcome, and the pause in seconds that the endpoint asked for."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        call = http.Request(f"{self.identity['url']}/chat/completions", data, headers)
        try:
            with self._opener.open(call, timeout=self._settings.timeout_seconds) as response:
                reply = _completion(response.read(LARGEST_REPLY))
            return (Failure("key_in_reply") if self._key and self._key in reply.text else reply), 0.0
        except HTTPError as error:
            error.close()
            if error.code in _MISTAKES:
                said = f"{self.identity['url']}: HTTP {error.code} for model {self.identity['model']}"
                raise GeneratorError(f"{said}; check synthesize.generator and the variable {KEY}") from None
            pause = error.headers.get("Retry-After", "")
            return Failure(f"http_{error.code}"), float(pause) if pause.isdecimal() else 0.0
        except ValidationError:
            return Failure("malformed"), 0.0
        except (HTTPException, OSError) as error:
            cause = error.reason if isinstance(error, URLError) else error
            return Failure("timeout" if isinstance(cause, TimeoutError) else "connection"), 0.0


class Local:
    """A bundle through our own runtime; each request draws from a seed of its own, so order does not matter."""

    def __init__(self, settings: Settings, *, seed: int) -> None:
        import midm_mini

        self._model, self._settings = midm_mini.load(settings.model), settings
        options = settings.model_dump(include={"temperature", "top_p", "max_tokens"})
        self.identity = {"model": _digest(Path(settings.model)), **options, "seed": seed}

    def ask(self, request: Request) -> Reply | Failure:
        """The reply, cut where the context ends; too_long if the request alone fills it."""
        options, messages = self._settings, _messages(request)
        asked = len(self._model.chat_ids(messages))
        if (room := self._model.context - asked) < 1:
            return Failure("too_long")
        draw = hashlib.sha256(f"{self.identity['seed']}\x1f{request.system}\x1f{request.user}".encode()).digest()
        sampling: dict[str, Any] = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "seed": int.from_bytes(draw[:8]),
        }
        pieces = list(self._model.chat(messages, max_tokens=min(options.max_tokens, room), **sampling))
        text, finish = "".join(piece.text for piece in pieces), pieces[-1].finish_reason
        return Reply(text=text, finish=finish, prompt_tokens=asked, completion_tokens=len(pieces))

    def stop(self) -> None:
        """Nothing waits here: a reply under way is finished and kept."""


def opened(settings: Settings, *, seed: int, folder: Path) -> Generator:
    """The generator of the settings, its replies in `folder`; GeneratorError for templates, which answer nothing."""
    if settings.kind == "template":
        raise GeneratorError("synthesize.recipes need a model: set synthesize.generator.kind to endpoint or local")
    if settings.kind == "local":
        return Generator(Local(settings, seed=seed), folder, at_once=1)
    model = Endpoint(settings, seed=seed, key=os.environ.get(KEY, "").strip())
    return Generator(model, folder, at_once=settings.concurrency)


class _NoRedirects(http.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(0, ge=0)
    completion_tokens: int = Field(0, ge=0)


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def _completion(body: bytes) -> Reply:
    read = _Completion.model_validate_json(body)
    choice, usage = read.choices[0], read.usage or _Usage()
    finish = choice.finish_reason if choice.finish_reason in ("stop", "length", "content_filter") else "other"
    return Reply(text=choice.message.content or "", finish=finish, **usage.model_dump())


def _may_pass(reason: str) -> bool:
    passing = ("timeout", "connection", "malformed", "http_408", "http_409", "http_425", "http_429")
    return reason in passing or reason.startswith("http_5")


def _messages(request: Request) -> list[Message]:
    turns = (("system", request.system), ("user", request.user))
    return [Message(role=role, content=content) for role, content in turns if content]


def _check_place(url: str, key: str) -> bool:
    """True if the endpoint is on this machine; GeneratorError for a url or a key that must not be used."""
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname or "@" in place.netloc or place.query:
        raise GeneratorError("synthesize.generator.url: give http(s)://host/v1 without name, password or query")
    try:
        near = place.hostname == "localhost" or ip_address(place.hostname).is_loopback
    except ValueError:
        near = False
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise GeneratorError(f"{KEY} holds characters that no key has; set it again")
    if key and place.scheme == "http" and not near:
        raise GeneratorError(f"{url}: {KEY} would travel unencrypted; use https")
    return near


def _digest(path: Path) -> str:
    """One digest of all files of a bundle, so that another model at the same place gives other replies."""
    digest = hashlib.sha256()
    for file in sorted(it for it in [path, *path.rglob("*")] if it.is_file()):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
