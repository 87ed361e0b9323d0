"""A store in a directory, laid out as casync's .castr."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import time
from stat import S_ISREG
from typing import TYPE_CHECKING, Self

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.files import write_all
from casync_py.ids import ChunkId
from casync_py.options import StoreOptions
from casync_py.store.base import DEFAULT_BUDGET
from casync_py.store.batch import PendingChunks
from casync_py.store.chunk import Chunk
from casync_py.store.directory import StoreDirectory
from casync_py.store.fetch import fetch_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from casync_py.store.base import ChunkStream

# O_NONBLOCK: a fifo at a chunk's place must not hang the reader; O_NOFOLLOW: a link may lead out of the store
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_MAX_FILE = MAX_CHUNK_SIZE + (1 << 20)  # incompressible data grows by a few bytes in each of the three formats
_FRESH_S = 60  # younger counts as fresh: a repeated chunk costs no write; gc's grace is counted in hours
_DIGITS = 64
_PREFIX = re.compile("[0-9a-f]{4}")
_NAME = re.compile("[0-9a-f]{64}")
_CANNOT_REFRESH = (errno.EACCES, errno.EPERM)


class LocalStore:
    """Chunks as files below a directory that is opened once.

    Thread-safe: chunks are compressed and written in the callers' threads. The first `put` or `recognise` takes a
    shared lock on the directory, which gc respects; `release` and `close` give it back.

    Attributes:
        name: the path as given.
    """

    def __init__(
        self, path: str | bytes | os.PathLike[str], options: StoreOptions | None = None, create: bool = False
    ) -> None:
        """Open the store.

        Args:
            options: how new chunks are written; also which form of a chunk is looked for first.
            create: an absent directory is an empty store and is made, one level, when the first chunk is put.

        Raises:
            OSError: it is absent (unless `create`), no directory, or not accessible.
        """
        self.name = os.fsdecode(path)
        self._options = options or StoreOptions()
        suffix = self._options.compressed_suffix
        self._forms = (suffix, "") if self._options.compression.compressor is not None else ("", suffix)
        self._directory = StoreDirectory(self.name, create)
        self._pending = PendingChunks(self._directory)
        self._numbers = itertools.count(secrets.randbits(63))

    def get(self, chunk_id: ChunkId) -> Chunk:
        """Return the chunk as it is stored, not verified.

        Raises:
            ChunkMissing: it is not there; an empty file counts as absent.
            ChunkInvalid: what stands at its place is no regular file, or larger than any chunk.
            OSError: it cannot be read; `filename` is its path.
        """
        root = self._directory.open()
        if root is not None:
            digits = chunk_id.hex()
            path = f"{digits[:4]}/{digits}"
            for suffix in self._forms:
                data = self._read(root, chunk_id, path + suffix)
                if data:
                    return Chunk(chunk_id, stored=data) if suffix else Chunk(chunk_id, plain=data)
        raise ChunkMissing(chunk_id, self.name)

    def _read(self, root: int, chunk_id: ChunkId, path: str) -> bytes | None:
        try:
            fd = os.open(path, _READ, dir_fd=root)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link, a socket
                raise self._not_a_file(chunk_id, path) from None
            raise self._directory.with_path(error, path) from None
        try:
            stat = os.fstat(fd)
            if not S_ISREG(stat.st_mode):
                raise self._not_a_file(chunk_id, path)
            size = stat.st_size
            if size > _MAX_FILE:
                raise self._invalid(chunk_id, path, f"Its file has {size} bytes, more than any chunk")
            data = os.read(fd, size)
            while len(data) < size:
                more = os.read(fd, size - len(data))
                if not more:
                    break  # it shrank: the digest will tell
                data += more
        except OSError as error:
            raise self._directory.with_path(error, path) from None
        finally:
            os.close(fd)
        return data

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:
        """Fetch ahead, not verified."""
        return fetch_ahead(self.get, ids, budget)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether a regular file that is not empty is at its place, or it was put by this object.

        Raises:
            OSError: it cannot be told; `filename` is the chunk's path.
        """
        return self._look_up(self._directory.open(), ids, refresh=False)

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        """As `has_many`, and what is there gets a fresh mtime and is durable after the next `flush`.

        Raises:
            ChunkInvalid: something that is no regular file stands at a chunk's place.
            OSError: as `has_many`, or the directory cannot be locked.
        """
        root = self._directory.open()
        if root is not None:
            root = self._directory.open_to_write()
            self._pending.mark_dirty()
        return self._look_up(root, ids, refresh=True)

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
                        raise self._directory.with_path(error, path) from None
                    if not S_ISREG(stat.st_mode):
                        if refresh:  # a writer is told before it would put a chunk over it
                            raise self._not_a_file(chunk_id, path)
                    elif stat.st_size:
                        found = not refresh or stat.st_mtime > fresh or self._refresh(root, path)
                        break
            answers.append(found)
        return answers

    def _refresh(self, root: int, path: str) -> bool:
        try:
            os.utime(path, dir_fd=root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in _CANNOT_REFRESH:  # another user's file: a new copy will be ours
                return False
            if error.errno == errno.EROFS:  # nobody removes chunks there either
                return True
            raise self._directory.with_path(error, path) from None
        return True

    def put(self, chunk: Chunk) -> bool:
        """Compress the chunk if need be and write it under a temporary name; False if it is there in either form.

        Raises:
            ChunkInvalid: something that is no regular file stands at its place.
            OSError: it cannot be written; nothing of it stays under its final name. Or the batch that it completed
                could not be made durable: then neither can anything later, and each batch and `flush` raises.
        """
        chunk_id = chunk.chunk_id
        if self.recognise((chunk_id,))[0]:
            return False
        root = self._directory.open_to_write()
        data: bytes | memoryview | None = chunk.stored(self._options.compression)
        suffix = self._options.compressed_suffix
        if data is None:
            data = chunk.plain()
            suffix = ""
        if not data:
            raise ValueError(f"Chunk {chunk_id} is empty, and an empty file counts as no chunk")
        digits = chunk_id.hex()
        temporary = f"{digits[:4]}/{digits}.{next(self._numbers):016x}.tmp"
        self._write(root, temporary, data)
        added, full = self._pending.add(chunk_id, temporary, f"{digits[:4]}/{digits}{suffix}", len(data))
        if not added:
            os.unlink(temporary, dir_fd=root)
        if full:
            self._pending.commit(root, final=False)
        return added

    def _write(self, root: int, path: str, data: bytes | memoryview) -> None:
        try:
            fd = self._create(root, path)
        except OSError as error:
            raise self._directory.with_path(error, path) from None
        try:
            try:
                write_all(fd, data)
            finally:
                os.close(fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(path, dir_fd=root)
            raise self._directory.with_path(error, path) from None

    def _create(self, root: int, path: str) -> int:
        for _ in range(3):  # casync's gc, which does not lock, may remove an empty directory between the two calls
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, _WRITE, 0o444, dir_fd=root)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path[:4], dir_fd=root)
        return os.open(path, _WRITE, 0o444, dir_fd=root)

    def flush(self) -> None:
        """Make all that was put or recognised durable.

        Raises:
            OSError: it is not, or the directory is no longer the one that the store's path names.
        """
        if self._directory.writing:
            self._pending.commit(self._directory.open_to_write(), final=True)
            self._directory.check_in_place()

    def release(self) -> None:
        """Flush, then let gc in: for servers, which keep a store open between writing operations."""
        self.flush()
        self._directory.release()

    def iter_ids(self) -> Iterator[ChunkId]:
        """All chunks that have their final name, each once, in ascending order; whatever else is there is passed over.

        Raises:
            OSError: a directory cannot be read; `filename` is its path.
        """
        root = self._directory.open()
        if root is None:
            return
        suffix = self._options.compressed_suffix
        for prefix in sorted(filter(_PREFIX.fullmatch, os.listdir(root))):
            found = set()
            for name in self._list_prefix(root, prefix):
                digits = name[:_DIGITS]
                if name[_DIGITS:] in ("", suffix) and digits[:4] == prefix and _NAME.fullmatch(digits):
                    found.add(ChunkId.from_hex(digits))
            ids = sorted(found)
            for chunk_id, has in zip(ids, self._look_up(root, ids, refresh=False), strict=True):
                if has:
                    yield chunk_id

    def _list_prefix(self, root: int, prefix: str) -> list[str]:
        try:
            fd = os.open(prefix, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._directory.with_path(error, prefix) from None
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def remove(self, chunk_id: ChunkId) -> int:
        """Remove the chunk in both forms, and its directory when that is empty then; the bytes freed.

        Takes no lock: gc holds the exclusive one while it decides and removes.

        Raises:
            OSError: it cannot be removed; `filename` is its path.
        """
        root = self._directory.open()
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
                raise self._directory.with_path(error, path) from None
            freed += size
        with contextlib.suppress(OSError):  # not empty, or not there
            os.rmdir(digits[:4], dir_fd=root)
        return freed

    def close(self) -> None:
        """Release the lock and the descriptor; what was put and not flushed is removed."""
        if self._directory.writing:
            self._pending.abandon(self._directory.open_to_write())
        self._directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _not_a_file(self, chunk_id: ChunkId, path: str) -> ChunkInvalid:
        return self._invalid(chunk_id, path, "It is no regular file")

    def _invalid(self, chunk_id: ChunkId, path: str, reason: str) -> ChunkInvalid:
        return ChunkInvalid(chunk_id, reason, os.path.join(self.name, path))
