"""An archive's records as they come from a source, and the content of files as a part of that stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from casync_py.errors import FormatError
from casync_py.format.reader import RecordReader
from casync_py.format.records import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casync_py.archive.nodes import Node

    Files = tuple[list[bytes], list[int], list[memoryview]]
    FollowingFiles = Callable[[Node, int, int], Files]


class ByteSource(Protocol):
    """Where an archive comes from: a .catar file, or an index with a store."""

    def read(self) -> bytes | memoryview:
        """The next piece of the stream, of any size, empty at the end. It must stay as it is while it is in use."""

    def skip(self, size: int, /) -> None:
        """The next `size` bytes are not wanted: `read` goes on behind them. That the stream ends before is told by
        the next `read`."""


class RecordStream:
    """Pulls from a source what a `RecordReader` asks for.

    Attributes:
        start: where in the archive the current record stands.
    """

    __slots__ = ("_name", "reader", "source", "start")

    def __init__(self, source: ByteSource, offset: int, name: str) -> None:
        self.source = source
        self.reader = RecordReader(RECORDS, offset)
        self.start = offset
        self._name = name or None

    def next(self) -> int:
        """Read the next record's header and return its type."""
        reader = self.reader
        self.start = reader.offset
        header = reader.header()
        while header is None:
            self.fill()
            header = reader.header()
        return header[0]

    def body(self) -> bytes:
        """The whole body of the current record."""
        body = self.reader.body()
        while body is None:
            self.fill()
            body = self.reader.body()
        return bytes(body)

    def fill(self) -> None:
        """Get the next piece.

        Raises:
            FormatError: there is none.
        """
        data = self.source.read()
        if not data:
            raise self.error("Archive ends early", self.reader.offset + self.reader.buffered)
        self.reader.feed(data)

    def skip_body(self) -> None:
        """Leave out what was not read of the current record."""
        missing = self.reader.skip()
        if missing:
            self.source.skip(missing)

    def at_end(self) -> bool:
        """Whether the source has nothing more."""
        return not self.reader.buffered and not self.source.read()

    def error(self, reason: str, offset: int | None = None) -> FormatError:
        """An error at `offset`, at the current record where None."""
        return FormatError(reason, self.start if offset is None else offset, self._name)


class StreamPayload:
    """The content of the regular file that the stream is at; a `Payload`.

    Attributes:
        size: of the whole content.
    """

    __slots__ = ("_following", "_stream", "size")

    def __init__(self, stream: RecordStream, size: int, following: FollowingFiles) -> None:
        self._stream: RecordStream | None = stream
        self._following = following
        self.size = size

    def following_files(self, node: Node, latest_ns: int, largest: int) -> Files:
        """Take the files that follow at once and share all metadata with this one but their times, as far as they are
        at hand: it is as if an entry had been asked for and read for each. For whoever has read this content and can do
        the same with all of them.

        Args:
            node: of this entry.
            latest_ns: none has a later time.
            largest: none has more bytes of content.

        Returns:
            Names, times in ns, and contents as slices of one buffer of the source; empty lists where no such file
            follows.
        """
        stream = self._stream
        if stream is None or stream.reader.left:
            return [], [], []
        return self._following(node, latest_ns, largest)

    def read_into(self, view: memoryview) -> int:
        """Fill the front of `view`, at least one byte while any is left; 0 only at the end.

        Raises:
            FormatError: the archive ends before the content does.
            ValueError: the stream has moved on to another entry.
        """
        piece = self._piece(len(view))
        size = len(piece)
        view[:size] = piece
        return size

    def whole(self) -> memoryview | None:
        """All content at once, where it lies in one buffer and none of it was taken yet; valid as a piece is."""
        reader = self._stream.reader if self._stream is not None else None
        if reader is None or reader.left != self.size or reader.end - reader.position < self.size:
            return None
        return reader.piece(self.size)

    def pieces(self) -> Iterator[memoryview]:
        """All remaining content, as views of the source's own buffers, each valid until the next one is asked for.

        Raises:
            FormatError, ValueError: as `read_into`.
        """
        while piece := self._piece(self.size):
            yield piece

    def close(self) -> None:
        """The stream moves on."""
        self._stream = None

    def _piece(self, limit: int) -> memoryview:
        stream = self._stream
        if stream is None:
            raise ValueError("The archive was read on; this content is gone")
        reader = stream.reader
        while not (piece := reader.piece(limit)) and reader.left and limit:
            stream.fill()
        return piece
