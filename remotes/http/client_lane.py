"""Origins that are reached through httpx: behind a proxy of the environment, or over HTTP/2."""

from __future__ import annotations

import ssl
import time
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpx

from casync_py.errors import UsageError
from casync_py.remotes.http.errors import TooLarge, WebError
from casync_py.remotes.http.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class ClientAnswer:
    """An `Answering` over httpx."""

    def __init__(self, response: httpx.Response, sent: int, timeout_s: float | None) -> None:
        self._response = response
        self._pieces: Iterator[bytes] = response.iter_raw()
        self._pace = Pace(timeout_s)
        self.status = response.status_code
        self.headers = dict(response.headers)
        self.complete = False
        self.received = sum(len(name) + len(value) + 4 for name, value in response.headers.raw)
        self.sent = sent

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

    def abort(self) -> None:
        """Let whoever waits for the answer fail at once."""
        stream = self._response.extensions.get("network_stream")
        sock = None if stream is None else stream.get_extra_info("socket")
        if sock is not None:
            try:
                sock.shutdown(2)
            except OSError:
                return

    def close(self) -> None:
        self._response.close()


class ClientLane:
    """A `Lane` over a client, which belongs to whoever made it."""

    def __init__(
        self,
        client: httpx.Client,
        address: WebAddress,
        headers: list[tuple[str, str]],
        timeout_s: float | None,
        monitor: Monitor,
    ) -> None:
        """Args: headers: that go with every request."""
        self.address = address
        self._client = client
        self._base = address.url.rstrip("/")
        self._headers = headers
        self._timeout_s = timeout_s
        self._monitor = monitor
        self._busy: set[ClientAnswer] = set()
        connect_s = _CONNECT_S if timeout_s is None else min(timeout_s, _CONNECT_S)
        self._timeout = {"connect": connect_s, "read": timeout_s, "write": timeout_s, "pool": timeout_s}

    def open(self, method: str, target: str, content: Content, headers: Headers) -> ClientAnswer:
        request = httpx.Request(
            method,
            self._base + target,
            headers=[*self._headers, *(headers or {}).items()],
            content=content() if callable(content) else content,
            extensions={"timeout": self._timeout},
        )
        try:
            response = self._client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise web_error(error) from error
        answer = ClientAnswer(response, len(content) if isinstance(content, bytes) else 0, self._timeout_s)
        self._busy.add(answer)
        return answer

    def done(self, answering: object) -> None:
        answer: ClientAnswer = answering  # type: ignore[assignment]
        self._busy.discard(answer)
        self.count(answer)
        answer.close()

    def count(self, answering: object) -> None:
        answer: ClientAnswer = answering  # type: ignore[assignment]
        self._monitor.transferred(answer.received, answer.sent)
        answer.received = answer.sent = 0

    def close(self) -> None:
        for answer in list(self._busy):
            answer.abort()


def web_error(error: Exception) -> WebError:
    """What httpx says, as ours."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return WebError(f"Its certificate is not trusted: {cause.verify_message}")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return WebError("Sends nothing, or takes nothing, for too long", transient=True)
    if isinstance(error, httpx.ProxyError):
        # "407 Proxy Authentication Required": what the proxy answered; its own trouble is 5xx
        return WebError(f"The proxy failed: {error}", transient=str(error).startswith("5"))
    transient = isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError))
    return WebError(f"Connection failed: {error}", transient=transient)
