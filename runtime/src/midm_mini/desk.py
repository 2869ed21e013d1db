"""Knows who is served next: one thread owns the model, and a bounded queue of requests waits for it."""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from midm_mini.format import MidmError
from midm_mini.model import Model, Piece


class Full(Exception):
    """As many requests wait as may, or this one waited as long as it may."""


class Unfit(ValueError):
    """The model refuses the request: `is_too_long` for the context, or something else, such as an unknown token id."""

    def __init__(self, message: str, *, is_too_long: bool) -> None:
        super().__init__(message)
        self.is_too_long = is_too_long


@dataclass
class Order:
    """One request: how its token ids come about, options of Model.stream, whose it is, and tokens read and written."""

    ids: Callable[[Model], list[int]]
    options: Mapping[str, Any]
    client: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Desk:
    """Serves orders one by one: clients in turn, each client's own first come first served, so that one who sends many
    waits for himself. An order that nobody waits for any more ends at its next token, or leaves the queue; one that
    takes more than `seconds`, waiting included, ends with "length".

    Leaving the `with` waits for the thread, so that the model can be closed."""

    def __init__(self, model: Model, *, queue: int, seconds: float) -> None:
        self.model, self._queue, self._seconds = model, queue, seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._turn: asyncio.Future[None] | None = None  # of the order that the model serves
        self._waiting = dict[asyncio.Future[None], str]()  # turns still to come, and whose they are
        self._served = deque[str](maxlen=64)  # whom lately

    async def write(self, order: Order) -> AsyncGenerator[Piece, None]:
        """The reply's pieces. Raises Full, Unfit before the first piece, and whatever the model raises under way."""
        deadline = time.monotonic() + self._seconds
        await self._wait(order.client)
        loop, left = asyncio.get_running_loop(), threading.Event()
        pieces: asyncio.Queue[Piece | None] = asyncio.Queue()  # as long as a reply at most
        tell = partial(loop.call_soon_threadsafe, pieces.put_nowait)
        work = loop.run_in_executor(self._thread, self._generate, order, deadline, tell, left)

        def end(_: object) -> None:  # the thread is free only now
            self._pass_on()
            pieces.put_nowait(None)
            work.exception()  # asyncio would log a fault that nobody waits for, and quote it

        work.add_done_callback(end)
        try:
            while piece := await pieces.get():
                order.completion_tokens += 1
                yield piece
            work.result()
        finally:
            left.set()

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    async def _wait(self, client: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = client
        if self._turn is None:
            self._pass_on()
        elif len(live := self._live()) > self._queue:  # the last of whoever has most of them gives way
            count = Counter(map(self._waiting.get, live))
            last = max(reversed(live), key=lambda one: count[self._waiting[one]])
            last.set_exception(Full(f"{self._queue} requests are waiting already"))
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except BaseException as error:
            self._waiting.pop(turn, None)
            if self._turn is turn:  # it came just when nobody wanted it any more
                self._pass_on()
            if isinstance(error, TimeoutError):
                raise Full(f"no turn came within {self._seconds:g} seconds") from None
            raise

    def _pass_on(self) -> None:
        """The turn goes to the first order of the client who was served longest ago."""
        when = {client: n for n, client in enumerate(self._served)}
        self._turn = min(self._live(), key=lambda turn: when.get(self._waiting[turn], -1), default=None)
        if self._turn:
            self._served.append(self._waiting.pop(self._turn))
            self._turn.set_result(None)

    def _live(self) -> list[asyncio.Future[None]]:
        """Turns that are waited for, the oldest first: whoever gives up is in the books until his task runs again."""
        return [turn for turn in self._waiting if not turn.done()]

    def _generate(self, order: Order, deadline: float, tell: Callable[[Piece], object], left: threading.Event) -> None:
        """In the model's thread."""
        if left.is_set():
            return
        try:
            ids = order.ids(self.model)
            order.prompt_tokens = len(ids)
            reply = self.model.stream(ids, **order.options)
        except ValueError as error:
            wanted = order.prompt_tokens + order.options.get("max_tokens", 1)
            raise Unfit(str(error), is_too_long=wanted > self.model.context) from error
        try:
            for piece in reply:
                late = time.monotonic() > deadline
                tell(piece._replace(finish_reason=piece.finish_reason or "length") if late else piece)
                if late or left.is_set():
                    return
        except MidmError as error:  # a schema that can no longer be kept to
            raise Unfit(str(error), is_too_long=False) from error
