"""An index that arrives in pieces: each row is checked when it is there, and none is kept."""

from __future__ import annotations

from operator import sub
from struct import Struct

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format.index_layout import HEADER_SIZE, IndexHeader, check_tail, parse_header

_ends = Struct("<Q32x").iter_unpack


class IndexRows:
    """Checks an index as it comes; memory is that of one piece.

    Attributes:
        header: None until the first `HEADER_SIZE` bytes came.
        rows: how many rows came whole and in order; where they stand in the file, `index_layout` says.
        size: bytes of the stream that they cover.
        ended: the tail came.
    """

    def __init__(self) -> None:
        self.header: IndexHeader | None = None
        self.rows = 0
        self.size = 0
        self.ended = False
        self._rest = b""  # the beginning of a row, less than one

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the file, however it is cut.

        Raises:
            FormatError: they cannot follow what came before.
        """
        raw = memoryview(self._rest + data if self._rest else data)
        if self.header is None:
            if len(raw) < HEADER_SIZE:
                self._rest = bytes(raw)
                return
            self.header = parse_header(raw[:HEADER_SIZE])
            raw = raw[HEADER_SIZE:]
        whole = len(raw) - len(raw) % c.TABLE_ITEM_SIZE
        self._rest = bytes(raw[whole:])
        if whole:
            self._take(raw[:whole], self.header.chunk_max)
        if self.ended and self._rest:
            raise FormatError("Bytes follow the end of the index", self._position())

    def finish(self) -> None:
        """Nothing follows.

        Raises:
            FormatError: the index is not complete.
        """
        if not self.ended:
            raise FormatError("Index ends early", self._position() + len(self._rest))

    def _take(self, raw: memoryview, chunk_max: int) -> None:
        """Check whole rows, and the tail, which begins as a row that ends at 0."""
        if self.ended:
            raise FormatError("Bytes follow the end of the index", self._position())
        offsets = [end for (end,) in _ends(raw)]
        tail = None
        if 0 in offsets:
            count = offsets.index(0)
            tail, after = raw[count * c.TABLE_ITEM_SIZE :][: c.TABLE_TAIL_SIZE], len(offsets) > count + 1
            del offsets[count:]
        if offsets:
            lengths = list(map(sub, offsets, [self.size, *offsets]))
            if min(lengths) <= 0 or max(lengths) > chunk_max or offsets[-1] > c.OFFSET_MAX:
                wrong = next((i for i, length in enumerate(lengths) if not 0 < length <= chunk_max), len(lengths) - 1)
                position = self._position() + wrong * c.TABLE_ITEM_SIZE
                raise FormatError(f"Chunk of {lengths[wrong]} bytes that ends at {offsets[wrong]}", position)
            self.rows += len(offsets)
            self.size = offsets[-1]
        if tail is not None:
            check_tail(tail, self.rows)
            self.ended = True
            if after:
                raise FormatError("Bytes follow the end of the index", self._position())

    def _position(self) -> int:
        """Place in the file of what comes after the rows, or after the tail."""
        return HEADER_SIZE + self.rows * c.TABLE_ITEM_SIZE + (c.TABLE_TAIL_SIZE if self.ended else 0)
