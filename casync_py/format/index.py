"""Index files (.caidx, .caibx): the chunks of a stream, in order, as (end offset, chunk id). Source: spec section 2."""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from functools import partial
from itertools import chain
from operator import sub
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, Self

from casync_py.digest import digest_of_flags
from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format.index_layout import (
    HEADER_SIZE,
    OVERHEAD,
    ROW,
    IndexHeader,
    check_tail,
    pack_header,
    pack_tail,
    parse_header,
)
from casync_py.ids import ChunkId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from casync_py.digest import Digest

WINDOW_ROWS = 2048  # 80 KiB a read; what is held does not depend on the length of the index

_END = Struct("<Q")
_pack_row = ROW.pack
_make_id: Callable[[bytes], ChunkId] = partial(bytes.__new__, ChunkId)


class Row(NamedTuple):
    """One chunk of the stream: its bytes are those from `start` up to `end`."""

    start: int
    end: int
    chunk_id: ChunkId


class _Window(NamedTuple):
    """Consecutive rows, checked: `first` is the position of the first one, `ends` has one offset more than `ids`."""

    first: int
    ends: list[int]
    ids: list[ChunkId]


class Index:
    """A sequence of `Row`, read from a file through bounded windows, each of them checked when it is read.

    Reading is by position (pread), so that threads may share an index, the descriptor's own position does not matter,
    and a file that is truncated meanwhile is a `FormatError`. Not a mapping: truncation would kill the process.

    Attributes:
        name: file name or URL, for messages.
        feature_flags: normalised; for a .caidx also those of every ENTRY of the archive.
        chunk_min, chunk_avg, chunk_max: chunk sizes that the stream was cut with; no chunk is longer than `chunk_max`.
        size: length of the stream in bytes.
    """

    def __init__(self, fd: int, name: str = "", *, close_fd: bool = True) -> None:
        """Take a descriptor of a regular file; `close()` closes it if `close_fd`.

        Raises:
            FormatError: not an index: header, limits, tail or file size are wrong; `name` is set.
        """
        self.name = name
        self._fd = fd
        self._close_fd = close_fd
        self._length = self._measure()
        try:
            header = parse_header(self._read(0, HEADER_SIZE))
            check_tail(self._read(self._position(self._length), c.TABLE_TAIL_SIZE), self._length)
        except FormatError as error:
            error.name = error.name or name or None
            raise
        self.feature_flags, self.chunk_min, self.chunk_avg, self.chunk_max = header
        self._window = _Window(0, [0], [])
        self.size = self._end_of(self._length - 1)
        if self.size > min(self._length * self.chunk_max, c.OFFSET_MAX):
            raise self._error(
                f"Stream of {self.size} bytes in only {self._length} chunks", self._position(self._length - 1)
            )

    @property
    def digest(self) -> Digest:
        """The digest that the chunk ids are of."""
        return digest_of_flags(self.feature_flags)

    @classmethod
    def open(cls, path: str | bytes | os.PathLike[str] | int, name: str = "") -> Self:
        """Open the index at a path, or behind a descriptor, which then belongs to the index.

        Raises:
            OSError: the file cannot be opened.
            FormatError: it is no index; nothing is left open.
        """
        fd = path if isinstance(path, int) else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if not name:
            name = f"descriptor {path}" if isinstance(path, int) else os.fsdecode(path)
        try:
            return cls(fd, name)
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        """Release the descriptor; twice is fine."""
        if self._close_fd and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Row:
        """The row at a position, negative ones counted from the end.

        Raises:
            IndexError: there are fewer rows.
            FormatError: the rows around it are damaged.
        """
        if position < 0:
            position += self._length
        if not 0 <= position < self._length:
            raise IndexError(f"{self.name}: No row {position} among {self._length}")
        window = self._load(position)
        at = position - window.first
        return Row(window.ends[at], window.ends[at + 1], window.ids[at])

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """The rows from `start` up to `stop` (None: all that follow)."""
        stop = self._length if stop is None else min(stop, self._length)
        while start < stop:
            window = self._load(start)
            at = start - window.first
            count = min(len(window.ids) - at, stop - start)
            yield from map(
                Row, window.ends[at : at + count], window.ends[at + 1 : at + count + 1], window.ids[at : at + count]
            )
            start += count

    def ids(self, start: int = 0, stop: int | None = None) -> list[ChunkId]:
        """The chunk ids from row `start` up to row `stop`: a list as long as the caller asks for."""
        stop = self._length if stop is None else min(stop, self._length)
        parts: list[list[ChunkId]] = []
        while start < stop:
            window = self._load(start)
            part = window.ids[start - window.first : stop - window.first]
            parts.append(part)
            start += len(part)
        return list(chain.from_iterable(parts))

    def find(self, offset: int) -> int:
        """Position of the row that holds the stream's byte at `offset`.

        Raises:
            IndexError: the stream is shorter.
            FormatError: the rows that were looked at are damaged.
        """
        if not 0 <= offset < self.size:
            raise IndexError(f"{self.name}: No byte {offset} in a stream of {self.size}")
        window = self._window
        if not window.ends[0] <= offset < window.ends[-1]:
            low, high = 0, self._length - 1
            while low < high:
                middle = (low + high) // 2
                if self._end_of(middle) <= offset:
                    low = middle + 1
                else:
                    high = middle
            window = self._load(low)
        position = window.first + bisect_right(window.ends, offset) - 1
        if not window.first <= position < window.first + len(window.ids):
            raise self._error("Index changed while it was read", self._position(window.first))
        return position

    def _measure(self) -> int:
        """Number of rows, by the file's size."""
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise self._error("Not a regular file")
        rows, rest = divmod(status.st_size - OVERHEAD, c.TABLE_ITEM_SIZE)
        if rows < 0 or rest:
            raise self._error(f"No index has {status.st_size} bytes")
        return rows

    def _position(self, row: int) -> int:
        """Place of a row in the file."""
        return HEADER_SIZE + row * c.TABLE_ITEM_SIZE

    def _end_of(self, row: int) -> int:
        """End offset of a row, unchecked; 0 before the first row."""
        if row < 0:
            return 0
        return int(_END.unpack(self._read(self._position(row), _END.size))[0])

    def _load(self, row: int) -> _Window:
        """The window around a row."""
        window = self._window
        if not window.first <= row < window.first + len(window.ids):
            window = self._window = self._read_window(row - row % WINDOW_ROWS)
        return window

    def _read_window(self, first: int) -> _Window:
        count = min(WINDOW_ROWS, self._length - first)
        raw = self._read(self._position(first), count * c.TABLE_ITEM_SIZE)
        before = self._end_of(first - 1)
        offsets, ids = zip(*ROW.iter_unpack(raw), strict=True)
        ends = [before, *offsets]
        lengths = list(map(sub, offsets, ends))
        if min(lengths) <= 0 or max(lengths) > self.chunk_max:
            wrong = next(i for i, length in enumerate(lengths) if not 0 < length <= self.chunk_max)
            raise self._error(f"Chunk of {lengths[wrong]} bytes", self._position(first + wrong))
        return _Window(first, ends, list(map(_make_id, ids)))

    def _read(self, position: int, size: int) -> bytes:
        data = os.pread(self._fd, size, position)
        while len(data) < size:
            more = os.pread(self._fd, size - len(data), position + len(data))
            if not more:
                raise self._error("Index ends early", position + len(data))
            data += more
        return data

    def _error(self, reason: str, offset: int | None = None) -> FormatError:
        return FormatError(reason, offset, self.name or None)


class IndexWriter:
    """Writes an index row by row; the rows are passed on in blocks, the tail by `finish()`."""

    def __init__(self, write: Callable[[bytes], object], feature_flags: int, params: tuple[int, int, int]) -> None:
        """Write the header.

        Args:
            write: takes bytes and writes all of them: a binary file's `write`, or `partial(write_all, fd)`.
            params: smallest, average and largest chunk size.
        """
        smallest, average, largest = params
        if not 1 <= smallest <= average <= largest <= c.CHUNK_SIZE_MAX:
            raise ValueError(f"Impossible chunk sizes {params}")
        self._write = write
        self._rows = 0
        self._end = 0
        self._buffer = bytearray(pack_header(IndexHeader(feature_flags, smallest, average, largest)))

    def append(self, end: int, chunk_id: bytes) -> None:
        """Add the next chunk: where it ends in the stream, and its 32-byte id."""
        if end <= self._end or len(chunk_id) != 32:
            raise ValueError(f"No row can follow {self._end} with {end} and an id of {len(chunk_id)} bytes")
        self._end = end
        self._rows += 1
        buffer = self._buffer
        buffer += _pack_row(end, chunk_id)
        if len(buffer) >= 65536:
            self.flush()

    def flush(self) -> None:
        """Pass on what is buffered, for whoever reads along."""
        self._write(bytes(self._buffer))
        self._buffer.clear()

    def finish(self) -> None:
        """Write what is left and the tail; call it once."""
        self._buffer += pack_tail(self._rows)
        self.flush()
