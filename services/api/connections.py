"""Connections that say nothing are cut: HTTP/1.1 with deadlines, and a bound on those that have no request under way.

How large a body may be is for `door` and the routes to say.
"""

import asyncio
import socket
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.contract.timing import Timing

LEAST_PACE = 1024  # bytes/s of a body, a tenth of a modem's: large files may take long, if they come


class WatchfulProtocol(H11Protocol):
    """Of the connections without a request, the one that has waited longest is cut first: silence keeps nobody out."""

    timing: ClassVar[Timing]
    most_waiting: ClassVar[int]
    waiting: ClassVar[dict["WatchfulProtocol", None]]

    _deadline: asyncio.TimerHandle | None = None
    _lingers = False  # its deadline is for a body that nobody reads
    _brought = 0  # bytes of a body, since its deadline was set

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        _give_up_on_the_vanished(transport, self.timing.vanished)
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        request = self.cycle
        super().data_received(data)
        if self.cycle is not request:
            self._has_request()
        if self.conn.their_state is h11.IDLE:
            self._wait_for_headers()
        elif self.conn.their_state is h11.SEND_BODY and not self._lingers:
            self._wait_for_body(len(data))
        elif not self._lingers:
            self._clear_deadline()

    def on_response_complete(self) -> None:
        request = self.cycle
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.cycle is not request:  # it had sent the next one already
            self._has_request()
            if self.conn.their_state is h11.SEND_BODY:
                self._wait_for_body(0)
        else:
            self.waiting[self] = None  # for its next request; how long, uvicorn's keep-alive says
            if self.conn.their_state is h11.SEND_BODY:  # time to see our answer
                self._set_deadline(self.timing.linger, lingers=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_request()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self.waiting[self] = None
        if self._deadline is None or self._lingers:
            self._set_deadline(self.timing.headers)
        if len(self.waiting) > self.most_waiting:
            next(iter(self.waiting)).transport.abort()

    def _wait_for_body(self, brought: int) -> None:
        self._brought += brought
        if self._deadline is None or self._brought >= LEAST_PACE * self.timing.pace:
            self._set_deadline(self.timing.pace)
            self._brought = 0

    def _has_request(self) -> None:
        self.waiting.pop(self, None)
        self._clear_deadline()

    def _set_deadline(self, seconds: float, *, lingers: bool = False) -> None:
        self._clear_deadline()
        self._lingers = lingers
        self._deadline = self.loop.call_later(seconds, self._is_late)

    def _is_late(self) -> None:
        if self.flow.read_paused and not self._lingers:  # it is we who do not read
            self._set_deadline(self.timing.pace)
        else:
            self.transport.abort()

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None


def protocol(timing: Timing, most_waiting: int) -> type[WatchfulProtocol]:
    """For one server; at most `most_waiting` of its connections have no request under way."""
    return type("Protocol", (WatchfulProtocol,), {"timing": timing, "most_waiting": most_waiting, "waiting": {}})


def _give_up_on_the_vanished(transport: asyncio.Transport, seconds: float) -> None:
    """A client that acknowledges nothing, or takes nothing, is gone: its stream's heartbeats find it out. The kernel's
    own patience is some 15 minutes. macOS has no such option."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
