"""Knows connections: uvicorn's HTTP/1.1 with the limits that it lacks, so that slow or idle clients hold nobody up."""

import asyncio
import math
import socket
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Pace:
    """Spreads moments, `gap` seconds apart: a wave would hold the loop up for all at once."""

    def __init__(self, gap: float, *, most: float = math.inf) -> None:
        self._gap, self._most, self._last = gap, most, 0.0

    def wait(self, least: float = 0.0) -> float:
        """Seconds until the next moment, `least` to `least` + `most`, where they pile up."""
        now = time.monotonic()
        self._last = min(max(self._last + self._gap, now + least), now + least + self._most)
        return self._last - now


class Door(H11Protocol):
    """Beyond `connections`, the oldest that has no whole request here gives way to the newcomer (uvicorn's own limit
    answers the newcomer 503, and so lets whoever came first keep everybody out), as `cuts` go up to twice as many, then
    at once; broken heads are told so as `refusals` go. A request's head must be complete within `seconds`, a refused
    request's body must end within them, and a reply's bytes be taken within them."""

    def __init__(self, *args: Any, connections: int, seconds: float, cuts: Pace, refusals: Pace, **more: Any) -> None:
        super().__init__(*args, **more)
        self._most, self._seconds, self._cuts, self._refusals = connections, seconds, cuts, refusals
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """True from the last byte of a request until its reply is out, unless it is refused."""
        cycle = self.cycle
        return bool(cycle) and not (cycle.more_body or cycle.response_complete or cycle.scope["state"].get("refused"))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does so only where the socket was made with the protocol's number; else each reply waits 40 ms
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.since = self.loop.time()
        self._reading = self._abort_later()
        if len(self.connections) > 2 * self._most:
            self._make_room()
        elif len(self.connections) > self._most:
            self.loop.call_later(self._cuts.wait(), self._make_room)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:  # the application's limits hold from here on
            self._reading = _cancelled(self._reading)
        elif self._reading is None:
            self._reading = self._abort_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reading, self._writing = _cancelled(self._reading), _cancelled(self._writing)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self._writing or self._abort_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writing = _cancelled(self._writing)

    def send_400_response(self, msg: str) -> None:
        self.transport.pause_reading()  # what follows a broken head is no better
        self.loop.call_later(self._refusals.wait(), self._end_broken, msg)

    def _end_broken(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # a reply is under way or out: uvicorn would fail to begin another
            self.transport.abort()

    def _make_room(self) -> None:
        present = [door for door in self.connections if isinstance(door, Door) and not door.transport.is_closing()]
        idle = [door for door in present if not door.is_busy]
        if len(present) > self._most and idle:
            min(idle, key=lambda door: door.since).transport.abort()

    def _abort_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self._seconds, self.transport.abort)


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
