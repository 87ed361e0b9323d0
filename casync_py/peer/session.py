"""A connection that is pumped in a thread of its own, for callers that wait for what comes of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from casync_py.errors import PeerError
from casync_py.transport.driver import Driver

if TYPE_CHECKING:
    from casync_py.peer.changes import Changes
    from casync_py.protocol.connection import Connection
    from casync_py.transport.driver import Handler
    from casync_py.transport.stream import Stream


class Session:
    """Runs the driver of a client's connection until it has ended.

    Attributes:
        changed: guards whatever the handler shares with callers; notified when the session ends, and by the handler.
        over: the thread is done; `failure` says why, None for a legal end.
    """

    def __init__(
        self, stream: Stream, connection: Connection, handler: Handler, changed: Changes, timeout: float
    ) -> None:
        """Take over the stream; nothing runs before `start`."""
        self.name = stream.name
        self.changed = changed
        self.over = False
        self.failure: BaseException | None = None
        self._stream = stream
        self._connection = connection
        self._driver = Driver(stream, connection, handler, timeout=timeout)
        self._thread = threading.Thread(target=self._run, name=f"casync-session {stream.name}")
        self.wake = self._driver.wake

    def start(self) -> None:
        """Begin to talk."""
        self._thread.start()

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            self._driver.run()
        except BaseException as error:  # noqa: BLE001 - raised again in the callers' threads
            failure = error
        with self.changed:
            self.over = True
            self.failure = self.failure or failure
            self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Something of ours failed that the session cannot go on without; thread-safe."""
        with self.changed:
            self.failure = self.failure or error
            self.changed.notify_all()
        self._driver.stop()

    def check(self) -> None:
        """
        Raises:
            PeerError, ProtocolError: the session failed, or has ended.
            Exception: what was given to `fail`.
        """
        if self.failure is not None:
            raise self.failure
        if self.over:
            raise PeerError("The connection is closed", self.name)

    def await_hello(self) -> None:
        """Wait until the other end has said what it is."""
        with self.changed:
            while self._connection.peer_flags is None:
                self.check()
                self.changed.wait()

    def close(self) -> None:
        """Close after a legal end.

        Raises:
            PeerError: the other end is casync, which gives an index its name after GOODBYE, and it failed in that.
        """
        self._driver.wait()
        self._stream.close_write()
        fate = "" if self._connection.dialect else self._stream.fate()
        self._stream.close()
        if fate not in {"", "exit status 0"}:
            raise PeerError(f"Took everything, but then failed ({fate})", self.name)

    def abort(self) -> None:
        """Stop talking and close; harmless at any time."""
        if self._thread.ident is not None:
            self._driver.stop()
            self._driver.wait()
        self._stream.close()
