"""Connections to one origin, lent to whoever has a request: as many as there are requests at once, and no lock."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Protocol

from casync_py.errors import UsageError
from casync_py.remotes.http.connect import connect
from casync_py.remotes.http.errors import WebError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from casync_py.monitor import Monitor
    from casync_py.remotes.http.address import WebAddress
    from casync_py.remotes.http.wire import Connection, Content

    Headers = Mapping[str, str] | None

_TARGET = re.compile(r"/[!-~]*")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")


class Answering(Protocol):
    """An answer whose head was read.

    Attributes:
        status, headers: names in lower case.
    """

    status: int
    headers: dict[str, str]

    def read(self) -> bytes:
        """The next piece of the body, empty at its end. Raises WebError."""

    def read_all(self, limit: int) -> bytes:
        """The whole body. Raises WebError, also if it is larger."""


class Lane(Protocol):
    """The way to one origin. Thread-safe."""

    address: WebAddress

    def open(self, method: str, target: str, content: Content, headers: Headers) -> Answering:
        """Send a request and wait for the head of its answer; `done` is to be called with it.

        Raises:
            WebError: there is no answer.
        """

    def done(self, answering: object) -> None:
        """The answer was read, or is not wanted any more."""

    def count(self, answering: object) -> None:
        """Count what has come so far."""

    def close(self) -> None:
        """Break what is under way; twice is fine."""


class ChoseHttp2(Exception):
    """The server wants to speak HTTP/2."""


class DirectLane:
    """HTTP/1.1 without a proxy between.

    Attributes:
        address: the origin's.
    """

    def __init__(
        self,
        address: WebAddress,
        headers: str,
        tls: Callable[[], ssl.SSLContext] | None,
        timeout_s: float | None,
        monitor: Monitor,
    ) -> None:
        """
        Args:
            headers: lines that go with every request.
            tls: gives the context for connections, None for plain ones.
        """
        self.address = address
        self._headers = headers
        self._tls = tls
        self._timeout_s = timeout_s
        self._monitor = monitor
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._closed = False

    def open(self, method: str, target: str, content: Content, headers: Headers) -> Connection:
        """As `Lane` has it.

        Raises:
            ChoseHttp2: the server does not speak HTTP/1.1 because it was offered both.
        """
        chunked = content is not None and not isinstance(content, bytes) and not _has_length(headers)
        head = _head(method, target, self._headers, content, headers, chunked)
        while True:
            if self._closed:
                raise WebError("The connection was closed")
            connection = self._idle_connection()
            fresh = connection is None
            if connection is None:
                connection = self._connect()
            self._busy.add(connection)
            try:
                if self._closed:  # meanwhile: `close` may not have seen this one
                    connection.abort()
                connection.ask(head, content, chunked=chunked, bodiless=method == "HEAD")
            except BaseException as error:
                heard = connection.heard
                self.done(connection)
                if fresh or heard or not isinstance(error, WebError) or isinstance(error.__cause__, TimeoutError):
                    raise
                # A server may close an idle connection at any time, also just when a request is on its way: that is
                # no trouble, and the other idle ones have gone the same way by now or are found out one by one.
            else:
                return connection

    def _idle_connection(self) -> Connection | None:
        while True:
            try:
                connection = self._idle.pop()  # the one used last, which is the least likely to be closed
            except IndexError:
                return None
            if connection.is_quiet():
                return connection
            connection.close()

    def _connect(self) -> Connection:
        connection = connect(self.address, None if self._tls is None else self._tls(), self._timeout_s)
        if connection is None:
            raise ChoseHttp2
        return connection

    def done(self, answering: object) -> None:
        connection: Connection = answering  # type: ignore[assignment]
        self._busy.discard(connection)
        self.count(connection)
        if connection.reusable and not self._closed:
            self._idle.append(connection)
            if not self._closed:
                return
        connection.close()

    def count(self, answering: object) -> None:
        connection: Connection = answering  # type: ignore[assignment]
        self._monitor.transferred(connection.received, connection.sent)
        connection.received = connection.sent = 0

    def close(self) -> None:
        self._closed = True
        for connection in list(self._busy):
            connection.abort()
        while self._idle:
            self._idle.pop().close()


def _has_length(headers: Headers) -> bool:
    return headers is not None and any(name.lower() == "content-length" for name in headers)


def _head(method: str, target: str, common: str, content: Content, headers: Headers, chunked: bool) -> bytes:
    if not _TARGET.fullmatch(target):
        raise UsageError("A character that cannot be in a URL is in one")
    text = f"{method} {target} HTTP/1.1\r\n{common}"
    if headers:
        for name, value in headers.items():
            if not _VALUE.fullmatch(value):
                raise UsageError(f"A character that cannot be in a header is in {name}")
            text += f"{name}: {value}\r\n"
    if chunked:
        text += "Transfer-Encoding: chunked\r\n"
    elif isinstance(content, bytes):
        text += f"Content-Length: {len(content)}\r\n"
    elif content is None and method not in {"GET", "HEAD"}:
        text += "Content-Length: 0\r\n"
    return (text + "\r\n").encode("latin-1")
