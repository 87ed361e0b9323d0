"""A server over HTTP in a thread, on loopback, for tests."""

from __future__ import annotations

import os
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

from casync_py.compression import DEFAULT_COMPRESSION
from casync_py.monitor import Monitor
from casync_py.remotes.http.server.app import App
from casync_py.remotes.http.server.gate import Gate
from casync_py.remotes.http.server.guard import Limits
from casync_py.remotes.http.server.options import ServeOptions
from casync_py.remotes.http.server.run import Running, WebServer
from casync_py.transport.listen import Listen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from casync_py.store.chunk import Chunk


class Answered(NamedTuple):
    """An answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Served:
    """Some directories, served as `casync-py serve` does, on a port that the system picks; a context manager.

    Attributes:
        url: of `/`, without the slash.
        monitor: gets the server's notices.
        app: the server's core.
        limits: what is counted of its connections.
    """

    def __init__(
        self, *folders: str | os.PathLike[str], timeout: float = 120.0, connections_max: int = 1000, **options: Any
    ) -> None:
        """Start it; it answers when this returns.

        Args:
            timeout: seconds that a client may be silent or not read.
            options: further fields of `ServeOptions`, such as `writable=True`.
        """
        self.monitor = Monitor()
        self.limits = Limits(connections_max, timeout)
        self.app = App(ServeOptions(tuple(os.fspath(folder) for folder in folders), **options), self.monitor)
        self.limits.crowded = self.app.crowded
        try:
            gate = Gate(self.app, self.monitor, self.limits)
            self._running = Running(WebServer(gate, Listen("127.0.0.1").open(), self.limits))
        except BaseException:
            self.app.close()
            raise
        self.url = self._running.url.rstrip("/")

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def ask(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> Answered:
        """One request on a connection of its own; the path goes out as it is.

        Args:
            body: an iterable is sent in pieces of which the request does not say how long they are together.
        """
        connection = HTTPConnection(*self.address, timeout=60)
        try:
            in_pieces = body is not None and not isinstance(body, bytes)
            connection.request(method, path, body, headers or {}, encode_chunked=in_pieces)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, told, answer.read())
        finally:
            connection.close()

    def put(self, store: str, chunk: Chunk, *, suffix: str = ".cacnk") -> Answered:
        """PUT a chunk: its stored form where there is a suffix, else its plain one."""
        data = chunk.stored(DEFAULT_COMPRESSION) if suffix else bytes(chunk.plain())
        return self.ask("PUT", f"{store}/{chunk.chunk_id.store_path(suffix)}", data)

    def close(self) -> None:
        """Finish what is in flight and end; twice is fine."""
        try:
            self._running.stop()
        finally:
            self.app.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
