"""From a stream of records and file contents to blocks of one size, each read or copied once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from casync_py.buffers import SpareBuffers
from casync_py.chunking.chunker import OVERLAP

if TYPE_CHECKING:
    from collections.abc import Callable

_REMEMBERED = 64  # blocks under way that may come back; the pipeline has fewer
BLOCK_SIZE = 1 << 20  # large enough for cheap hand-over between threads, small enough for the processor's caches


class Readable(Protocol):
    """Bytes to be read once, in order: a `Payload`, or a blob."""

    size: int

    def read_into(self, view: memoryview, /) -> int:
        """As `Payload.read_into`."""


class BlockWriter:
    """The encoder's sink: collects the stream in blocks and gives each one to `take`.

    `take(buffer, length)` may keep views of the buffer as long as it likes; it is used again when none is left. The
    stream's new bytes are `buffer[OVERLAP:OVERLAP+length]`; the `OVERLAP` bytes before them are the stream's preceding
    ones (junk in front of the first block), so that the rolling hash of each position can be computed from one buffer.
    """

    def __init__(self, take: Callable[[bytearray, int], None], block_size: int = BLOCK_SIZE) -> None:
        self._take = take
        self._capacity = OVERLAP + block_size
        self._spare = SpareBuffers(_REMEMBERED)
        self._open(b"")
        self.total = 0

    def _open(self, overlap: bytes | bytearray) -> None:
        self._buffer = self._spare.take() or bytearray(self._capacity)
        self._view = memoryview(self._buffer)
        self._view[OVERLAP - len(overlap) : OVERLAP] = overlap
        self._at = OVERLAP

    def _hand_over(self) -> None:
        buffer, length = self._buffer, self._at - OVERLAP
        self.total += length
        self._view.release()
        self._take(buffer, length)
        overlap = buffer[-OVERLAP:]
        self._spare.give(buffer)
        self._open(overlap)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        start, end = self._at, self._at + len(data)
        if end < self._capacity:
            self._view[start:end] = data
            self._at = end
            return
        rest = memoryview(data)
        while rest:
            piece = rest[: self._capacity - self._at]
            self._view[self._at : self._at + len(piece)] = piece
            self._at += len(piece)
            rest = rest[len(piece) :]
            if self._at == self._capacity:
                self._hand_over()

    def copy(self, payload: Readable) -> None:
        """Append a file's content, read straight into the block."""
        read_into = payload.read_into
        left = payload.size
        while left:
            end = min(self._at + left, self._capacity)
            count = read_into(self._view[self._at : end])
            left -= count
            self._at += count
            if self._at == self._capacity:
                self._hand_over()

    def finish(self) -> int:
        """Hand over the last block; the stream's length."""
        if self._at > OVERLAP:
            self._hand_over()
        return self.total
