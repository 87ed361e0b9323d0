"""A server over HTTP in a thread, on loopback, for tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from casync_py.monitor import Monitor
from casync_py.remotes.http.server.app import make_app
from casync_py.remotes.http.server.gate import Gate
from casync_py.remotes.http.server.guard import Limits
from casync_py.remotes.http.server.options import ServeOptions
from casync_py.remotes.http.server.run import Running, WebServer
from casync_py.transport.listen import Listen

if TYPE_CHECKING:
    from types import TracebackType


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
        self.app = make_app(ServeOptions(tuple(os.fspath(folder) for folder in folders), **options), self.monitor)
        try:
            gate = Gate(self.app, self.monitor, self.limits)
            self._running = Running(WebServer(gate, Listen("127.0.0.1").open(), self.limits))
        except BaseException:
            self.app.close()
            raise
        self.url = self._running.url.rstrip("/")

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
