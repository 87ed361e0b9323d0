"""Where the threads that pull something and the connection's own thread meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from casync_py.errors import PeerError
from casync_py.peer.changes import Changes
from casync_py.peer.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.peer.wanted import Answer


class Pump(Protocol):
    """What moves messages: a `Driver`, or threads that ask over HTTP."""

    def wake(self) -> None:
        """There is something new to send, or more can be read. Thread-safe."""

    def stop(self) -> None:
        """Ask for nothing more, and end soon. Thread-safe."""


class Exchange:
    """What was pulled and not taken yet, under one lock, and what both sides have to know of each other.

    The connection's thread announces what came once for each read, not for each message, so that it does not hand the
    processor over all the time.

    Attributes:
        lock: guards everything here; notified when something came.
        wanted: the chunks.
        failure: why nothing more will come; None while all is well.
    """

    def __init__(self) -> None:
        self.lock = Changes()
        self.wanted = Wanted()
        self.failure: Exception | None = None
        self._driver: Pump | None = None
        self._waiting = 0  # threads that wait
        self._paused = False  # input is not read, because too much was not taken yet
        self._news = False
        self._closed = False

    # For those who pull; `lock` is held.

    def wait_until(self, there: Callable[[], object]) -> None:
        """Wait until something is there.

        Raises:
            PeerError: it will not come.
            Exception: whatever ended the connection.
        """
        while not there():
            if self.failure is not None:
                raise self.failure.with_traceback(None)
            self._waiting += 1
            if self._paused:
                self.wake()
            try:
                self.lock.wait()
            finally:
                self._waiting -= 1

    def taken(self) -> None:
        """Something was taken: there is room for more."""
        if self._paused and self.wanted.held <= self.wanted.room // 4 * 3:
            self.wake()

    def wake(self) -> None:
        """There is something new to send, or more can be read."""
        if self._driver is not None:
            self._driver.wake()

    def close(self) -> None:
        """End the connection; whoever waits gets an error."""
        with self.lock:
            self._closed = True
            if self._driver is not None:
                self._driver.stop()
        self.fail(PeerError("The connection was closed"))

    # For the connection's thread.

    def attach(self, driver: Pump | None) -> bool:
        """The connection has a (new) driver, or none any more; False if it is to end."""
        with self.lock:
            self._driver = driver
            self._paused = False
            return not self._closed

    def arrived(self, answer: Answer) -> None:
        """A chunk came, or word of one."""
        with self.lock:
            self.wanted.arrived(answer)
        self._news = True

    def announce(self) -> None:
        """Something came; whoever waits is told after this read."""
        self._news = True

    def wants_chunks(self) -> bool:
        """Tell those who wait what came, then whether there is room for more.

        Raises:
            PeerError: what someone waits for stays out, and there is no more room for everything else.
        """
        with self.lock:
            full = self._tell()
            if full and self._waiting:
                self.wanted.check_order()
            self._paused = full and not self._waiting
            return not self._paused

    def may_fetch(self, *, others: bool) -> bool:
        """As `wants_chunks`, for one of several threads that fetch, so that chunks come in no certain order.

        Args:
            others: whether other threads fetch what was asked for earlier. Where there is no room, only those do that
                go on for somebody who waits.
        """
        with self.lock:
            self._paused = full = self._tell()
            return not full or (self._waiting > 0 and not others)

    def _tell(self) -> bool:
        """Tell those who wait what came; whether there is no more room."""
        if self._news:
            self._news = False
            self.lock.notify_all()
        return self.wanted.held > self.wanted.room

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        with self.lock:
            self.failure = self.failure or error
            self.lock.notify_all()
