"""A regular file's content on its way into an archive, and the proof that it did not change meanwhile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from casync_py import native
from casync_py.errors import SourceChanged

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 256 << 10
_read_rest = native.read_rest  # called for each file


def readable(path: bytes) -> str:
    """`path` for a message of one line."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


class Status(NamedTuple):
    """What stat tells of a file; the names are those of `os.stat_result`."""

    st_mode: int
    st_dev: int
    st_ino: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int


class FilePayload:
    """The content of an open file, which this object closes; see `nodes.Payload` for the calls.

    Attributes:
        size: bytes, as the scan saw it; all of them are delivered or an error is raised.
        fd: -1 once closed, which the last byte's delivery does.
    """

    __slots__ = ("_left", "_path", "_scanned", "_top", "fd", "size")

    def __init__(self, fd: int, scanned: Status, size: int, top: bytes, path: bytes) -> None:
        """Take `fd` over; `scanned` is its stat from before; `top` and `path` below it are for messages."""
        self.fd = fd
        self._scanned = scanned
        self._top = top
        self._path = path
        self._left = self.size = size

    def read_into(self, view: memoryview) -> int:
        left = self._left
        room = view.nbytes
        if not left or not room:
            return 0
        if room < left:
            return self._read_some(view)
        scanned = self._scanned
        fd, self.fd = self.fd, -1  # before it is closed: a signal's exception must not close it twice
        try:
            count = _read_rest(fd, view[:left], self.size, scanned.st_mtime_ns, scanned.st_ctime_ns)
        except OSError as error:
            self.fd = fd
            raise self._located(error) from None
        if count == left:
            self._left = 0
            return count
        self.fd = fd
        return self._advance(count)

    def _read_some(self, view: memoryview) -> int:
        try:
            return self._advance(os.readv(self.fd, (view,)))
        except OSError as error:
            raise self._located(error) from None

    def _advance(self, count: int) -> int:
        if count <= 0:  # it ended too soon, or is not what it was
            raise self._changed()
        self._left -= count
        return count

    def pieces(self) -> Iterator[memoryview | bytes]:
        buffer = memoryview(bytearray(min(_PIECE, self._left)))
        while count := self.read_into(buffer):
            yield buffer[:count]

    def close(self) -> None:
        """Give the descriptor back; what was not read stays unread. Nothing happens the second time."""
        self._left = 0
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def _located(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, os.fsdecode(os.path.join(self._top, self._path)))

    def _changed(self) -> SourceChanged:
        return SourceChanged(f"File {readable(os.path.join(self._top, self._path))} changed while it was read")
