"""An index that the other end of a pull sends, spooled to an unnamed temporary file."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from casync_py.errors import FormatError, PeerError
from casync_py.files import unnamed_file, write_all
from casync_py.format.constants import TRAVELLING_INDEX_MAX
from casync_py.format.index import Index

if TYPE_CHECKING:
    from casync_py.peer.exchange import Exchange


class PullIndex:
    """The index on its way; the file lies in `$TMPDIR`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._fd = -1
        self._size = 0
        self._complete = False

    # For whoever wants the index.

    def open(self, name: str) -> Index:
        """Wait until it is complete; the index belongs to the caller.

        Raises:
            PeerError: the other end failed.
            FormatError: what it sent is no index.
        """
        with self._exchange.lock:
            self._exchange.wait_until(lambda: self._complete)
            if self._fd < 0:
                raise FormatError("Not an index", 0, name)
            return Index.open(os.dup(self._fd), name)

    def close(self) -> None:
        """Give the file back; indexes that were opened keep it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    # For the connection's thread.

    def add(self, piece: bytes | memoryview) -> None:
        """The next piece came.

        Raises:
            PeerError: an index of that size is none.
            OSError: it cannot be kept.
        """
        self._size += len(piece)
        if self._size > TRAVELLING_INDEX_MAX:
            raise PeerError(f"Sent more than {TRAVELLING_INDEX_MAX} bytes as an index")
        try:
            if self._fd < 0:
                self._fd = unnamed_file()
            write_all(self._fd, piece)
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None

    def complete(self) -> None:
        """All of it came."""
        with self._exchange.lock:
            self._complete = True
        self._exchange.announce()
