"""Chunks on their way into a local store: temporaries that take their final names in bounded, durable batches."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from typing import TYPE_CHECKING

from casync_py import native

if TYPE_CHECKING:
    from casync_py.ids import ChunkId
    from casync_py.store.directory import StoreDirectory

BATCH_CHUNKS = 2048  # one syncfs costs 1 to 50 ms on a disk: well below 50 us a chunk
BATCH_SIZE = 64 << 20
BATCH_AGE_S = 10.0  # a kill costs no more than what came in that time, however slowly it came


class PendingChunks:
    """The chunks that were written under temporary names and not yet renamed.

    Memory is bounded by two batches: one that fills and one that is being renamed. A failed commit is final: after an
    error the kernel reports a lost write once and then forgets it, so that a second syncfs that succeeds would prove
    nothing. From then on every commit raises, and nothing is ever called durable.
    """

    def __init__(self, directory: StoreDirectory, *, replace: bool = True) -> None:
        """Start empty.

        Args:
            directory: asked for messages only.
            replace: False: a chunk that has its final name by now is not replaced, because ours is less than it.
        """
        self._directory = directory
        self._give_name = os.rename if replace else _add
        self._lock = threading.Lock()  # guards the batch that fills
        self._commit_lock = threading.Lock()  # one commit at a time; taken before `_lock`
        self._filling: dict[ChunkId, tuple[str, str]] = {}  # id -> (temporary, final name)
        self._committing: dict[ChunkId, tuple[str, str]] = {}
        self._size = 0
        self._begun = 0.0  # when the batch that fills got its first chunk
        self._dirty = False  # something was renamed or relied on since the last syncfs
        self._failure: OSError | None = None

    def __contains__(self, chunk_id: object) -> bool:
        # In this order: a chunk moves from the first to the second, and from there to its final name.
        return chunk_id in self._filling or chunk_id in self._committing

    def names(self, chunk_id: ChunkId) -> tuple[str, str] | None:
        """Temporary and final name of a chunk that waits."""
        return self._filling.get(chunk_id) or self._committing.get(chunk_id)

    def add(self, chunk_id: ChunkId, temporary: str, final: str, size: int) -> tuple[bool, bool]:
        """Take over a temporary.

        Returns:
            Whether it was added (else another thread was first, and the temporary is the caller's to remove), and
            whether the batch is full or old, so that the caller has to commit it.
        """
        with self._lock:
            if chunk_id in self:
                return False, False
            if not self._filling:
                self._begun = time.monotonic()
            self._filling[chunk_id] = (temporary, final)
            self._size += size
            return True, self._full()

    def mark_dirty(self) -> None:
        """Something that was there already is relied on: the next `commit(final=True)` has to sync."""
        self._dirty = True

    def commit(self, root_fd: int, *, final: bool) -> None:
        """Sync the temporaries and give them their final names; if `final`, make that durable too.

        Raises:
            OSError: this or an earlier commit failed; `filename` is the chunk or the store.
        """
        with self._commit_lock:
            if self._failure is not None:
                raise OSError(self._failure.errno, self._failure.strerror, self._failure.filename)
            try:
                if self._take(only_full=not final):
                    native.syncfs(root_fd)
                    self._rename(root_fd)
                if final and self._dirty:
                    self._dirty = False
                    native.syncfs(root_fd)
            except OSError as error:
                self._failure = self._directory.with_path(error, error.filename or "")
                raise

    def _full(self) -> bool:
        if self._size >= BATCH_SIZE or len(self._filling) >= BATCH_CHUNKS:
            return True
        return bool(self._filling) and time.monotonic() - self._begun >= BATCH_AGE_S

    def _take(self, *, only_full: bool) -> bool:
        with self._lock:
            if only_full and not self._full():  # another thread that found it full was first
                return False
            self._committing = self._filling
            self._filling = {}
            self._size = 0
        return bool(self._committing)

    def _rename(self, root_fd: int) -> None:
        """Give temporaries their final names.

        A plain rename, although casync's does not replace: what stands under the final name by now was put by another
        writer with the same content, or is an empty or broken file that gets healed; at each instant there is a whole
        chunk. Link and unlink would take two calls, and not every file system has links.
        """
        self._dirty = True
        give_name = self._give_name
        for temporary, final in self._committing.values():
            give_name(temporary, final, src_dir_fd=root_fd, dst_dir_fd=root_fd)
        self._committing = {}

    def discard(self, root_fd: int, chunk_id: ChunkId) -> int:
        """Remove a chunk that waits for its final name; the bytes freed, 0 if none does."""
        with self._commit_lock, self._lock:
            names = self._filling.pop(chunk_id, None)
            if names is None:
                return 0
            size = os.lstat(names[0], dir_fd=root_fd).st_size
            os.unlink(names[0], dir_fd=root_fd)
            self._size -= size
            return size

    def abandon(self, root_fd: int) -> None:
        """Remove all temporaries that did not get their final name."""
        with self._commit_lock, self._lock:
            for temporary, _ in [*self._filling.values(), *self._committing.values()]:
                with contextlib.suppress(OSError):  # already renamed, or a leftover for gc
                    os.unlink(temporary, dir_fd=root_fd)
            self._filling = {}
            self._committing = {}
            self._size = 0


def _add(temporary: str, final: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
    """Rename, unless there is a file with the final name that is not empty."""
    try:
        os.link(temporary, final, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    except FileExistsError:
        if os.lstat(final, dir_fd=dst_dir_fd).st_size:
            os.unlink(temporary, dir_fd=src_dir_fd)
            return
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):  # there are no links
            raise
    else:
        os.unlink(temporary, dir_fd=src_dir_fd)
        return
    os.rename(temporary, final, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
