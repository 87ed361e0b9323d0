"""The watch over answers that do not come."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casync_py.remotes.http.client import Client

_PATIENCE = 1.5  # of the timeout: silence is noticed by httpx itself, after one
_LONGEST_LOOK_S = 5.0


class Watch:
    """A thread that looks after clients whose answers are waited for.

    httpx minds silence only: a head that drips, or interim answers without end, would be waited for for ever.

    Attributes:
        waiting: the clients; whoever waits adds and discards his own.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self.waiting: set[Client] = set()
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
