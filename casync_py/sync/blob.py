"""Blobs: a file or device as one byte stream to read, and as a target to write."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Protocol, Self

from casync_py.archive.holes import write_at, write_sparse
from casync_py.errors import SourceChanged, UsageError
from casync_py.files import STANDARD_STREAM, STDIN, STDOUT, AtomicFile, write_all
from casync_py.sync.superblock import device_size

if TYPE_CHECKING:
    from types import TracebackType


class Blob(Protocol):
    """Bytes with random access. Thread-safe."""

    name: str
    size: int

    def read_at(self, offset: int, length: int) -> bytes | memoryview:
        """Exactly the bytes asked for, fewer only at the end."""

    def close(self) -> None: ...


class FileBlob:
    """A regular file or block device; also the `Payload` that `make` packs.

    Attributes:
        size: bytes; a block device's is reduced to what its file system claims (as in casync).
        mode: permission bits of the source.
    """

    def __init__(self, path: str | None) -> None:
        """Open a path, or standard input for `-` and None.

        Raises:
            OSError, UsageError: absent, unreadable, or neither a regular file nor a block device.
        """
        self._standard = path in {None, STANDARD_STREAM}
        self.name = "standard input" if self._standard else str(path)
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        self.fd = STDIN if self._standard else os.open(self.name, flags)
        status = os.fstat(self.fd)
        self.mode = status.st_mode
        self._device = stat.S_ISBLK(status.st_mode)
        if not self._device and not stat.S_ISREG(status.st_mode):
            self.close()
            raise UsageError(f"{self.name}: Neither a regular file nor a block device")
        self.size = device_size(self.fd) if self._device else status.st_size
        self._stamp = _stamp(status)
        self._at = 0

    def read_into(self, view: memoryview) -> int:
        """The next bytes in order; see `archive.nodes.Payload`."""
        count = os.preadv(self.fd, [view[: self.size - self._at]], self._at)
        self._at += count
        if not count and self._at < self.size:
            raise SourceChanged(f"{self.name} became shorter while it was read")
        if self._at == self.size and not self._device and _stamp(os.fstat(self.fd)) != self._stamp:
            raise SourceChanged(f"{self.name} changed while it was read")
        return count

    def rewind(self) -> None:
        """Let `read_into` begin again at the start."""
        self._at = 0

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self.fd, max(0, min(length, self.size - offset)), offset)

    def close(self) -> None:
        if self.fd >= 0 and not self._standard:
            os.close(self.fd)
        self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


class BlobTarget(Protocol):
    """Where a blob is written, in order of offsets; nothing counts as done before `commit()`."""

    name: str

    def write_at(self, offset: int, data: bytes | memoryview) -> None: ...
    def commit(self) -> None:
        """Set the size, sync, let the target appear."""

    def abort(self) -> None:
        """Give up; harmless after `commit()`."""


class FileTarget:
    """A new file (written beside, renamed), or an existing file or block device, written in place."""

    def __init__(self, path: str, size: int, punch_holes: bool = True) -> None:
        self.name = path
        self._size = size
        self._file: AtomicFile | None = None
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
        except FileNotFoundError:
            self._file = AtomicFile(path)
            self._fd = self._file.fd
        status = os.fstat(self._fd)
        self._regular = stat.S_ISREG(status.st_mode)
        # Holes are left only where nothing was before: in place, zeros replace what is there.
        self._sparse = punch_holes and self._file is not None
        if not self._regular:
            room = device_size(self._fd, whole=True) if stat.S_ISBLK(status.st_mode) else 0
            if not stat.S_ISBLK(status.st_mode):
                self.abort()
                raise UsageError(f"{path}: Neither a regular file nor a block device")
            if room < size:
                self.abort()
                raise OSError(errno.ENOSPC, f"The device has {room} bytes, the blob {size}", path)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        try:
            if self._sparse:
                write_sparse(self._fd, data, offset)
            else:
                write_at(self._fd, data, offset)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.name) from None

    def commit(self) -> None:
        if self._regular:
            os.ftruncate(self._fd, self._size)
        if self._file is not None:
            self._file.commit()
        else:
            os.fsync(self._fd)
            os.close(self._fd)
        self._fd = -1

    def abort(self) -> None:
        if self._fd >= 0:
            if self._file is not None:
                self._file.abort()
            else:
                os.close(self._fd)
            self._fd = -1


class StreamTarget:
    """Standard output, in order of offsets."""

    name = "standard output"

    def __init__(self) -> None:
        self._fd = STDOUT

    def write_at(self, offset: int, data: bytes | memoryview) -> None:  # noqa: ARG002 - the stream stands there already
        """Append."""
        write_all(self._fd, data)

    def commit(self) -> None:
        """Sync where the stream is a file."""
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.fsync(self._fd)

    def abort(self) -> None:
        """What was written cannot be taken back; the exit status tells."""
