"""Files of a .castr directory: reading one that may be anything, writing a new one, finding those that are chunks."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from stat import S_ISREG
from typing import TYPE_CHECKING

from casync_py.compression import stored_limit
from casync_py.errors import ChunkInvalid
from casync_py.files import write_all
from casync_py.ids import ID_SIZE, ChunkId
from casync_py.native import read_whole
from casync_py.store.kept import OWN_MODE

if TYPE_CHECKING:
    from casync_py.store.directory import StoreDirectory

PREFIX = re.compile("[0-9a-f]{4}")
"""Name of a directory that may hold chunks."""
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_NO_FILE = (errno.ELOOP, errno.ENXIO)  # a symbolic link, a socket
_DIGITS = 2 * ID_SIZE
_NAME = re.compile("[0-9a-f]{64}")


def not_a_file(directory: StoreDirectory, chunk_id: ChunkId, path: str) -> ChunkInvalid:
    """The error for a link, a directory, a device where a chunk should be."""
    return ChunkInvalid(chunk_id, "It is no regular file", os.path.join(directory.path, path))


def read_chunk_file(directory: StoreDirectory, root: int, chunk_id: ChunkId, path: str, limit: int) -> bytes | None:
    """The content of a chunk's file; None if there is none.

    Args:
        limit: most bytes that a plain chunk may have.

    Raises:
        ChunkInvalid: it is no regular file, or larger than such a chunk can be (found before it is read).
        OSError: it cannot be read; `filename` is its full path.
    """
    try:
        found = read_whole(root, path, stored_limit(limit))
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NO_FILE:
            raise not_a_file(directory, chunk_id, path) from None
        raise directory.with_path(error, path) from None
    if isinstance(found, bytes):
        return found  # a file that shrank while it was read: the digest will tell
    mode, size = found
    if not S_ISREG(mode):
        raise not_a_file(directory, chunk_id, path)
    reason = f"Its file has {size} bytes, too many for a chunk of at most {limit}"
    raise ChunkInvalid(chunk_id, reason, os.path.join(directory.path, path))


def open_chunk_file(directory: StoreDirectory, root: int, chunk_id: ChunkId, path: str) -> tuple[int, int] | None:
    """A descriptor of a chunk's file, for reading, and its size; None if there is none, or an empty one.

    Raises:
        ChunkInvalid: it is no regular file.
        OSError: it cannot be opened; `filename` is its full path.
    """
    try:
        fd = os.open(path, _READ, dir_fd=root)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NO_FILE:
            raise not_a_file(directory, chunk_id, path) from None
        raise directory.with_path(error, path) from None
    status = os.fstat(fd)
    if S_ISREG(status.st_mode) and status.st_size:
        return fd, status.st_size
    os.close(fd)
    if S_ISREG(status.st_mode):
        return None
    raise not_a_file(directory, chunk_id, path)


def write_chunk_file(
    directory: StoreDirectory, root: int, path: str, data: bytes | memoryview, mode: int = OWN_MODE
) -> None:
    """Write a new file, and its directory where that is absent; nothing is left where that fails.

    Raises:
        OSError: `filename` is its full path.
    """
    try:
        fd = _create(root, path, mode)
        try:
            try:
                write_all(fd, data)
            finally:
                os.close(fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path, dir_fd=root)
            raise
    except OSError as error:
        raise directory.with_path(error, path) from None


def _create(root: int, path: str, mode: int) -> int:
    for _ in range(3):  # casync's gc, which does not lock, may remove an empty directory between the two calls
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, _WRITE, mode, dir_fd=root)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path[:4], dir_fd=root)
    return os.open(path, _WRITE, mode, dir_fd=root)


def list_prefixes(root: int) -> list[str]:
    """Names of the directories that may hold chunks, in order."""
    return sorted(filter(PREFIX.fullmatch, os.listdir(root)))


def list_ids(directory: StoreDirectory, root: int, prefix: str, suffix: str) -> list[ChunkId]:
    """Ids of the files in one directory that are named as chunks in plain form or with `suffix`, each once, in order.

    Raises:
        OSError: it cannot be read; `filename` is its full path.
    """
    try:
        fd = os.open(prefix, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise directory.with_path(error, prefix) from None
    try:
        names = os.listdir(fd)
    finally:
        os.close(fd)
    found = set()
    for name in names:
        digits = name[:_DIGITS]
        if name[_DIGITS:] in ("", suffix) and digits.startswith(prefix) and _NAME.fullmatch(digits):
            found.add(ChunkId.from_hex(digits))
    return sorted(found)
