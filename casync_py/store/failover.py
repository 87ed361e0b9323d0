"""Failover: mirrors in order of preference, of which the first that works is asked.

Trouble with one (a broken connection, an unreadable disk) moves on to the next; after a pause the preferred one is
tried again. What a mirror lacks or has damaged is asked of the others, because a mirror may be behind; it is missing
only where every mirror has said so.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import ChunkInvalid, ChunkMissing, PeerError
from casync_py.store.base import DEFAULT_BUDGET
from casync_py.store.failover_stream import window
from casync_py.store.mirror import TROUBLE
from casync_py.store.windows import better, in_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from casync_py.ids import ChunkId
    from casync_py.monitor import Monitor
    from casync_py.store.base import ChunkStream
    from casync_py.store.chunk import Chunk
    from casync_py.store.mirror import Mirror, Session

PATIENCE = 6


class FailoverStore:
    """Mirrors as one store. Thread-safe.

    Where all of them are in trouble it waits for the first whose pause is over, and gives up when each has failed
    several times without a chunk between.

    Attributes:
        pipelined: True, as if each of them were; see `is_pipelined`.
    """

    pipelined = True

    def __init__(
        self,
        mirrors: Sequence[Mirror],
        monitor: Monitor,
        *,
        patience: int = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """Take mirrors, which are closed together with this store. Verify what each of them gives: see `Mirror`.

        Args:
            monitor: gets a notice when a mirror fails for the first time.
            patience: how often a mirror may fail, nothing having come from it, before it is given up with the others.
            clock, wait: seconds; by default `close` ends the waiting.
        """
        self.name = ", ".join(mirror.name for mirror in mirrors)
        self.mirrors = tuple(mirrors)
        self.clock = clock
        self._monitor = monitor
        self._patience = patience
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._lock = threading.Lock()  # guards `_told`
        self._told: dict[Mirror, Exception] = {}

    def acquire(self, but_not: Collection[Mirror] = (), *, patient: bool = True) -> tuple[Mirror, Session] | None:
        """The first mirror that works, opened, with a `release` to follow; None: all are in `but_not`.

        Args:
            patient: False: None also where it would have to be waited for.

        Raises:
            PeerError, OSError: all are in trouble; this is the trouble of the preferred one.
        """
        left = [mirror for mirror in self.mirrors if mirror not in but_not]
        needed = False
        while left:
            if self._closed.is_set():
                raise PeerError("The store was closed", self.name)
            for mirror in left:
                session = mirror.acquire(needed=needed)
                if session is not None:
                    return mirror, session
                self._tell(mirror)
            if not patient:
                return None
            if all(mirror.hopeless or mirror.failures >= self._patience for mirror in left):
                error = left[0].error
                assert error is not None
                raise error.with_traceback(None)
            self._wait(min(mirror.wait_s(needed=True) for mirror in left))
            needed = True
        return None

    def failed(self, mirror: Mirror, session: Session, error: Exception, began: float) -> None:
        """A mirror failed in what was begun then."""
        mirror.failed(session, error, began)
        self._tell(mirror)

    def bad(self, mirror: Mirror, session: Session, error: ChunkInvalid) -> bool:
        """A mirror gave wrong content; whether it is in trouble for that."""
        if not mirror.bad(session, error):
            return False
        self._tell(mirror)
        return True

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """Return the chunk from the first mirror that works and has it whole.

        Raises:
            ChunkMissing: every mirror says so; `where` names all of them.
            ChunkInvalid: no mirror has it whole, and this is what the first that had it broken said.
            PeerError, OSError: those that did not say so cannot be asked.
        """
        said: ChunkMissing | ChunkInvalid | None = None
        asked: list[Mirror] = []
        while (found := self.acquire(asked)) is not None:
            mirror, session = found
            began = self.clock()
            try:
                chunk = session.store.get(chunk_id, limit)
            except (ChunkMissing, ChunkInvalid) as error:
                answer = better(said, error)
                assert isinstance(answer, (ChunkMissing, ChunkInvalid))
                said = answer
                asked.append(mirror)
                if isinstance(error, ChunkInvalid):
                    self.bad(mirror, session, error)
            except TROUBLE as error:
                self.failed(mirror, session, error, began)
            else:
                mirror.worked()
                return chunk
            finally:
                mirror.release(session)
        if isinstance(said, ChunkInvalid):
            raise said
        raise ChunkMissing(chunk_id, self.name)

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:
        """Fetch ahead, a window of ids after the other, each from the mirror that is preferred when it begins."""
        return in_windows(ids, budget, lambda some, room: window(self, some, room), self.name)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether any mirror has it; each is asked only for what those before it lack.

        Raises:
            PeerError, OSError: those that did not answer cannot be asked.
        """
        found = [False] * len(ids)
        places = list(range(len(ids)))
        asked: list[Mirror] = []
        while places and (first := self.acquire(asked)) is not None:
            mirror, session = first
            began = self.clock()
            try:
                answers = session.store.has_many([ids[place] for place in places])
            except TROUBLE as error:
                self.failed(mirror, session, error, began)
                continue
            finally:
                mirror.release(session)
            mirror.worked()
            asked.append(mirror)
            for place, answer in zip(places, answers, strict=True):
                found[place] = answer
            places = [place for place in places if not found[place]]
        return found

    def close(self) -> None:
        """Close every mirror; twice is fine."""
        self._closed.set()
        for mirror in self.mirrors:
            mirror.close()

    def _tell(self, mirror: Mirror) -> None:
        """Say that a mirror failed: as a notice the first time, later only to who wants to know more."""
        error = mirror.error
        with self._lock:
            before = self._told.get(mirror)
            if error is None or error is before:
                return
            self._told[mirror] = error
        if before is not None:
            self._monitor.detail(f"Failed again: {_described(error)}")
        else:
            others = ", going on with another mirror" if len(self.mirrors) > 1 else ", trying again"
            self._monitor.notice(f"{_described(error)}{others}")


def _described(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
