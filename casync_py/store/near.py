"""The local side of a proxy: a store cache that is opened for long, and never the reason why something fails."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from casync_py.errors import ChunkInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casync_py.monitor import Monitor
    from casync_py.store.chunk import Chunk
    from casync_py.store.limited import LimitedStore
    from casync_py.store.local import LocalStore

    CacheStore = LocalStore | LimitedStore

_PAUSE_S = 30.0  # after a failure nothing is kept for so long
_SETTLE_S = 2.0  # what was kept is made durable, and gc let in, so long after it came


class _Opened:
    __slots__ = ("store", "users")

    def __init__(self, store: CacheStore) -> None:
        self.store = store
        self.users = 0


class Near:
    """A store cache that is opened again after it failed. Thread-safe.

    Attributes:
        keeps: whether what comes is kept now.
    """

    def __init__(
        self,
        name: str,
        open_store: Callable[[bool], CacheStore],
        monitor: Monitor,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet.

        Args:
            name: for messages.
            open_store: told whether it is to be made; else FileNotFoundError means that there is nothing here yet. Its
                compression must be none: chunks are kept in the form in which they come.
            monitor: gets a notice when it fails for the first time, and each time after it worked again.
        """
        self.name = name
        self._open_store = open_store
        self._monitor = monitor
        self._clock = clock
        self._lock = threading.Lock()  # guards all that follows
        self._opened: _Opened | None = None
        self._putting = 0
        self._not_before = 0.0
        self._told = False
        self._fresh = threading.Event()
        self._closed = threading.Event()
        self._settler: threading.Thread | None = None

    @contextmanager
    def use(self) -> Iterator[CacheStore | None]:
        """The store, which stays open for the block; None: it cannot be opened."""
        opened = self._enter()
        try:
            yield None if opened is None else opened.store
        finally:
            if opened is not None:
                self._leave(opened)

    def _enter(self, *, make: bool = False) -> _Opened | None:
        failure: OSError | None = None
        with self._lock:
            if self._opened is None and not self._closed.is_set():
                try:
                    self._opened = _Opened(self._open_store(make))
                except OSError as error:
                    failure = error if make or not isinstance(error, FileNotFoundError) else None
            if self._opened is not None:
                self._opened.users += 1
            opened = self._opened
        if failure is not None:
            self._failed(None, failure)
        return opened

    def _leave(self, opened: _Opened) -> None:
        with self._lock:
            opened.users -= 1
            over = opened is not self._opened and not opened.users
        if over:
            self._end(opened)

    def _end(self, opened: _Opened) -> None:
        try:
            opened.store.flush()
        except OSError as error:
            self._monitor.detail(f"{self.name}: What was fetched last is not kept ({error.strerror})")
        finally:
            opened.store.close()

    @property
    def keeps(self) -> bool:
        return self._clock() >= self._not_before

    def keep(self, chunk: Chunk) -> bool:
        """Store a chunk that was verified; whether that was done. Raises nothing."""
        if not self.keeps or (opened := self._enter(make=True)) is None:
            return False
        with self._lock:
            self._putting += 1
        try:
            opened.store.put(chunk)
        except (OSError, ChunkInvalid) as error:
            self._failed(opened, error)
            return False
        finally:
            with self._lock:
                self._putting -= 1
            self._leave(opened)
        if self._settler is None:
            self._start_settling()
        self._fresh.set()
        return True

    def _start_settling(self) -> None:
        with self._lock:
            if self._settler is None and not self._closed.is_set():
                self._settler = threading.Thread(target=self._settle, name="casync-settle", daemon=True)
                self._settler.start()

    def _settle(self) -> None:
        """Every now and then, make durable what was kept, and let gc in; in a thread."""
        while self._fresh.wait() and not self._closed.wait(_SETTLE_S):
            self._fresh.clear()
            opened = self._enter()
            if opened is None:
                continue
            try:
                opened.store.flush()
                with self._lock:
                    if not self._putting:
                        opened.store.release()
                    self._told = False
            except OSError as error:
                self._failed(opened, error)
            finally:
                self._leave(opened)

    def _failed(self, opened: _Opened | None, error: OSError | ChunkInvalid) -> None:
        """Keep nothing for a while; then with the store opened anew, since a failed flush is final for the old one."""
        with self._lock:
            if opened is not self._opened:
                return
            self._opened = None
            self._not_before = self._clock() + _PAUSE_S
            told, self._told = self._told, True
        if not told:
            reason = error.strerror if isinstance(error, OSError) else error.reason
            self._monitor.notice(f"{self.name}: What is fetched cannot be kept ({reason}), trying again later")

    def close(self) -> None:
        """Make durable what was kept, close the store; twice is fine."""
        self._closed.set()
        self._fresh.set()
        with self._lock:
            opened, self._opened = self._opened, None
            settler, self._settler = self._settler, None
        if settler is not None:
            settler.join()
        if opened is not None:
            self._end(opened)
