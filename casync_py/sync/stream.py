"""Where a decoder's bytes come from: an archive file, or an index whose chunks are fetched ahead."""

from __future__ import annotations

import os
import stat
from struct import unpack_from
from typing import TYPE_CHECKING, Protocol

from casync_py.archive.stream import ByteSource
from casync_py.errors import ChunkInvalid, ChunkMissing, FormatError, UsageError
from casync_py.files import STANDARD_STREAM, STDIN
from casync_py.format.constants import ENTRY, ENTRY_SIZE, HEADER_SIZE
from casync_py.format.flags import check
from casync_py.sync.rows import RowIds, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.format.index import Index
    from casync_py.monitor import Monitor
    from casync_py.store.base import ChunkStream, Store

_READ_SIZE = 1 << 20
_FIRST_WINDOW = 64  # rows asked for at first; a reader that skips much is not served what it will not take
_DRAINED = 16  # rows; that many fetched for nothing cost less than starting to fetch anew


class ArchiveSource(ByteSource, Protocol):
    """An archive's bytes that someone has opened and closes."""

    name: str

    def close(self) -> None:
        """Release it; twice is fine."""


class FileStream:
    """An archive in a file (or on standard input, for `-`), read once in order."""

    def __init__(self, path: str) -> None:
        """Open it.

        Raises:
            OSError: absent or unreadable.
            UsageError: a directory.
        """
        self._standard = path == STANDARD_STREAM
        self.name = "standard input" if self._standard else path
        self._fd = STDIN if self._standard else os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        status = os.fstat(self._fd)
        if stat.S_ISDIR(status.st_mode):
            self.close()
            raise UsageError(f"{path}: Is a directory, not an archive")
        self._size = status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self) -> bytes:
        return os.read(self._fd, _READ_SIZE)

    def skip(self, count: int) -> None:
        if self._size is not None:
            at = os.lseek(self._fd, 0, os.SEEK_CUR)
            # Never past the end: what is missing there must be noticed as missing.
            os.lseek(self._fd, min(at + count, self._size), os.SEEK_SET)
            count -= self._size - at
        while self._size is None and count > 0:
            piece = os.read(self._fd, min(count, _READ_SIZE))
            if not piece:
                return
            count -= len(piece)

    def close(self) -> None:
        if self._fd >= 0 and not self._standard:
            os.close(self._fd)
        self._fd = -1


class ArchiveStart:
    """An archive whose feature flags are looked at before it is decoded; itself the source for the decoder.

    Attributes:
        features: the flags of the first ENTRY, checked.
    """

    def __init__(self, source: ArchiveSource, monitor: Monitor) -> None:
        """Read the first ENTRY of `source`, whose bytes are then counted in `monitor.done`.

        Raises:
            FormatError: there is none; `name` is set.
        """
        self._source = source
        self._monitor = monitor
        head = b""
        while len(head) < ENTRY_SIZE and (piece := source.read()):
            head += piece
        self._head = head
        try:
            if len(head) < ENTRY_SIZE:
                raise FormatError("Too short for an archive", len(head))
            kind, self.features = unpack_from("<8xQQ", head)
            if kind != ENTRY:
                raise FormatError("Not an archive", 0)
            check(self.features, HEADER_SIZE)
        except FormatError as error:
            error.name = source.name
            raise

    def read(self) -> bytes | memoryview:
        piece: bytes | memoryview
        if self._head:
            piece, self._head = self._head, b""
        else:
            piece = self._source.read()
        self._monitor.done += len(piece)
        return piece

    def skip(self, size: int, /) -> None:
        self._monitor.done += size
        self._source.skip(size)


class IndexStream:
    """The stream that an index describes: chunks in order, fetched ahead, each of the length that its row says.

    Attributes:
        index, monitor: as given.
    """

    def __init__(self, index: Index, store: Store, budget: int, monitor: Monitor) -> None:
        """`store` hands out verified chunks; index and store stay the caller's."""
        self.name = index.name
        self.index = index
        self.monitor = monitor
        self._store = store
        self._budget = budget
        self._next = 0  # row that `_stream` delivers next
        self._reads_on = False  # a first window was read to its end: the rest is asked for at once
        self._window_end = 0
        self._stream: ChunkStream | None = None
        self._lead = 0  # bytes of the next chunk that were skipped already

    def read(self) -> bytes | memoryview:
        if self._next >= len(self.index):
            return b""
        if self._stream is None or self._next >= self._window_end:
            self._open_window()
        start, end, _ = self.index[self._next]
        plain = self._take(end - start)
        self._next += 1
        self.monitor.done = end
        if self._lead:
            plain = memoryview(plain)[self._lead :]
            self._lead = 0
        return plain

    def pieces(self, rows: Rows) -> Iterator[tuple[int, bytes | memoryview]]:
        """Instead of reading in order: (offset, bytes) of each of some rows, asked for all at once."""
        self._fetch(rows)
        for start, end, _ in rows.of(self.index):
            plain = self._take(end - start)
            self.monitor.done += end - start
            yield start, plain

    def _open_window(self) -> None:
        self.close()
        rows = len(self.index)
        self._window_end = rows if self._reads_on else min(self._next + _FIRST_WINDOW, rows)
        self._reads_on = True
        self._fetch(Rows(self._next, self._window_end))

    def _fetch(self, rows: Rows) -> None:
        self._stream = self._store.get_many(RowIds(self.index, rows), self._budget)

    def _take(self, size: int) -> bytes | memoryview:
        assert self._stream is not None
        chunk_id, found = next(self._stream)
        if isinstance(found, ChunkMissing):
            raise found
        plain = found.plain(size)
        if len(plain) != size:
            raise ChunkInvalid(chunk_id, f"Has {len(plain)} bytes where the index says {size}", self._store.name)
        monitor = self.monitor
        if found.reused:
            monitor.chunks_reused += 1
            monitor.bytes_reused += size
        else:
            monitor.chunks_new += 1
            monitor.bytes_new += size
        return plain

    def skip(self, count: int) -> None:
        """Leave out bytes; chunks that lie wholly in them are not fetched (but for those under way already)."""
        if self._next >= len(self.index) or not count:
            return
        at = self.index[self._next].start + self._lead + count
        if at >= self.index.size:
            self._next = len(self.index)
            return
        row = self.index.find(at)
        if row < self._window_end and row - self._next <= _DRAINED and self._stream is not None:
            while self._next < row:
                next(self._stream)
                self._next += 1
        elif row != self._next:
            self.close()
            self._next = row
            self._reads_on = False
        self._lead = at - self.index[row].start

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
