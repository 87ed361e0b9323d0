"""The bounded incremental reader of records: bytes are fed, headers and bodies come out, nothing is read ahead.

A size is checked against its type's bounds before anything is kept for it, so that code behind the reader never sees
a bad one.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Protocol

from casync_py.errors import FormatError
from casync_py.format import constants as c

if TYPE_CHECKING:
    from collections.abc import Mapping

_unpack_header = Struct("<QQ").unpack


class Bounds(Protocol):
    """What is known of a record type before a record is read; sizes include the header."""

    @property
    def name(self) -> str: ...
    @property
    def floor(self) -> int: ...
    @property
    def ceiling(self) -> int: ...


class RecordReader:
    """Splits a stream of records, however it is sliced.

    `header()`, then either `body()` for the whole body or `piece()` until it is used up (`left` is 0), or `skip()`;
    each returns None or nothing while more has to be fed. Buffers that were fed are kept, not copied, until they are
    used up; a body that lies in one of them is a view of it.

    Attributes:
        data, view, position, end: the current buffer and the unread part of it. Callers may look at it and move
            `position` forward over whole records, or set `left` for a body that starts there.
        left: bytes of the current record's body that are still to come.
    """

    __slots__ = ("_base", "_bounds", "_later", "_later_size", "data", "end", "left", "position", "view")

    def __init__(self, bounds: Mapping[int, Bounds], offset: int = 0) -> None:
        """Args: bounds: record type to its bounds; offset: where in the stream the first byte stands."""
        self._bounds = bounds
        self._base = offset
        self._later: deque[bytes | memoryview] = deque()
        self._later_size = 0
        self.data: bytes | memoryview = b""
        self.view = memoryview(b"")
        self.position = 0
        self.end = 0
        self.left = 0

    @property
    def offset(self) -> int:
        """Where in the stream the next byte stands that was not yet handed out."""
        return self._base + self.position

    @property
    def buffered(self) -> int:
        """Bytes that were fed and not handed out."""
        return self.end - self.position + self._later_size

    def feed(self, data: bytes | memoryview) -> None:
        """Add the stream's next bytes; the buffer must not change until they are used up."""
        if self.position == self.end and not self._later:
            self._use(data)
        elif data:
            self._later.append(data)
            self._later_size += len(data)

    def header(self) -> tuple[int, int] | None:
        """Read the next header: record type and size of the body; None while there are too few bytes.

        Raises:
            FormatError: an unknown type, or a size out of the type's bounds.
        """
        if self.left:
            raise ValueError("The body of the last record was not read")
        start = self.offset
        raw = self._take(c.HEADER_SIZE)
        if raw is None:
            return None
        size, record_type = _unpack_header(raw)
        bounds = self._bounds.get(record_type)
        if bounds is None:
            raise FormatError(f"Unknown record type {record_type:#018x}", start)
        if not bounds.floor <= size <= bounds.ceiling or start + size > c.OFFSET_MAX:
            raise FormatError(f"{bounds.name} record of {size} bytes", start)
        self.left = size - c.HEADER_SIZE
        return record_type, self.left

    def body(self) -> memoryview | bytes | None:
        """The whole rest of the body; None while there are too few bytes."""
        raw = self._take(self.left)
        if raw is not None:
            self.left = 0
        return raw

    def piece(self, limit: int) -> memoryview:
        """The next bytes of the body, at most `limit`, as they lie in the current buffer; empty if there are none."""
        if self.position == self.end and self._later:
            self._next()
        start = self.position
        self.position = stop = min(self.end, start + self.left, start + limit)
        self.left -= stop - start
        return self.view[start:stop]

    def skip(self) -> int:
        """Drop the rest of the body.

        Returns:
            How many of its bytes were not fed yet; the next byte fed must be the one after them.
        """
        while self.left:
            if self.position == self.end:
                if not self._later:
                    break
                self._next()
            step = min(self.left, self.end - self.position)
            self.position += step
            self.left -= step
        missing, self.left = self.left, 0
        self._base += missing
        return missing

    def _take(self, size: int) -> memoryview | bytes | None:
        start = self.position
        if self.end - start >= size:
            self.position = start + size
            return self.view[start : start + size]
        if self.buffered < size:
            return None
        parts = []
        while size:
            if self.position == self.end:
                self._next()
            start = self.position
            self.position = stop = min(self.end, start + size)
            parts.append(self.view[start:stop])
            size -= stop - start
        return b"".join(parts)

    def _next(self) -> None:
        data = self._later.popleft()
        self._later_size -= len(data)
        self._use(data)

    def _use(self, data: bytes | memoryview) -> None:
        self._base += self.end
        self.data = data
        self.view = memoryview(data)
        self.position = 0
        self.end = len(data)
