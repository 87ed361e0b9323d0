"""The parts of an index file that are no rows: header and tail. Source: spec section 2."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format import flags

_HEADER = Struct("<8Q")  # the INDEX record and the header of TABLE
_TAIL = Struct("<5Q")

HEADER_SIZE = _HEADER.size
OVERHEAD = HEADER_SIZE + c.TABLE_TAIL_SIZE
ROW = Struct("<Q32s")  # end offset, chunk id


class IndexHeader(NamedTuple):
    """What an index says before its rows: normalised feature flags, and the sizes that its stream was cut with."""

    feature_flags: int
    chunk_min: int
    chunk_avg: int
    chunk_max: int


def pack_header(header: IndexHeader) -> bytes:
    """An index's first `HEADER_SIZE` bytes."""
    return _HEADER.pack(c.INDEX_SIZE, c.INDEX, *header, c.U64_MAX, c.TABLE)


def pack_tail(rows: int) -> bytes:
    """An index's last `TABLE_TAIL_SIZE` bytes, after so many rows."""
    table_size = c.HEADER_SIZE + rows * c.TABLE_ITEM_SIZE + c.TABLE_TAIL_SIZE
    return _TAIL.pack(0, 0, c.INDEX_SIZE, table_size, c.TABLE_TAIL_MARKER)


def parse_header(raw: bytes | memoryview) -> IndexHeader:
    """Parse an index's first `HEADER_SIZE` bytes.

    Raises:
        FormatError: they are not an index's, or its limits or flags are impossible.
    """
    fields = _HEADER.unpack(raw)
    if fields[:2] != (c.INDEX_SIZE, c.INDEX) or fields[6:] != (c.U64_MAX, c.TABLE):
        raise FormatError("Not an index", 0)
    header = IndexHeader._make(fields[2:6])
    flags.check(header.feature_flags, 16)
    if not 1 <= header.chunk_min <= header.chunk_avg <= header.chunk_max <= c.CHUNK_SIZE_MAX:
        sizes = f"{header.chunk_min}, {header.chunk_avg}, {header.chunk_max}"
        raise FormatError(f"Impossible chunk sizes {sizes}", 24)
    return header


def check_tail(raw: bytes | memoryview, rows: int) -> None:
    """Check the `TABLE_TAIL_SIZE` bytes that follow the last row.

    Raises:
        FormatError: they are no tail, or that of a table of another length.
    """
    if raw != pack_tail(rows):
        raise FormatError("No tail at the end of the index", HEADER_SIZE + rows * c.TABLE_ITEM_SIZE)
