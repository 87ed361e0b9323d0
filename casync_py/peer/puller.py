"""The client of a pull: index, archive and chunks from the other end, over a connection in a thread of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from casync_py.errors import PeerError
from casync_py.peer.exchange import Exchange
from casync_py.peer.pull_archive import PullArchive
from casync_py.peer.pull_index import PullIndex
from casync_py.peer.pull_session import PullSession
from casync_py.peer.pull_stream import PullStore
from casync_py.peer.wanted import KEPT_SIZE_DIALECT
from casync_py.transport.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.format.index import Index
    from casync_py.protocol.connection import Connection
    from casync_py.transport.stream import Stream

    Connect = Callable[[], tuple[Stream, Connection]]


class Puller:
    """Pulls from one other end. Thread-safe.

    A casync at the other end answers each id once in a session. What it sent lately is kept; where something older is
    wanted again, the puller connects anew once everything that was asked for has come.
    """

    def __init__(self, connect: Connect, *, timeout: float) -> None:
        """Connect, in a thread, without waiting for it.

        Args:
            connect: opens a stream and makes a pull client's connection for it. Called again for each new session;
                index and archive, if the other end sends them again, are dropped then.
            timeout: seconds that the other end may be silent while it owes us something.
        """
        self._connect = connect
        self._timeout = timeout
        self._exchange = Exchange()
        self._index = PullIndex(self._exchange)
        self._archive = PullArchive(self._exchange)
        self._greeting: tuple[int, bool] | None = None
        self._thread = threading.Thread(target=self._run, name="casync-pull", daemon=True)
        self._thread.start()

    @property
    def peer_flags(self) -> int:
        """What the other end offers; waits for its HELLO.

        Raises:
            PeerError, OSError: the connection failed before.
        """
        return self._greeted()[0]

    @property
    def dialect(self) -> bool:
        """Whether the other end is of this package too; waits and raises as `peer_flags`."""
        return self._greeted()[1]

    def index(self, name: str) -> Index:
        """The index that the other end sends, once it is complete; the caller closes it.

        Raises:
            FormatError: it is none.
            PeerError, OSError: the connection failed before.
        """
        return self._index.open(name)

    def archive(self, name: str) -> PullArchive:
        """The archive or blob that the other end sends, to be read once."""
        self._archive.name = name
        return self._archive

    def store(self, name: str) -> PullStore:
        """The other end's store; `name` is for messages."""
        return PullStore(self._exchange, name)

    def close(self) -> None:
        """End the connection and what was started for it; twice is fine. Streams that are open raise from now on."""
        self._exchange.close()
        self._thread.join()
        self._index.close()

    def _greeted(self) -> tuple[int, bool]:
        with self._exchange.lock:
            self._exchange.wait_until(lambda: self._greeting is not None)
            assert self._greeting is not None
            return self._greeting

    def _greet(self, flags: int, dialect: bool) -> None:
        with self._exchange.lock:
            self._greeting = flags, dialect
            if dialect:
                self._exchange.wanted.kept_limit = KEPT_SIZE_DIALECT
        self._exchange.announce()

    def _run(self) -> None:
        try:
            first = True
            while self._run_session(first=first):
                first = False
        except Exception as error:  # noqa: BLE001 - raised where someone waits for what does not come
            self._exchange.fail(error)

    def _run_session(self, *, first: bool) -> bool:
        """One connection, to its end; whether another one is to follow."""
        exchange = self._exchange
        stream, connection = self._connect()
        try:
            index, archive = (self._index, self._archive) if first else (None, None)
            session = PullSession(exchange, connection, index, archive, self._greet)
            driver = Driver(stream, connection, session, timeout=self._timeout)
            session.stop = driver.stop
            if not exchange.attach(driver):
                return False
            driver.run()
            if not session.renew:
                exchange.fail(PeerError("Closed the connection", stream.name))
        except PeerError as error:
            error.name = error.name or stream.name
            exchange.fail(error)  # before `stream.close()`, which may take its time
            return False
        finally:
            exchange.attach(None)
            stream.close()
        return session.renew
