"""An index that a client sends: checked while it comes, written aside, and given its name when its chunks are there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casync_py.errors import FormatError
from casync_py.files import AtomicFile, unnamed_file, write_all
from casync_py.format import constants as c
from casync_py.format.constants import TRAVELLING_INDEX_MAX
from casync_py.format.index_layout import HEADER_SIZE, ROW
from casync_py.format.index_rows import IndexRows
from casync_py.ids import ChunkId

if TYPE_CHECKING:
    from casync_py.format.index_layout import IndexHeader


class ReceivedIndex:
    """Rows on their way to a file. One thread feeds, another may read the rows that have come."""

    def __init__(self, path: str | None) -> None:
        """Begin an index that will be at `path`; None: it is kept only while this object lives.

        Raises:
            OSError: it cannot be written there.
        """
        self.name = path or "Index"
        self._file = AtomicFile(path) if path is not None else None
        self._fd = self._file.fd if self._file is not None else unnamed_file()
        self._rows = IndexRows()
        self._size = 0

    @property
    def rows(self) -> int:
        """How many rows are there to be read."""
        return self._rows.rows

    @property
    def header(self) -> IndexHeader:
        """To be asked for once there are rows."""
        assert self._rows.header is not None, "no row comes before the header"
        return self._rows.header

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next piece.

        Raises:
            FormatError: it cannot follow what came before, or the index is too large.
            OSError: it cannot be written.
        """
        self._size += len(data)
        if self._size > TRAVELLING_INDEX_MAX:
            raise FormatError(f"Index of more than {TRAVELLING_INDEX_MAX} bytes", None, self.name)
        write_all(self._fd, data)  # before its rows count as there
        try:
            self._rows.feed(data)
        except FormatError as error:
            error.name = self.name
            raise

    def finish(self) -> None:
        """The last piece has come.

        Raises:
            FormatError: the index is not complete.
        """
        try:
            self._rows.finish()
        except FormatError as error:
            error.name = self.name
            raise

    def read(self, first: int, count: int) -> dict[ChunkId, int]:
        """The chunks of `count` rows with their lengths, each chunk once."""
        row_size = c.TABLE_ITEM_SIZE
        start = 0 if first == 0 else ROW.unpack(os.pread(self._fd, row_size, HEADER_SIZE + (first - 1) * row_size))[0]
        chunks: dict[ChunkId, int] = {}
        for end, raw in ROW.iter_unpack(os.pread(self._fd, count * row_size, HEADER_SIZE + first * row_size)):
            chunks[ChunkId(raw)] = end - start
            start = end
        return chunks

    def commit(self) -> None:
        """Sync it and give it its name."""
        if self._file is not None:
            self._file.commit()

    def abort(self) -> None:
        """Remove what came; harmless after `commit()`."""
        if self._file is not None:
            self._file.abort()
        elif self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
