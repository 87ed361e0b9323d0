"""Archives in memory: content without files, a source that slices as told, a sink that collects."""

from __future__ import annotations

from stat import S_IFDIR, S_IFREG
from typing import TYPE_CHECKING, NamedTuple

from casync_py.archive.decoder import decode
from casync_py.archive.encoder import encode
from casync_py.archive.nodes import Entry, Leave, Node
from casync_py.archive.stream import StreamPayload
from casync_py.digest import SHA512_256_FLAG
from casync_py.format.flags import Feature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from casync_py.archive.nodes import Payload


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


def plain_in_runs(entries: Iterable[Entry | Leave], largest: int = 1 << 20) -> Iterator[Plain | Leave]:
    """The same for a decoder's entries, where files that share metadata are taken in one step."""
    for item in entries:
        yield from plain((item,))
        if isinstance(item, Entry) and isinstance(item.payload, StreamPayload):
            top = item.path[: len(item.path) - len(item.name)]
            for name, mtime_ns, content in zip(*item.payload.following_files(item.node, 1 << 64, largest), strict=True):
                node = item.node._replace(mtime_ns=mtime_ns, size=len(content))
                yield Plain(top + name, name, node, bytes(content))


def with_payloads(entries: Iterable[Plain | Leave]) -> Iterator[Entry | Leave]:
    """The reverse of `plain`, as a scan would give it."""
    for item in entries:
        if isinstance(item, Leave):
            yield item
        else:
            content = None if item.content is None else MemoryPayload(item.content)
            yield Entry(item.path, item.name, item.node, content)


def alike_files(count: int) -> tuple[list[Plain | Leave], int]:
    """A directory of files with the same metadata but for their times, and feature flags to encode it with."""
    top = Node(S_IFDIR | 0o755, uid=1000, gid=100, mtime_ns=7 * 10**9, user=b"someone", group=b"users")
    tree: list[Plain | Leave] = [Plain(b"", b"", top, None)]
    for number in range(count):
        name, content = b"%04d" % number, b"%d" % number * (number % 3)
        node = top._replace(mode=S_IFREG | 0o644, mtime_ns=number * 10**9, size=len(content))
        tree.append(Plain(name, name, node, content))
    features = Feature.UIDS_32BIT | Feature.USER_NAMES | Feature.SEC_TIME | Feature.PERMISSIONS
    return [*tree, Leave(b"")], int(features | SHA512_256_FLAG)


def encode_plain(entries: Iterable[Plain | Leave], features: int) -> bytes:
    """The archive of such entries."""
    sink = Collector()
    size = encode(with_payloads(entries), sink, features)
    assert size == len(sink.data)
    return bytes(sink.data)


def decode_plain(data: bytes, steps: Iterable[int] = (1 << 30,)) -> list[Plain | Leave]:
    """The entries of an archive."""
    return plain(decode(PieceSource(data, steps)))


def decode_in_runs(data: bytes, steps: Iterable[int] = (1 << 30,)) -> list[Plain | Leave]:
    """The same, with files that share metadata taken in one step."""
    return list(plain_in_runs(decode(PieceSource(data, steps))))
