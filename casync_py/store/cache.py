"""A store cache: a writable store that is asked before slower ones, and keeps what they deliver."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.digest import DIGESTS
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.store.base import DEFAULT_BUDGET, PrunableStore
from casync_py.store.fetch import fetch_ahead
from casync_py.store.verify import Verified, verified

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from casync_py.digest import Digest
    from casync_py.ids import ChunkId
    from casync_py.monitor import Monitor
    from casync_py.store.base import ChunkStream, WritableStore
    from casync_py.store.chunk import Chunk


class CacheStore:
    """What a store cache has, verified; the first store of a `RouterStore`, before those that it makes up for.

    The `Verified` around each of the others gets `keep`, so that a chunk is stored in the thread that verified it, in
    the form in which it came. A cache only saves work: where it is damaged, full or cannot be read, a notice says so
    once, and what it should have had is missing from it.
    """

    def __init__(
        self,
        cache: WritableStore,
        digests: Sequence[Digest],
        limit: int,
        monitor: Monitor,
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Take `cache`, which is flushed and closed together with this one.

        Args:
            digests, limit, jobs, executor: as for `Verified`.
            monitor: gets the notices.
        """
        self.name = cache.name
        self._cache = cache
        self._verified = Verified(cache, digests, limit)
        self._monitor = monitor
        self._jobs = jobs
        self._executor = executor
        self._lock = threading.Lock()  # guards `_noticed`
        self._noticed: set[str] = set()
        self._reads = True
        self._keeps = True

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """Return the chunk, verified and marked as reused.

        Raises:
            ChunkMissing: it is not there, or not whole, or cannot be read.
        """
        if self._reads:
            try:
                chunk = self._verified.get(chunk_id, limit)
            except ChunkInvalid:
                self._discard(chunk_id)
            except OSError as error:
                self._read_no_more(error)
            else:
                chunk.reused = True
                return chunk
        raise ChunkMissing(chunk_id, self.name)

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:
        """Fetch and verify ahead."""
        return fetch_ahead(self.get, ids, budget, jobs=self._jobs, executor=self._executor)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether it seems to be there."""
        if self._reads:
            try:
                return self._cache.has_many(ids)
            except OSError as error:
                self._read_no_more(error)
        return [False] * len(ids)

    def keep(self, chunk: Chunk) -> None:
        """Store a chunk that was verified; it is durable when the cache is closed. Thread-safe, and never raises."""
        if self._keeps:
            try:
                self._cache.put(chunk)
            except (OSError, ChunkInvalid) as error:
                self._keep_no_more(error)

    def close(self) -> None:
        """Make durable what was kept, also what was kept before keeping failed; twice is fine."""
        try:
            self._cache.flush()
        except OSError as error:
            self._keep_no_more(error)
        finally:
            self._cache.close()

    def _read_no_more(self, error: OSError) -> None:
        self._reads = False
        self._notice(f"Cannot be read ({error.strerror}), going on without this store cache")

    def _keep_no_more(self, error: OSError | ChunkInvalid) -> None:
        self._keeps = False
        reason = error.strerror if isinstance(error, OSError) else error.reason
        self._notice(f"Nothing more is kept in this store cache ({reason})")

    def _discard(self, chunk_id: ChunkId) -> None:
        """Remove a chunk that is damaged, so that it is kept anew.

        It is damaged only if no digest and no limit make it whole: an index that lies about its own must not empty a
        directory that is a main store elsewhere.
        """
        try:
            chunk = self._cache.get(chunk_id)
            try:
                verified(chunk, tuple(DIGESTS.values()))
            except ChunkInvalid:
                if isinstance(self._cache, PrunableStore):
                    self._cache.remove(chunk_id)
                self._notice("Has damaged chunks, which are replaced by good ones")
        except (OSError, ChunkInvalid, ChunkMissing):
            pass  # it went, or is nothing that may be removed: it is missing in any case

    def _notice(self, text: str) -> None:
        with self._lock:
            if text in self._noticed:
                return
            self._noticed.add(text)
        self._monitor.notice(f"{self.name}: {text}")
