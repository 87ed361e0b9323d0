"""One of several stores with the same chunks: opened on demand, closed when it fails, opened again after a pause."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from casync_py.errors import PeerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.store.base import Store

FIRST_PAUSE_S = 1.0  # before it is asked again although another one works; doubled with each failure
MOST_PAUSE_S = 60.0
_FIRST_NEEDED_S = 0.2  # before it is asked again because no other one works
_MOST_NEEDED_S = 15.0
_SHARE = 8  # a mirror that fails by being silent for so long costs at most this part of the time
_BAD_MOST = 4  # chunks with wrong content since it was opened: then it is in trouble like one that is gone

TROUBLE = (PeerError, OSError)
_HOPELESS = (FileNotFoundError, NotADirectoryError, PermissionError)


class Session:
    """A mirror's store, from one opening to the closing."""

    __slots__ = ("bad", "store", "users")

    def __init__(self, store: Store) -> None:
        self.store = store
        self.users = 0
        self.bad = 0


class Mirror:
    """A store that may fail. Thread-safe.

    Attributes:
        name: for messages.
        failures: how often it failed since a chunk came from it last.
        error: what it failed with last.
        hopeless: that is nothing that goes away by itself soon.
    """

    def __init__(
        self, name: str, open_store: Callable[[], Store], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open nothing yet.

        Args:
            open_store: connects; raises what its kind of store raises when it cannot. Its chunks are verified.
            clock: seconds.
        """
        self.name = name
        self.failures = 0
        self.error: Exception | None = None
        self.hopeless = False
        self._open_store = open_store
        self._clock = clock
        self._opening = threading.Lock()  # taken before `_lock`
        self._lock = threading.Lock()  # guards what follows
        self._session: Session | None = None
        self._pause_s = 0.0
        self._opened = 0.0
        self._due = 0.0  # when it is tried again, if need be
        self._due_back = 0.0  # when it is tried again although another one works
        self._closed = False

    def wait_s(self, *, needed: bool) -> float:
        """Seconds until it may be asked; 0: now.

        Args:
            needed: no other one works.
        """
        return max(0.0, (self._due if needed else self._due_back) - self._clock())

    def acquire(self, *, needed: bool = False) -> Session | None:
        """The store, opened if need be, with a `release` to follow; None: it is in trouble.

        Raises:
            Exception: what is no trouble on the way, such as a UsageError.
        """
        session = self._use()
        if session is not None or self.wait_s(needed=needed):
            return session
        with self._opening:
            session = self._use()
            if session is not None or self.wait_s(needed=needed):  # another thread was first
                return session
            began = self._clock()
            try:
                store = self._open_store()
            except TROUBLE as error:
                self.failed(None, error, began)
                return None
            with self._lock:
                if not self._closed:
                    self._opened = self._clock()
                    self._session = session = Session(store)
                    session.users = 1
            if session is None:
                store.close()
            return session

    def _use(self) -> Session | None:
        with self._lock:
            session = self._session
            if session is not None:
                session.users += 1
            return session

    def release(self, session: Session) -> None:
        """It is used no more; a store that failed is closed by the last who leaves it."""
        with self._lock:
            session.users -= 1
            over = session is not self._session and not session.users
        if over:
            session.store.close()

    def worked(self) -> None:
        """A chunk came from it."""
        if self.failures:
            self.failures = 0

    def bad(self, session: Session, error: Exception) -> bool:
        """A chunk with wrong content came from it; True if these are too many, and it counts as failed."""
        session.bad += 1
        if session.bad < _BAD_MOST:
            return False
        self.failed(session, error, self._clock())
        return True

    def failed(self, session: Session | None, error: Exception, began: float) -> None:
        """It failed: it is not asked before a pause is over, which grows with each failure.

        Args:
            session: None: it could not be opened. One that failed before changes nothing.
            began: when what failed was begun.
        """
        with self._lock:
            if session is not self._session:
                return
            self._session = None
            self.failures += 1
            self.error = error
            self.hopeless = isinstance(error, _HOPELESS) or not getattr(error, "transient", True)
            now = self._clock()
            if session is not None and now - self._opened > MOST_PAUSE_S:
                self._pause_s = 0.0
            self._pause_s = min(max(FIRST_PAUSE_S, 2 * self._pause_s), MOST_PAUSE_S)
            # Spread, so that the clients of a server that comes back do not all come back at once
            spread = random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            self._due = now + min(_FIRST_NEEDED_S * 2 ** (min(self.failures, 10) - 1), _MOST_NEEDED_S) * spread
            self._due_back = now + max(self._pause_s, _SHARE * (now - began)) * spread

    def close(self) -> None:
        """Close the store; twice is fine."""
        with self._lock:
            self._closed = True
            session, self._session = self._session, None
        if session is not None:
            session.store.close()
