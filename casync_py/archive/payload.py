"""A regular file's content on its way into an archive, and the proof that it did not change meanwhile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casync_py.errors import SourceChanged

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 256 << 10
_close, _fstat, _readv = os.close, os.fstat, os.readv  # called for each file


def readable(path: bytes) -> str:
    """`path` for a message of one line."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


class FilePayload:
    """The content of an open file, which this object closes; see `nodes.Payload` for the calls.

    Attributes:
        size: bytes, as the scan saw it; all of them are delivered or an error is raised.
        fd: -1 once closed, which the last byte's delivery does.
    """

    __slots__ = ("_left", "_path", "_scanned", "_top", "fd", "size")

    def __init__(self, fd: int, scanned: os.stat_result, size: int, top: bytes, path: bytes) -> None:
        """Take `fd` over; `scanned` is its stat from before; `top` and `path` below it are for messages."""
        self.fd = fd
        self._scanned = scanned
        self._top = top
        self._path = path
        self._left = self.size = size

    def read_into(self, view: memoryview) -> int:
        left = self._left
        if not left:
            return 0
        try:
            count = _readv(self.fd, (view,))
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fsdecode(os.path.join(self._top, self._path))) from None
        if 0 < count < left:
            self._left = left - count
            return count
        if count != left:  # the file ended too soon, or went on
            if not view.nbytes:
                return 0
            raise self._changed()
        before = self._scanned
        after = _fstat(self.fd)
        if (
            after.st_mtime_ns != before.st_mtime_ns
            or after.st_ctime_ns != before.st_ctime_ns
            or after.st_size != before.st_size
        ):
            raise self._changed()
        fd, self.fd = self.fd, -1  # in this order: a signal's exception between the two must not close it twice
        _close(fd)
        self._left = 0
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

    def _changed(self) -> SourceChanged:
        return SourceChanged(f"File {readable(os.path.join(self._top, self._path))} changed while it was read")
