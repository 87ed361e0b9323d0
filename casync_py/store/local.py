"""A store in a directory, laid out as casync's .castr."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import time
from stat import S_ISREG
from typing import TYPE_CHECKING, Self

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import ChunkMissing
from casync_py.options import StoreOptions
from casync_py.store.base import DEFAULT_BUDGET
from casync_py.store.batch import PendingChunks
from casync_py.store.castr import (
    list_ids,
    list_prefixes,
    not_a_file,
    open_chunk_file,
    read_chunk_file,
    write_chunk_file,
)
from casync_py.store.chunk import Chunk
from casync_py.store.directory import StoreDirectory
from casync_py.store.fetch import fetch_ahead
from casync_py.store.kept import KEPT_MODE, OWN_MODE, is_kept, make_own

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream

_FRESH_S = 60  # younger counts as fresh: a repeated chunk costs no write; gc's grace is counted in hours
_CANNOT_REFRESH = (errno.EACCES, errno.EPERM)


class LocalStore:
    """Chunks as files below a directory that is opened once.

    Thread-safe: chunks are compressed and written in the callers' threads. The first `put` or `recognise` takes a
    shared lock on the directory, which gc respects; `release` and `close` give it back.

    Attributes:
        name: the path as given.
        directory: where it is.
        suffix: of compressed chunks.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        options: StoreOptions | None = None,
        create: bool = False,
        *,
        kept: bool = False,
    ) -> None:
        """Open the store.

        Args:
            options: how new chunks are written; also which form of a chunk is looked for first.
            create: an absent directory is an empty store and is made, one level, when the first chunk is put.
            kept: what is put is only kept, so that it may be removed again; see `store.kept`.

        Raises:
            OSError: it is absent (unless `create`), no directory, or not accessible.
        """
        self.name = os.fsdecode(path)
        options = options or StoreOptions()
        self._compression = options.compression
        self.suffix = options.compressed_suffix
        self._forms = (self.suffix, "") if options.compression.compressor is not None else ("", self.suffix)
        self.directory = StoreDirectory(self.name, create)
        self._kept = kept
        self._pending = PendingChunks(self.directory, replace=not kept)
        self._numbers = itertools.count(secrets.randbits(63))

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """Return the chunk as it is stored, not verified.

        Raises:
            ChunkMissing: it is not there; an empty file counts as absent.
            ChunkInvalid: what stands at its place is no regular file, or too large.
            OSError: it cannot be read; `filename` is its path.
        """
        root = self.directory.open()
        if root is not None:
            names = self._pending.names(chunk_id)  # first: any moment, another thread may give it its final name
            digits = chunk_id.hex()
            for suffix in self._forms:
                path = f"{digits[:4]}/{digits}{suffix}"
                data = read_chunk_file(self.directory, root, chunk_id, path, limit)
                if data:
                    return Chunk(chunk_id, stored=data) if suffix else Chunk(chunk_id, plain=data)
            if names is not None:
                return self._get_pending(root, chunk_id, names, limit)
        raise ChunkMissing(chunk_id, self.name)

    def _get_pending(self, root: int, chunk_id: ChunkId, names: tuple[str, str], limit: int) -> Chunk:
        for path in names:  # the final name if it was renamed meanwhile
            data = read_chunk_file(self.directory, root, chunk_id, path, limit)
            if data:
                compressed = bool(self.suffix) and names[1].endswith(self.suffix)
                return Chunk(chunk_id, stored=data) if compressed else Chunk(chunk_id, plain=data)
        raise ChunkMissing(chunk_id, self.name)

    def open_chunk(self, chunk_id: ChunkId) -> tuple[int, int, bool]:
        """The chunk's file, for who passes it on in pieces.

        Returns:
            A descriptor, which the caller closes, the file's size, and whether it is in compressed form.

        Raises:
            ChunkMissing, ChunkInvalid, OSError: as `get`.
        """
        root = self.directory.open()
        if root is not None:
            pending = self._pending.names(chunk_id)  # first, as in `get`
            digits = chunk_id.hex()
            paths = [f"{digits[:4]}/{digits}{suffix}" for suffix in self._forms]
            for path in (*paths, *(pending or ())):
                found = open_chunk_file(self.directory, root, chunk_id, path)
                if found is not None:
                    name = pending[1] if pending is not None and path in pending else path
                    return *found, bool(self.suffix) and name.endswith(self.suffix)
        raise ChunkMissing(chunk_id, self.name)

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:
        """Fetch ahead, not verified."""
        return fetch_ahead(self.get, ids, budget)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether a regular file that is not empty is at its place, or it was put by this object.

        Raises:
            OSError: it cannot be told; `filename` is the chunk's path.
        """
        return self._look_up(self.directory.open(), ids, refresh=False)

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        """As `has_many`, and what is there gets a fresh mtime and is durable after the next `flush`.

        Raises:
            ChunkInvalid: something that is no regular file stands at a chunk's place.
            OSError: as `has_many`, or the directory cannot be locked.
        """
        if self.directory.open() is None:
            return self._look_up(None, ids, refresh=True)
        answers = self._look_up(self.directory.open_to_write(), ids, refresh=True)
        self._pending.mark_dirty()  # not before: a flush of another thread may be over before they are looked at
        return answers

    def _look_up(self, root: int | None, ids: Sequence[ChunkId], *, refresh: bool) -> list[bool]:
        pending = self._pending
        lstat = os.lstat
        forms = self._forms
        fresh = time.time() - _FRESH_S
        answers = []
        for chunk_id in ids:
            found = chunk_id in pending
            if not found and root is not None:
                digits = chunk_id.hex()
                for suffix in forms:
                    path = f"{digits[:4]}/{digits}{suffix}"
                    try:
                        stat = lstat(path, dir_fd=root)
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        raise self.directory.with_path(error, path) from None
                    if not S_ISREG(stat.st_mode):
                        if refresh:  # a writer is told before it would put a chunk over it
                            raise not_a_file(self.directory, chunk_id, path)
                    elif stat.st_size:
                        found = not refresh or self._refresh(root, path, stat, fresh)
                        break
            answers.append(found)
        return answers

    def _refresh(self, root: int, path: str, status: os.stat_result, fresh: float) -> bool:
        try:
            if not self._kept and is_kept(status) and not make_own(root, path):
                return False
            if status.st_mtime <= fresh:
                os.utime(path, dir_fd=root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in _CANNOT_REFRESH:  # another user's file: a new copy will be ours
                return False
            if error.errno == errno.EROFS:  # nobody removes chunks there either
                return True
            raise self.directory.with_path(error, path) from None
        return True

    def put(self, chunk: Chunk) -> bool:
        """Compress the chunk if need be and write it under a temporary name; False if it is there in either form.

        Raises:
            ChunkInvalid: something that is no regular file stands at its place.
            OSError: it cannot be written; nothing of it stays under its final name. Or the batch that it completed
                could not be made durable: then neither can anything later, and each batch and `flush` raises.
            ValueError: it is empty.
        """
        chunk_id = chunk.chunk_id
        if self.recognise((chunk_id,))[0]:
            return False
        data: bytes | memoryview | None = chunk.stored(self._compression)
        suffix = self.suffix
        if data is None:
            data = chunk.plain()
            suffix = ""
        if not data:
            raise ValueError(f"Chunk {chunk_id} is empty, and an empty file counts as no chunk")
        root = self.directory.open_to_write()
        digits = chunk_id.hex()
        temporary = f"{digits[:4]}/{digits}.{next(self._numbers):016x}.tmp"
        write_chunk_file(self.directory, root, temporary, data, KEPT_MODE if self._kept else OWN_MODE)
        added, full = self._pending.add(chunk_id, temporary, f"{digits[:4]}/{digits}{suffix}", len(data))
        if not added:
            os.unlink(temporary, dir_fd=root)
        if full:
            self._pending.commit(root, final=False)
        return added

    def flush(self) -> None:
        """Make all that was put or recognised durable.

        Raises:
            OSError: it is not, or the directory is no longer the one that the store's path names.
        """
        if self.directory.writing:
            self._pending.commit(self.directory.open_to_write(), final=True)
            self.directory.check_in_place()

    def release(self) -> None:
        """Flush, then let gc in: for servers, which keep a store open between writing operations."""
        self.flush()
        self.directory.release()

    def in_place(self) -> bool:
        """Whether the open directory is still the one that the store's path names; also if there is none yet."""
        return self.directory.in_place()

    def iter_ids(self) -> Iterator[ChunkId]:
        """All chunks that have their final name, each once, in ascending order; whatever else is there is passed over.

        Raises:
            OSError: a directory cannot be read; `filename` is its path.
        """
        root = self.directory.open()
        if root is None:
            return
        for prefix in list_prefixes(root):
            ids = list_ids(self.directory, root, prefix, self.suffix)
            for chunk_id, there in zip(ids, self._look_up(root, ids, refresh=False), strict=True):
                if there:
                    yield chunk_id

    def remove(self, chunk_id: ChunkId) -> int:
        """Remove the chunk in both forms, and its directory when that is empty then; the bytes freed.

        Takes no lock: gc holds the exclusive one while it decides and removes.

        Raises:
            OSError: it cannot be removed; `filename` is its path.
        """
        root = self.directory.open()
        if root is None:
            return 0
        freed = self._pending.discard(root, chunk_id)
        digits = chunk_id.hex()
        for suffix in self._forms:
            path = f"{digits[:4]}/{digits}{suffix}"
            try:
                size = os.lstat(path, dir_fd=root).st_size
                os.unlink(path, dir_fd=root)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self.directory.with_path(error, path) from None
            freed += size
        with contextlib.suppress(OSError):  # not empty, or not there
            os.rmdir(digits[:4], dir_fd=root)
        return freed

    def close(self) -> None:
        """Release the lock and the descriptor; what was put and not flushed is removed."""
        if self.directory.writing:
            self._pending.abandon(self.directory.open_to_write())
        self.directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
