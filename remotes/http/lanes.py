"""The way to one origin: clients, lent to whoever has a request, as many as there are requests at once."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakSet

from casync_py.errors import UsageError
from casync_py.remotes.http.client import HEADER_CHARSET, Body, Client
from casync_py.remotes.http.errors import TooLarge, WebError
from casync_py.remotes.http.lean import httpx
from casync_py.remotes.http.pace import Pace
from casync_py.remotes.http.trouble import web_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from casync_py.monitor import Monitor
    from casync_py.remotes.http.client import Content
    from casync_py.remotes.http.watch import Watch

    Headers = Mapping[str, str] | None

_TARGET = re.compile(r"/[!-~]*")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_LINE = 4  # bytes of a line of a head beside name and value


class Answering:
    """An answer whose head was read.

    Attributes:
        client: that it comes through.
        status, headers: names in lower case.
        complete: all of it was read.
        received, sent: bytes that were not counted yet.
    """

    def __init__(self, client: Client, response: httpx.Response, sent: int, timeout_s: float | None) -> None:
        self.client = client
        self._response = response
        self._pieces: Iterator[bytes] = response.iter_raw()
        self._pace = Pace(timeout_s)
        self._timeout_s = timeout_s
        self.status = response.status_code
        response.headers.encoding = HEADER_CHARSET  # httpx would guess
        self.headers = dict(response.headers)
        self.complete = False
        self.received = sum(len(name) + len(value) + _LINE for name, value in response.headers.raw)
        self.sent = sent

    def read(self) -> bytes:
        """The next piece of the body, empty at its end. Raises WebError."""
        before = time.monotonic()
        while not self.complete:
            try:
                piece = next(self._pieces, None)
            except (httpx.HTTPError, httpx.StreamError) as error:
                raise web_error(error, self._timeout_s) from error
            if piece is None:
                self.complete = True
            elif piece:
                self.received += len(piece)
                self._pace.came(len(piece), time.monotonic() - before)
                return piece
        return b""

    def read_all(self, limit: int) -> bytes:
        """The whole body. Raises WebError, also if it is larger."""
        length = self.headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            raise TooLarge(limit)
        pieces = []
        size = 0
        while piece := self.read():
            size += len(piece)
            if size > limit:
                raise TooLarge(limit)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Give back the connection, or break it if not all was read."""
        self._response.close()


class Lane:
    """The way to one origin. Thread-safe.

    Each client is used by one request at a time. A common pool would be searched under a lock for each request; and
    httpcore 1.0 lets threads write to an HTTP/2 connection without a lock, so that streams begin out of order (nginx
    answers with PROTOCOL_ERROR) and headers may be packed against another request's table.
    """

    def __init__(
        self,
        make_client: Callable[[], Client],
        base: str,
        headers: list[tuple[str, str]],
        timeout_s: float | None,
        monitor: Monitor,
        watch: Watch,
    ) -> None:
        """
        Args:
            base: what each URL begins with, up to its path.
            headers: that go with every request.
        """
        self._make_client = make_client
        self._idle: deque[Client] = deque()
        self._lock = threading.Lock()
        self._clients: WeakSet[Client] = WeakSet()  # changed and looked through under the lock
        self._base = base
        self._headers = headers
        self._timeout_s = timeout_s
        self._monitor = monitor
        self._watch = watch
        self._closed = False

    def open(self, method: str, target: str, content: Content, headers: Headers) -> Answering:
        """Send a request and wait for the head of its answer; `done` is to be called with it.

        Raises:
            WebError: there is no answer.
            UsageError: a character that cannot be in a URL or header.
        """
        lines = self._lines(method, content, headers)
        if not _TARGET.fullmatch(target):
            raise UsageError("A character that cannot be in a URL is in one")
        self._watch.start()
        while True:
            if self._closed:
                raise WebError("The connection was closed")
            client, fresh = self._client()
            body = None if content is None else Body(content if isinstance(content, bytes) else content())
            client.begin(body)
            self._watch.waiting.add(client)
            try:
                response = client.ask(method, self._base + target, lines)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                client.close()
                if client.late:
                    raise WebError(f"Does not answer within {self._timeout_s:g} s", transient=True) from error
                # A server may close an idle connection at any time, or end an HTTP/2 connection after so many
                # requests (nginx after 1000): that is no trouble.
                if fresh or not isinstance(error, (httpx.NetworkError, httpx.ProtocolError)):
                    raise web_error(error, self._timeout_s) from error
            except BaseException:
                client.close()
                raise
            else:
                sent = sum(len(name) + len(value) + _LINE for name, value in lines) + len(target)
                return Answering(client, response, sent + (body.size if body else 0), self._timeout_s)
            finally:
                self._watch.waiting.discard(client)

    def _lines(self, method: str, content: Content, headers: Headers) -> list[tuple[str, str]]:
        lines = [*self._headers]
        for name, value in (headers or {}).items():
            if not _VALUE.fullmatch(value):
                raise UsageError(f"A character that cannot be in a header is in {name}")
            lines.append((name, value))
        if isinstance(content, bytes):
            lines.append(("Content-Length", str(len(content))))
        elif content is None and method not in {"GET", "HEAD"}:
            lines.append(("Content-Length", "0"))
        return lines

    def _client(self) -> tuple[Client, bool]:
        """A client, and whether it is a new one."""
        try:
            return self._idle.pop(), False  # the one used last, which is the least likely to be closed
        except IndexError:
            client = self._make_client()
            with self._lock:
                self._clients.add(client)
            return client, True

    def done(self, answering: Answering) -> None:
        """The answer was read, or is not wanted any more."""
        self.count(answering)
        answering.close()
        if answering.complete and not self._closed:
            self._idle.append(answering.client)
        else:
            answering.client.close()

    def count(self, answering: Answering) -> None:
        """Count what has come so far."""
        self._monitor.transferred(answering.received, answering.sent)
        answering.received = answering.sent = 0

    def close(self) -> None:
        """Break what is under way; twice is fine."""
        self._closed = True
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.shut()
        while self._idle:
            self._idle.pop().close()
