"""Files that appear whole or not at all: written beside under a temporary name, synced, renamed."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_CREATE = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
STANDARD_STREAM = "-"  # as a path: standard input or output
STDIN, STDOUT = 0, 1  # descriptors; the objects in `sys` may be closed or replaced
NAME_MAX = 255  # Linux: bytes of one path component


def temporary_name(name: bytes) -> bytes:
    """casync's name for a file on its way, `.#NAME<16 hex digits>`; NAME is shortened where needed."""
    return b".#" + name[: NAME_MAX - 18] + secrets.token_hex(8).encode()


class AtomicFile:
    """A new file that takes its final name in `commit()`; without that, leaving the context removes it.

    Attributes:
        fd: descriptor, open for reading and writing.
    """

    def __init__(self, path: str | bytes, mode: int = 0o666) -> None:
        """Create the temporary file beside `path`; `mode` is subject to the umask.

        Raises:
            OSError: the directory is absent or not writable; `filename` is `path`.
        """
        self.path = os.fsencode(path)
        directory, name = os.path.split(self.path)
        self._temporary = os.path.join(directory, temporary_name(name))
        try:
            self.fd = os.open(self._temporary, os.O_RDWR | _CREATE, mode)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fsdecode(path)) from None
        self._done = False

    def commit(self) -> None:
        """Sync the content, rename it into place, sync the directory, close."""
        os.fsync(self.fd)
        os.rename(self._temporary, self.path)
        self._done = True
        os.close(self.fd)
        sync_directory(os.path.dirname(self.path) or b".")

    def abort(self) -> None:
        """Remove what was written; nothing happens after `commit()` or a second time."""
        if not self._done:
            self._done = True
            os.close(self.fd)
            os.unlink(self._temporary)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


def unnamed_file() -> int:
    """A descriptor of a file in `$TMPDIR` that goes when it is closed."""
    import tempfile  # here, because few runs need it

    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


def sync_directory(path: str | bytes) -> None:
    """Make renames inside a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write a whole buffer, however many calls it takes."""
    written = os.write(fd, data)
    if written < len(data):
        view = memoryview(data)
        while written < len(view):
            written += os.write(fd, view[written:])
