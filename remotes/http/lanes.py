"""The way to one origin: clients, lent to whoever has a request, as many as there are requests at once."""

from __future__ import annotations

import re
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from casync_py.errors import UsageError
from casync_py.remotes.http.direct import CONTENT_MAX, DirectClient
from casync_py.remotes.http.errors import Gone, TooLarge, WebError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from casync_py.monitor import Monitor
    from casync_py.remotes.http.client import Content
    from casync_py.remotes.http.watch import Watch

    Headers = Mapping[str, str] | None

_TARGET = re.compile(r"/[!-~]*")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")


class Client(Protocol):
    """A connection that serves one request at a time, made when it is first needed."""

    def ask(self, method: str, target: str, headers: list[tuple[str, str]], content: Any, /) -> Answering:
        """Send a request and wait for the head of its answer. Raises Gone, WebError."""

    def shut(self) -> None:
        """Break the connection; from any thread."""

    def close(self) -> None:
        """Close the connection."""


class Answering(Protocol):
    """An answer whose head was read.

    Attributes:
        status, headers: names in lower case.
        received, sent: bytes that were not counted yet.
    """

    status: int
    headers: dict[str, str]
    received: int
    sent: int

    @property
    def client(self) -> Client:
        """That it comes through."""

    @property
    def length(self) -> int | None:
        """Of the body, where the head says so."""

    @property
    def complete(self) -> bool:
        """Whether all was read, and the connection can be used again."""

    def read(self) -> bytes:
        """The next piece of the body, empty at its end. Raises WebError."""

    def close(self) -> None:
        """Let go of it; whoever has not read all of it closes the client too."""


def read_all(answering: Answering, limit: int) -> bytes:
    """The whole body of an answer. Raises WebError, also if it is larger."""
    if (answering.length or 0) > limit:
        raise TooLarge(limit)
    pieces = []
    size = 0
    while piece := answering.read():
        size += len(piece)
        if size > limit:
            raise TooLarge(limit)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _is_small(content: Content) -> bool:
    return isinstance(content, bytes) and len(content) <= CONTENT_MAX


class Lane:
    """The way to one origin. Thread-safe.

    Each client is used by one request at a time. A common pool would be searched under a lock for each request; and
    httpcore 1.0 lets threads write to an HTTP/2 connection without a lock, so that streams begin out of order (nginx
    answers with PROTOCOL_ERROR) and headers may be packed against another request's table.
    """

    def __init__(
        self,
        new_client: Callable[[], Client],
        new_direct: Callable[[], Client] | None,
        headers: list[tuple[str, str]],
        monitor: Monitor,
        watch: Watch,
    ) -> None:
        """
        Args:
            new_client: makes one that can do everything.
            new_direct: makes one for requests with a small body or none; None: the other one does them too.
            headers: that go with every request.
        """
        self._new_client = new_client
        self._new_direct = new_direct
        self._idle: dict[bool, deque[Client]] = {False: deque(), True: deque()}
        self._lock = threading.Lock()
        self._clients: WeakSet[Client] = WeakSet()  # changed and looked through under the lock
        self._headers = headers
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
        direct = self._new_direct is not None and (content is None or _is_small(content))
        while True:
            if self._closed:
                raise WebError("The connection was closed")
            client, fresh = self._client(direct)
            try:
                return client.ask(method, target, lines, content)
            except Gone:
                client.close()
                # A server may close an idle connection at any time, or end an HTTP/2 connection after so many
                # requests (nginx after 1000): that is no trouble.
                if fresh:
                    raise
            except BaseException:
                client.close()
                raise

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

    def _client(self, direct: bool) -> tuple[Client, bool]:
        """A client, and whether it is a new one."""
        try:
            return self._idle[direct].pop(), False  # the one used last, which is the least likely to be closed
        except IndexError:
            client = self._new_direct() if direct and self._new_direct is not None else self._new_client()
            with self._lock:
                self._clients.add(client)
            return client, True

    def done(self, answering: Answering) -> None:
        """The answer was read, or is not wanted any more."""
        self.count(answering)
        answering.close()
        if answering.complete and not self._closed:
            self._idle[isinstance(answering.client, DirectClient)].append(answering.client)
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
        for idle in self._idle.values():
            while idle:
                idle.pop().close()
