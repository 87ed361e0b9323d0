"""Origins that are reached through httpx: behind a proxy of the environment, or over HTTP/2."""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import httpx

from casync_py.errors import UsageError
from casync_py.remotes.http.errors import TooLarge, WebError
from casync_py.remotes.http.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from casync_py.monitor import Monitor
    from casync_py.remotes.http.address import WebAddress
    from casync_py.remotes.http.lanes import Headers
    from casync_py.remotes.http.wire import Content

_CONNECT_S = 30.0
_NO_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None)


def make_client(tls: ssl.SSLContext, *, http2: bool) -> httpx.Client:
    """A client that adds nothing to requests and keeps no cookies; proxies are those of the environment.

    Raises:
        UsageError: the environment names an impossible proxy.
    """
    try:
        return httpx.Client(
            verify=tls,
            http2=http2,
            limits=_NO_LIMITS,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
        )
    except (ValueError, httpx.InvalidURL, ImportError) as error:
        raise UsageError(f"The proxy that the environment names cannot be used: {error}") from None


class _Counted:
    """A body, once, and how many bytes of it were taken."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.size = 0
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            yield piece


class ClientAnswer:
    """An `Answering` over httpx.

    Attributes:
        client: that it comes through.
        complete: all of it was read.
    """

    def __init__(
        self, client: httpx.Client, response: httpx.Response, content: _Counted | None, timeout_s: float | None
    ) -> None:
        self.client = client
        self._response = response
        self._pieces: Iterator[bytes] = response.iter_raw()
        self._pace = Pace(timeout_s)
        self.status = response.status_code
        self.headers = dict(response.headers)
        self.complete = False
        self.received = sum(len(name) + len(value) + 4 for name, value in response.headers.raw)
        self.sent = 0 if content is None else content.size

    def read(self) -> bytes:
        before = time.monotonic()
        while not self.complete:
            try:
                piece = next(self._pieces, None)
            except (httpx.HTTPError, httpx.StreamError) as error:
                raise web_error(error) from error
            if piece is None:
                self.complete = True
            elif piece:
                self.received += len(piece)
                self._pace.came(len(piece), time.monotonic() - before)
                return piece
        return b""

    def read_all(self, limit: int) -> bytes:
        pieces = []
        size = 0
        while piece := self.read():
            size += len(piece)
            if size > limit:
                raise TooLarge(limit)
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        self._response.close()


class ClientLane:
    """A `Lane` over clients, each of them used by one request at a time.

    Not by several: httpcore 1.0 lets threads write to an HTTP/2 connection without a common lock, so that streams begin
    out of order (nginx answers with PROTOCOL_ERROR) and headers may be packed against another request's table.
    """

    def __init__(
        self,
        make_client: Callable[[], httpx.Client],
        address: WebAddress,
        headers: list[tuple[str, str]],
        timeout_s: float | None,
        monitor: Monitor,
    ) -> None:
        """Args: headers: that go with every request."""
        self.address = address
        self._make_client = make_client
        self._idle: deque[httpx.Client] = deque()
        self._base = address.url.rstrip("/")
        self._headers = headers
        self._timeout_s = timeout_s
        self._monitor = monitor
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._closed = False
        connect_s = _CONNECT_S if timeout_s is None else min(timeout_s, _CONNECT_S)
        self._extensions = {
            "timeout": {"connect": connect_s, "read": timeout_s, "write": timeout_s, "pool": timeout_s},
            "trace": self._remember,
        }

    def _remember(self, event: str, details: dict[str, Any]) -> None:
        """Keep the sockets that are made, for `close`: nothing else wakes a thread that waits for one."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._sockets.add(details["return_value"].get_extra_info("socket"))

    def open(self, method: str, target: str, content: Content, headers: Headers) -> ClientAnswer:
        lines = [*self._headers, *(headers or {}).items()]
        if isinstance(content, bytes):
            lines.append(("Content-Length", str(len(content))))
        while True:
            if self._closed:
                raise WebError("The connection was closed")
            try:
                client, fresh = self._idle.pop(), False
            except IndexError:
                client, fresh = self._make_client(), True
            body = None if content is None else _Counted([content] if isinstance(content, bytes) else content())
            request = httpx.Request(
                method, self._base + target, headers=lines, content=body, extensions=self._extensions
            )
            try:
                response = client.send(request, stream=True)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                client.close()
                # A server may close an idle connection at any time, or end an HTTP/2 connection after so many
                # requests (nginx after 1000): that is no trouble.
                if fresh or not isinstance(error, (httpx.NetworkError, httpx.ProtocolError)):
                    raise web_error(error) from error
            except BaseException:
                client.close()
                raise
            else:
                return ClientAnswer(client, response, body, self._timeout_s)

    def done(self, answering: object) -> None:
        answer: ClientAnswer = answering  # type: ignore[assignment]
        self.count(answer)
        answer.close()
        if answer.complete and not self._closed:
            self._idle.append(answer.client)
        else:
            answer.client.close()

    def count(self, answering: object) -> None:
        answer: ClientAnswer = answering  # type: ignore[assignment]
        self._monitor.transferred(answer.received, answer.sent)
        answer.received = answer.sent = 0

    def close(self) -> None:
        self._closed = True
        for sock in list(self._sockets):
            with suppress(OSError):  # it is not connected any more
                sock.shutdown(socket.SHUT_RDWR)
        while self._idle:
            self._idle.pop().close()


def web_error(error: Exception) -> WebError:
    """What httpx says, as ours."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return WebError(f"Its certificate is not trusted: {cause.verify_message}")
        cause = cause.__cause__ or cause.__context__
    words = "".join(letter for letter in str(error)[:120] if letter.isprintable())  # may quote what the server said
    if isinstance(error, httpx.TimeoutException):
        return WebError("Sends nothing, or takes nothing, for too long", transient=True)
    if isinstance(error, httpx.ProxyError):
        # "407 Proxy Authentication Required": what the proxy answered; its own trouble is 5xx
        return WebError(f"The proxy failed: {words}", transient=words.startswith("5"))
    # A server that ends an HTTP/2 connection (nginx after 1000 requests) makes h2 call what it still sends our mistake.
    transient = isinstance(error, (httpx.NetworkError, httpx.ProtocolError))
    return WebError(f"Connection failed: {words}", transient=transient)
