"""An archive or blob that the other end of a pull sends as one stream."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casync_py.peer.exchange import Exchange

_ROOM = 8 << 20  # bytes that may have come and not been read
_SMALL = 256  # bytes that a piece takes beside its data


class PullArchive:
    """An `ArchiveSource` over a connection: bytes in order, as they come.

    Attributes:
        name: for messages.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.name = ""
        self._exchange = exchange
        self._pieces: deque[bytes | memoryview] = deque()
        self._size = 0
        self._skip = 0
        self._complete = False
        self._closed = False
        self._paused = False

    # For whoever reads.

    def read(self) -> bytes | memoryview:
        """The next piece, empty at the end.

        Raises:
            PeerError: the other end failed.
        """
        exchange = self._exchange
        while True:
            with exchange.lock:
                exchange.wait_until(lambda: self._pieces or self._complete)
                if not self._pieces:
                    return b""
                piece = self._pieces.popleft()
                self._size -= len(piece) + _SMALL
                if self._paused and self._size <= _ROOM // 2:
                    exchange.wake()
            dropped = min(self._skip, len(piece))
            self._skip -= dropped
            if dropped < len(piece):
                return memoryview(piece)[dropped:] if dropped else piece

    def skip(self, size: int, /) -> None:
        """The next `size` bytes are not wanted; they come all the same."""
        self._skip += size

    def close(self) -> None:
        """Read no more; what still comes is dropped."""
        with self._exchange.lock:
            self._closed = True
            self._pieces.clear()
            self._size = 0
            self._exchange.wake()

    # For the connection's thread.

    def add(self, piece: bytes | memoryview) -> None:
        """The next piece came; its buffer is kept until it was read."""
        with self._exchange.lock:
            if not self._closed:
                self._pieces.append(piece)
                self._size += len(piece) + _SMALL
        self._exchange.announce()

    def complete(self) -> None:
        """All of it came."""
        with self._exchange.lock:
            self._complete = True
        self._exchange.announce()

    def wants_more(self) -> bool:
        """Whether there is room for more."""
        with self._exchange.lock:
            self._paused = self._size > _ROOM
            return not self._paused
