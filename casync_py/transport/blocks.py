"""Memory that input is read into: blocks, filled piece by piece and used again when nobody looks at them any more.

A fresh buffer for every read costs a page fault for every 4 KiB, which takes longer than the copy itself; and a large
buffer that a small read leaves mostly empty would be kept alive by whoever keeps a chunk that lies in it.
"""

from __future__ import annotations

from casync_py.buffers import SpareBuffers

BLOCK_SIZE = 1 << 20
_LEAST = 1 << 16  # room for one read: what is cut at a block's end is copied once more
_REMEMBERED = 8  # blocks that may come back


class InputBlocks:
    """`room()`, read into it, `take(size)` of it."""

    def __init__(self, block_size: int = BLOCK_SIZE) -> None:
        self._size = block_size
        self._spare = SpareBuffers(_REMEMBERED)
        self._open(bytearray(block_size))

    def _open(self, block: bytearray) -> None:
        self._block = block
        self._view = memoryview(block)
        self._at = 0

    def room(self) -> memoryview:
        """Where the next input belongs; at least 64 KiB of a block."""
        if self._size - self._at < _LEAST:
            self._view.release()
            self._spare.give(self._block)
            self._open(self._spare.take() or bytearray(self._size))
        return self._view[self._at :]

    def take(self, size: int) -> memoryview:
        """The first so many bytes of the room, which stay as they are while there is a view of them."""
        start = self._at
        self._at += size
        return self._view[start : self._at]
