"""What stands between a socket and the app: requests whose head, body or reader takes too much or too long are ended.

uvicorn's protocol on httptools does the work. A look at all connections once a second is cheaper than timers for each
request, and as exact as it need be.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from casync_py.remotes.http.server.outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_MAX = 64 << 10  # bytes; nginx takes 4 lines of 8 KiB, Apache 100 of 8 KiB
HEADERS_MAX = 100  # as Apache's LimitRequestFields
HEAD_SECONDS = 20  # as Apache's RequestReadTimeout
PIPELINED_MAX = 64
SLOWEST = 256  # bytes a second; what is slower counts as silent
# Where others wait for the memory that bodies take, so that nobody holds it by sending next to nothing:
CROWDED_SLOWEST = 16 << 10
CROWDED_SECONDS = 10
_READ_AT_ONCE = 64 << 10
_INVALID = "Invalid HTTP request received."  # uvicorn's words

_quiet = logging.getLogger("casync_py.http")  # uvicorn's words; what matters goes through the monitor
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False
_quiet.setLevel(logging.CRITICAL)


class Limits:
    """What is shared by the connections of one server.

    Attributes:
        connections_max: more are refused, unless one that is idle can be closed for them.
        timeout: seconds that a body or a reader may be silent.
        connections: those that are open.
        idle: those that owe nothing and are owed nothing, longest idle first.
        received: bytes of all bodies.
        refused: how many requests or connections were ended here, by reason.
        crowded: whether somebody waits for room for his body.
    """

    def __init__(self, connections_max: int, timeout: float) -> None:
        self.connections_max = connections_max
        self.timeout = timeout
        self.connections: set[Guarded] = set()
        self.idle: dict[Guarded, None] = {}
        self.received = 0
        self.refused: dict[str, int] = {}
        self.crowded: Callable[[], bool] = lambda: False
        self.buffer = memoryview(bytearray(_READ_AT_ONCE))

    @property
    def busy(self) -> int:
        """Requests in flight."""
        return sum(connection.busy for connection in self.connections)

    def refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def look(self) -> None:
        """To be called once a second."""
        for connection in list(self.connections):
            connection.look()


class Guarded(HttpToolsProtocol, asyncio.BufferedProtocol):
    """One connection; `limits` is set by `guarded`. What arrives goes through one buffer for all connections."""

    limits: ClassVar[Limits]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _quiet
        self.access_log = False
        self._fruitless = 0  # bytes that came and neither completed a head nor belonged to a body
        self._advanced = False
        self._body_ended = True
        self._head_seconds = 0
        self._slow_seconds = 0
        self._body_before = self._body_bytes = 0
        self._sent_before = 0
        self._refused = False

    @property
    def busy(self) -> bool:
        """Whether a request waits for the end of its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn's own narrowing
        self.outlet = Outlet(self.transport, self._is_listened_to)
        self.transport = cast("asyncio.Transport", self.outlet)
        limits = self.limits
        limits.connections.add(self)
        if len(limits.connections) <= limits.connections_max or _close_longest_idle(limits):
            limits.idle[self] = None
        else:
            self._refuse(503, "Too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self.limits.connections.discard(self)
        self.limits.idle.pop(self, None)
        super().connection_lost(exc)

    def _is_listened_to(self) -> bool:
        """Whether there was a whole answer and the other end may still be sending, or be about to."""
        return self._refused or not (self._body_ended or self.busy)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's protocol may answer
        """The other end has said all: an answer that is on its way goes on, where TLS does not forbid it."""
        if not (self.busy and self._body_ended and self.scheme == "http"):
            return False
        self.cycle.keep_alive = False
        return True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self.limits.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self.limits.buffer[:nbytes])  # type: ignore[arg-type] # the parser takes any buffer

    def data_received(self, data: bytes) -> None:
        if self.parser is None or self.outlet.is_closing():
            return
        self.limits.idle.pop(self, None)
        self._advanced = False
        super().data_received(data)
        self._fruitless = 0 if self._advanced else self._fruitless + len(data)
        if self._fruitless > HEAD_MAX and not self.outlet.is_closing():
            self._refuse(431, "The head of the request is too large")

    def send_400_response(self, msg: str) -> None:
        """uvicorn's parser gave up: by itself, or because one of the methods below refused."""
        if not self.outlet.is_closing():
            self._refuse(400, "This is no HTTP" if msg == _INVALID else msg)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if len(self.pipeline) > PIPELINED_MAX:
            self._refuse(400, "Too many requests before an answer")
            raise ConnectionAbortedError

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS_MAX:  # those behind a body in pieces are counted too
            self._refuse(431, "Too many headers")
            raise ConnectionAbortedError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._advanced = True
        self._body_ended = False
        self._head_seconds = self._slow_seconds = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._advanced = True
        self._body_bytes += len(body)
        self.limits.received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._body_ended = True
        if not self.busy:
            self._rest()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._head_seconds = 0
        if self._body_ended and not self.busy:
            self._rest()

    def _rest(self) -> None:
        if not self.outlet.is_closing():
            self.limits.idle[self] = None

    def shutdown(self) -> None:
        """The server ends: what is being answered is finished."""
        if self.outlet.is_closing() and not self.outlet.unsent():
            self.outlet.abort()
        else:
            super().shutdown()

    def look(self) -> None:
        """A second has passed."""
        self.outlet.look()
        if self.outlet.unsent() or self.outlet.is_closing():
            sent = self.outlet.sent
            self._mind(self.limits.timeout, slow=sent - self._sent_before < SLOWEST)
            self._sent_before = sent
        elif self.busy:
            self._mind_body()
        elif self.cycle is None or self not in self.limits.idle:  # uvicorn minds those between requests
            self._mind_head()
        self._body_before = self._body_bytes

    def _mind_head(self) -> None:
        """Of the first request, or of one that has begun; or a body that comes although it was answered already."""
        self._head_seconds += 1
        if self._head_seconds > HEAD_SECONDS:
            if self._fruitless:
                self._refuse(408, "The head of the request took too long")
            else:
                self.outlet.close()

    def _mind_body(self) -> None:
        expecting = self.cycle.more_body and not self.flow.read_paused and not self.cycle.waiting_for_100_continue
        came = self._body_bytes - self._body_before
        if expecting and self.limits.crowded():
            self._mind(min(CROWDED_SECONDS, self.limits.timeout), slow=came < CROWDED_SLOWEST)
        else:
            self._mind(self.limits.timeout, slow=expecting and came < SLOWEST)

    def _mind(self, patience: float, *, slow: bool) -> None:
        self._slow_seconds = self._slow_seconds + 1 if slow else max(0, self._slow_seconds - 1)
        if self._slow_seconds > patience:
            if self.outlet.is_closing():
                self.outlet.abort()
            elif self._can_answer():
                self._refuse(408, "The body of the request took too long")
            else:
                self.limits.refuse("slow reader")
                self.outlet.abort()

    def _can_answer(self) -> bool:
        """Whether an answer would not end up in the middle of another one."""
        return not self.pipeline and not (self.busy and self.cycle.response_started)

    def _refuse(self, status: int, reason: str) -> None:
        self.limits.refuse(reason.lower())
        body = reason.encode() + b"\n"
        head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            head += b"retry-after: 1\r\n"
        if self._can_answer():
            self.outlet.write(STATUS_LINE[status] + head + b"content-length: %d\r\n\r\n" % len(body) + body)
        if self.busy:  # whoever works on the request learns that nobody waits for it
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._refused = True
        self.outlet.close()


def _close_longest_idle(limits: Limits) -> bool:
    for oldest in limits.idle:
        limits.refuse("too many connections, an idle one closed")
        del limits.idle[oldest]
        oldest.outlet.abort()
        return True
    return False


def guarded(limits: Limits) -> type[Guarded]:
    """The protocol class of one server."""
    return type("GuardedHere", (Guarded,), {"limits": limits})
