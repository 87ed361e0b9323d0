"""The way into the app: who may, what is for monitoring, what is counted and logged."""

from __future__ import annotations

import ipaddress
import traceback
from time import perf_counter
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

from casync_py.remotes.http.server.metrics import Metrics, kind_of_request
from casync_py.remotes.http.server.monitoring import HEALTH, METRICS, monitoring

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from casync_py.monitor import Monitor
    from casync_py.remotes.http.server.guard import Limits
    from casync_py.remotes.http.server.log import AccessLog
    from casync_py.transport.admission import Tokens

# Requests that are worked on: what waits for a disk or another server goes on when its client has gone.
_PER_CONNECTION = 2
_CHALLENGES = {"www-authenticate": 'Bearer realm="casync", Basic realm="casync"'}


class Gate:
    """An ASGI app around the app."""

    def __init__(
        self,
        app: ASGIApp,
        monitor: Monitor,
        limits: Limits,
        *,
        tokens: Tokens | None = None,
        log: AccessLog | None = None,
        local: frozenset[str] | None = None,
    ) -> None:
        """
        Args:
            tokens: one of them has to be presented.
            local: the names that this machine has for itself, where nobody else can connect: a request for another
                name comes from a page in a browser here whose owner made that name mean this machine (DNS rebinding).
        """
        self._app = app
        self._monitor = monitor
        self._tokens = tokens
        self._log = log
        self._local = None if tokens is not None else local
        self._metrics = Metrics(limits)
        self._monitoring = monitoring(self._metrics)
        self._limits = limits
        self._in_app = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = perf_counter()
        answer = _Answer(send)
        try:
            await self._answer(scope, receive, answer)
        except Exception as error:
            self._report(scope, error)
            if answer.status:
                raise  # the connection is closed in the middle, so that nobody takes it for the end
            refusal = _refusal(500, "Internal error; the server's messages have more")
            await refusal(scope, receive, answer.send)
        finally:
            seconds = perf_counter() - begin
            kind = kind_of_request(scope["method"], scope["raw_path"], scope["query_string"])
            self._metrics.count(scope["method"], kind, answer.status, answer.sent, seconds)
            if self._log is not None:
                self._log.add(scope, answer.status, answer.sent, seconds)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        path = scope["raw_path"]
        app: ASGIApp
        if self._local is not None and not self._is_ours(_header(scope, b"host")):
            app = _refusal(421, "Only this machine is served here; ask for localhost")
        elif path == HEALTH:
            app = self._monitoring
        elif self._tokens is not None and not self._tokens.accept(_header(scope, b"authorization")):
            app = _refusal(401, "A token is needed: 'Authorization: Bearer TOKEN', or as a password", _CHALLENGES)
        elif path == METRICS:
            app = self._monitoring
        elif self._in_app >= _PER_CONNECTION * self._limits.connections_max:
            self._limits.refuse("too many requests at once")
            app = _refusal(503, "Too many requests are being worked on", {"retry-after": "1"})
        else:
            app = self._counted
        await app(scope, receive, answer.send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._in_app += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_app -= 1

    def _is_ours(self, host: bytes) -> bool:
        name = host.decode("latin-1").lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if not name or self._local is None or name in self._local or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _report(self, scope: Scope, error: Exception) -> None:
        target = f"{scope['method']} {scope['raw_path'].decode('latin-1')}"
        self._monitor.notice(f"Internal error in {target} ({type(error).__name__}: {error}); please report it")
        for line in "".join(traceback.format_exception(error)).splitlines():
            self._monitor.detail(line)


class _Answer:
    """Passes an answer on, and remembers what it was.

    Attributes:
        status: 0 until it has begun.
        sent: bytes of its body.
    """

    __slots__ = ("_send", "sent", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.sent = 0

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.sent += len(message.get("body", b""))
        return self._send(message)


def _refusal(status: int, line: str, headers: dict[str, str] | None = None) -> PlainTextResponse:
    return PlainTextResponse(line + "\n", status, headers)


def _header(scope: Scope, name: bytes) -> bytes:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value for found, value in headers if found == name), b"")
