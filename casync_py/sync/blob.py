"""Blobs: a file or device as one byte stream to read, and as a target to write."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Protocol, Self

from casync_py.archive.holes import write_at, write_sparse
from casync_py.errors import SourceChanged, UsageError
from casync_py.files import STANDARD_STREAM, STDIN, STDOUT, write_all
from casync_py.sync.partial import PartialFile, lock_target
from casync_py.sync.superblock import device_size

if TYPE_CHECKING:
    from types import TracebackType

_DEVICE_PATIENCE_S = 2  # udev locks a device for a moment after each writer has closed it


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
    """Where a blob is written; nothing counts as done before `commit()`.

    Attributes:
        present: so many bytes from the start may be right already, left by an interrupted run; 0: nothing to look at.
    """

    name: str
    present: int

    def read_at(self, offset: int, length: int) -> bytes:
        """What is there, fewer bytes only at the end. May be called from several threads."""

    def keep(self, end: int) -> None:
        """Told before anything is written: what lies behind `end` is of no use."""

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Calls come in the order of offsets, but leave out what is in place."""

    def commit(self) -> None:
        """Set the size, sync, let the target appear."""

    def abort(self) -> str | None:
        """Give up; harmless after `commit()`. What was written stays for the next run, where the target can do that.

        Returns:
            The name of the file that stays, if one does.
        """


class FileTarget:
    """A file that does not exist yet (a partial file until `commit()`), or a file or block device written in place."""

    def __init__(self, path: str, size: int, punch_holes: bool = True) -> None:
        """Open it for a blob of `size` bytes.

        Raises:
            OSError, UsageError: it cannot be opened or written, is in use by another run, is neither file nor device,
                or is a device that is too small.
        """
        self.name = path
        self._size = size
        self._partial: PartialFile | None = None
        self._fd = self._open()
        try:
            status = os.fstat(self._fd)
            self._regular = stat.S_ISREG(status.st_mode)
            if not self._regular and not stat.S_ISBLK(status.st_mode):
                raise UsageError(f"{path}: Neither a regular file nor a block device")
            room = status.st_size if self._regular else device_size(self._fd, whole=True)
            if not self._regular and room < size:
                raise OSError(errno.ENOSPC, f"The device has {room} bytes, the blob {size}", path)
            if self._partial is None:
                lock_target(self._fd, path, 0 if self._regular else _DEVICE_PATIENCE_S)
        except BaseException:
            self.abort()
            raise
        self.present = min(room, size)
        # Holes are left only where nothing was before: elsewhere, zeros replace what is there.
        self._punch_holes = punch_holes
        self._new_from = room

    def _open(self) -> int:
        while True:
            with contextlib.suppress(FileNotFoundError):
                return os.open(self.name, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
            self._partial = PartialFile.open(self.name)
            if self._partial is not None:
                return self._partial.fd

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.name) from None

    def keep(self, end: int) -> None:
        if self._partial is not None:
            os.ftruncate(self._fd, end)
            self._new_from = end

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        try:
            if self._punch_holes and offset >= self._new_from:
                write_sparse(self._fd, data, offset)
            else:
                write_at(self._fd, data, offset)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.name) from None

    def commit(self) -> None:
        if self._regular:
            os.ftruncate(self._fd, self._size)
        if self._partial is not None:
            self._partial.commit()
        else:
            os.fsync(self._fd)
            os.close(self._fd)
        self._fd = -1

    def abort(self) -> str | None:
        if self._fd < 0:
            return None
        self._fd, fd = -1, self._fd
        if self._partial is None:
            os.close(fd)
        elif self._partial.abort():
            return self._partial.name
        return None


class StreamTarget:
    """Standard output, in order of offsets."""

    name = "standard output"
    present = 0

    def __init__(self) -> None:
        self._fd = STDOUT

    def read_at(self, offset: int, length: int) -> bytes:  # noqa: ARG002 - nothing is there
        return b""

    def keep(self, end: int) -> None:
        """There is nothing."""

    def write_at(self, offset: int, data: bytes | memoryview) -> None:  # noqa: ARG002 - the stream stands there already
        """Append."""
        write_all(self._fd, data)

    def commit(self) -> None:
        """Sync where the stream is a file."""
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.fsync(self._fd)

    def abort(self) -> None:
        """What was written cannot be taken back; the exit status tells."""
