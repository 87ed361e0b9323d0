"""A store of limited size: what was not used for longest makes room for what comes.

Only what is kept counts and is removed (see `store.kept`). When a chunk was used is the mtime of its file, so that all
processes that share the directory agree; each of them measures it anew after it has put an eighth of the limit.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.ids import ChunkId
from casync_py.store.base import DEFAULT_BUDGET
from casync_py.store.castr import list_prefixes
from casync_py.store.fetch import fetch_ahead
from casync_py.store.kept import drop
from casync_py.store.usage import kept_files, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    from casync_py.store.base import ChunkStream
    from casync_py.store.chunk import Chunk
    from casync_py.store.local import LocalStore

_PARTS = 8  # of the limit: what is freed in one go, and what may be put before the next look at what is there
_USED_MOST = 4096  # chunks whose use is remembered before it is written down
_STALE_NS = 24 * 3600 * 10**9  # a temporary file of a process that is no more


class LimitedStore:
    """A `LocalStore` that keeps within a size, to an eighth of it for each process that writes there at once.

    What is being read, and what was pinned, is spared, whatever the limit says. Thread-safe.
    """

    def __init__(
        self,
        store: LocalStore,
        limit: int,
        *,
        spared: Container[ChunkId] = (),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Take `store`, which was opened with `kept`, and is closed together with this one.

        Args:
            limit: bytes.
            spared: chunks that stay, besides those that are pinned.
            clock: of the same kind as files' times.
        """
        self.name = store.name
        self._store = store
        self._limit = limit
        self._spared = spared
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._used: dict[ChunkId, int] = {}
        self._pinned: dict[ChunkId, int] = {}
        self._room = 0  # bytes that may be put before the next look
        self._grown = False  # something was put since then
        self._tidying = threading.Lock()

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """Return the chunk as it is stored, not verified. Raises as `LocalStore.get`."""
        with self.pinned((chunk_id,)):
            chunk = self._store.get(chunk_id, limit)
        self._note_use((chunk_id,))
        return chunk

    def open_chunk(self, chunk_id: ChunkId) -> tuple[int, int, bool]:
        """As `LocalStore.open_chunk`; the file stays readable when it makes room."""
        found = self._store.open_chunk(chunk_id)
        self._note_use((chunk_id,))
        return found

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:
        """Fetch ahead, not verified."""
        return fetch_ahead(self.get, ids, budget)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """As `LocalStore.has_many`; being asked about is being used, because reading follows."""
        return self._noting(ids, self._store.has_many(ids))

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        """As `LocalStore.recognise`. What is kept is not there for ever: an index cannot rely on it."""
        return self._noting(ids, self._store.recognise(ids))

    def _noting(self, ids: Sequence[ChunkId], there: list[bool]) -> list[bool]:
        self._note_use(chunk_id for chunk_id, has in zip(ids, there, strict=True) if has)
        return there

    def put(self, chunk: Chunk) -> bool:
        """As `LocalStore.put`; room is made where the limit is reached."""
        added = self._store.put(chunk)
        self._note_use((chunk.chunk_id,))
        if added:
            with self._lock:
                self._room -= chunk.stored_size
                self._grown = True
                full = self._room < 0
            if full:
                self._tidy()
        return added

    @contextmanager
    def pinned(self, ids: Sequence[ChunkId]) -> Iterator[None]:
        """Spare chunks, whether they are there or will come, until the end of the block."""
        self.pin(ids)
        try:
            yield
        finally:
            self.unpin(ids)

    def pin(self, ids: Iterable[ChunkId]) -> None:
        """Spare chunks until as many calls of `unpin`."""
        with self._lock:
            for chunk_id in ids:
                self._pinned[chunk_id] = self._pinned.get(chunk_id, 0) + 1

    def unpin(self, ids: Iterable[ChunkId]) -> None:
        with self._lock:
            for chunk_id in ids:
                left = self._pinned[chunk_id] - 1
                if left:
                    self._pinned[chunk_id] = left
                else:
                    del self._pinned[chunk_id]

    def flush(self) -> None:
        """Make durable what was put, and write down what was used."""
        self._store.flush()
        self._write_uses()

    def release(self) -> None:
        """Flush, then let gc in."""
        self.flush()
        self._store.release()

    def iter_ids(self) -> Iterator[ChunkId]:
        """All chunks, also those that are not only kept."""
        return self._store.iter_ids()

    def remove(self, chunk_id: ChunkId) -> int:
        """Remove the chunk, whoever put it; the bytes freed."""
        return self._store.remove(chunk_id)

    def close(self) -> None:
        """Release everything; what was put and not flushed is removed, the rest is brought within the limit."""
        try:
            with contextlib.suppress(OSError):  # the next one who puts something will see to it
                if self._grown:
                    self._tidy()
                self._write_uses()
        finally:
            self._store.close()

    def _note_use(self, ids: Iterable[ChunkId]) -> None:
        now = self._clock()
        with self._lock:
            for chunk_id in ids:
                self._used[chunk_id] = now
            many = len(self._used) >= _USED_MOST
        if many:
            self._write_uses()

    def _write_uses(self) -> None:
        """Give the files of what was used their times."""
        with self._lock:
            used, self._used = self._used, {}
        root = self._store.directory.open() if used else None
        if root is None:
            return
        for chunk_id, used_ns in used.items():
            for suffix in (self._store.suffix, ""):
                # One that is gone, or that we may not touch, loses nothing but its place in the order
                with contextlib.suppress(OSError):
                    os.utime(chunk_id.store_path(suffix), ns=(used_ns, used_ns), dir_fd=root, follow_symlinks=False)
                    break

    def _tidy(self) -> None:
        """Bring what is kept within the limit.

        Raises:
            OSError: the store cannot be measured, or chunks cannot be removed.
        """
        if not self._tidying.acquire(blocking=False):
            return  # another thread is about it
        try:
            self.flush()  # what has no final name yet cannot go
            root = self._store.directory.open()
            if root is None:
                return
            with self._lock:
                self._grown = False
            part = max(1, self._limit // _PARTS)
            usage = measure(root, self._store.suffix)
            size = usage.size
            if size > self._limit:
                size -= self._evict(root, usage.oldest(size - self._limit + part))
            with self._lock:
                self._grown |= size > self._limit  # the rest was spared: `close` looks again
                self._room = min(self._limit - size, part) if size <= self._limit else part
        finally:
            self._tidying.release()

    def _evict(self, root: int, not_after_ns: int) -> int:
        """Remove what was not used later than that, and what dead processes left; the bytes freed."""
        freed = 0
        stale_ns = self._clock() - _STALE_NS
        for prefix in list_prefixes(root):
            gone = 0
            for file in kept_files(root, prefix, self._store.suffix):
                oldest = stale_ns if file.temporary else not_after_ns
                if file.used_ns <= oldest and not self._is_spared(file.digits):
                    gone += drop(root, file.path, oldest)
            if gone:
                freed += gone
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(prefix, dir_fd=root)
        return freed

    def _is_spared(self, digits: str) -> bool:
        chunk_id = ChunkId.from_hex(digits)
        return chunk_id in self._pinned or chunk_id in self._spared
