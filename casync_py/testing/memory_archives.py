"""Archives in memory: content without files, a source that slices as told, a sink that collects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from casync_py.archive.decoder import decode
from casync_py.archive.encoder import encode
from casync_py.archive.nodes import Entry, Leave

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from casync_py.archive.nodes import Node, Payload


class MemoryPayload:
    """Content that is there already; a `Payload`."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._rest = memoryview(content)

    def read_into(self, view: memoryview) -> int:
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def pieces(self) -> Iterator[memoryview]:
        rest, self._rest = self._rest, self._rest[:0]
        if rest:
            yield rest


class PieceSource:
    """Bytes as a `ByteSource`, in the pieces that `steps` gives: their lengths, the last one used again and again.

    Attributes:
        skipped: bytes that were not wanted.
        pieces_read: how often something was read.
    """

    def __init__(self, data: bytes, steps: Iterable[int] = (1 << 30,)) -> None:
        self._data = data
        self._position = 0
        self._steps = iter(steps)
        self._step = 1
        self.skipped = 0
        self.pieces_read = 0

    def read(self) -> bytes:
        self._step = next(self._steps, self._step)
        piece = self._data[self._position : self._position + self._step]
        self._position += len(piece)
        self.pieces_read += 1
        return piece

    def skip(self, size: int, /) -> None:
        self._position += size
        self.skipped += size


class Collector:
    """A sink that keeps what it gets.

    Attributes:
        data: the archive so far.
    """

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> None:
        self.data += data

    def copy(self, payload: Payload, /) -> None:
        for piece in payload.pieces():
            self.data += piece


class Plain(NamedTuple):
    """An entry without its place in a stream: comparable."""

    path: bytes
    name: bytes
    node: Node
    content: bytes | None


def plain(entries: Iterable[Entry | Leave]) -> list[Plain | Leave]:
    """All entries with their content."""
    return [
        item
        if isinstance(item, Leave)
        else Plain(item.path, item.name, item.node, None if item.payload is None else b"".join(item.payload.pieces()))
        for item in entries
    ]


def with_payloads(entries: Iterable[Plain | Leave]) -> Iterator[Entry | Leave]:
    """The reverse of `plain`, as a scan would give it."""
    for item in entries:
        if isinstance(item, Leave):
            yield item
        else:
            content = None if item.content is None else MemoryPayload(item.content)
            yield Entry(item.path, item.name, item.node, content)


def encode_plain(entries: Iterable[Plain | Leave], features: int) -> bytes:
    """The archive of such entries."""
    sink = Collector()
    size = encode(with_payloads(entries), sink, features)
    assert size == len(sink.data)
    return bytes(sink.data)


def decode_plain(data: bytes, steps: Iterable[int] = (1 << 30,)) -> list[Plain | Leave]:
    """The entries of an archive."""
    return plain(decode(PieceSource(data, steps)))
