"""The watch over answers that do not come."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from casync_py.remotes.http.errors import WebError
from casync_py.remotes.http.system_trouble import CONNECT_S

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 1.5  # of the timeout: silence is noticed by the sockets themselves, after one
_LONGEST_LOOK_S = 5.0


class Watch:
    """A thread that looks after clients whose answers are waited for.

    Sockets mind silence only: a head that drips, interim answers or trailers without end would be waited for for ever.

    Attributes:
        waiting: the clients; see `Watched.watched`.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self.waiting: set[Watched] = set()
        self._patience_s = None if timeout_s is None else timeout_s * _PATIENCE
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look, where there is a timeout; twice is fine."""
        if self._patience_s is None or self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._run, name="casync-watch", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        patience_s = self._patience_s
        assert patience_s is not None
        while not self._ended.wait(min(_LONGEST_LOOK_S, patience_s / 8)):
            now = time.monotonic()
            for client in list(self.waiting):
                client.check(now, patience_s)

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        with self._lock:  # another thread may be about to start it
            thread = self._thread
        if thread is not None:
            thread.join()


class Watched:
    """A client that does one thing at a time, and may be broken from outside.

    Attributes:
        timeout_s: how long the server may be silent; None: for ever.
        connect_s: how long a connection may take to be made.
        late: the watch has broken the connection.
        sockets: of the connection.
    """

    def __init__(self, watch: Watch, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s
        self.connect_s = CONNECT_S if timeout_s is None else min(timeout_s, CONNECT_S)
        self.late = False
        self.sockets: list[socket.socket] = []
        self._watch = watch
        self._size = 0
        self._since = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the server is waited for."""
        self._size = 0
        self._since = time.monotonic()
        waiting = self._watch.waiting
        waiting.add(self)
        try:
            yield
        finally:
            waiting.discard(self)

    def lateness(self) -> WebError:
        """What happened to a connection that the watch has broken."""
        return WebError(f"Does not answer within {self.timeout_s:g} s", transient=True)

    def progress(self) -> int:
        """A number that changes as long as the server takes something."""
        return 0

    def check(self, now: float, patience_s: float) -> None:
        """Break the connection where nothing has come on for so long."""
        size = self.progress()
        if size != self._size:
            self._size, self._since = size, now
        elif now - self._since > patience_s:
            self.late = True
            self.shut()

    def shut(self) -> None:
        """Break the connection; from any thread."""
        for sock in self.sockets:
            with suppress(OSError):  # it is not connected any more
                sock.shutdown(socket.SHUT_RDWR)
