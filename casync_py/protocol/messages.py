"""The messages and their wire form. Source: casync caprotocol.h; EXAMINED is this package's own.

A message is a header (size of all, type; both u64, little endian) and a body. `wire_parts()` gives a message as bytes
and the data that follows them, uncopied; `parse(body)` takes a body whose size `BOUNDS` allows.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

from casync_py.errors import ProtocolError
from casync_py.ids import ID_SIZE, ChunkId

if TYPE_CHECKING:
    from collections.abc import Sequence

MESSAGE_MAX = 16 * 1024 * 1024  # caprotocol.h, CA_PROTOCOL_SIZE_MAX
HEADER_SIZE = 16
STREAM_DATA_MAX = MESSAGE_MAX - HEADER_SIZE
CHUNK_DATA_MAX = MESSAGE_MAX - HEADER_SIZE - 8 - ID_SIZE
REQUEST_IDS_MAX = 2048  # casync closes a REQUEST once it has 65536 bytes
OUTSTANDING_MAX = 65536
ABORT_REASON_MAX = 4096
ERRNO_MAX = (1 << 31) - 1  # caprotocol.c: an error number is below it

HELLO = 0x3C71D0948CA5FBEE
INDEX = 0xB32A91DD2B3E27F8
INDEX_EOF = 0x4F0932F1043718F5
ARCHIVE = 0x95D6428A69EDDCC5
ARCHIVE_EOF = 0x450BEF663F24CBAD
REQUEST = 0x8AB427E0F89D9210
CHUNK = 0x5213DD180A84BC8C
MISSING = 0xD010F9FAC82B7B6C
GOODBYE = 0xAD205DBF1A3686C3
ABORT = 0xE7D9136B7EFEA352
EXAMINED = 0x8E3B1F6A52C9D074

REQUEST_URGENT = 1  # caprotocol.h, CA_PROTOCOL_REQUEST_HIGH_PRIORITY
REQUEST_UNANSWERED = 2  # this package's own: only those ids whose answer has not been sent yet
CHUNK_COMPRESSED = 1  # caprotocol.h, CA_PROTOCOL_CHUNK_COMPRESSED

_header = Struct("<QQ").pack
_header_number = Struct("<QQQ").pack
_header_number_id = Struct("<QQQ32s").pack
_number = Struct("<Q").unpack_from
_new_id = bytes.__new__  # the length is right by construction, and ChunkId's own check costs as much as all the rest


class Hello(NamedTuple):
    """Flags of `protocol.flags`; a connection sends those that it was made with, whatever stands here."""

    flags: int = 0

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        return _header_number(24, HELLO, self.flags), b""

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Hello:
        return cls(_number(body)[0])


class IndexData(NamedTuple):
    """The next piece of the index file."""

    data: bytes | memoryview

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        return _header(HEADER_SIZE + len(self.data), INDEX), self.data

    @classmethod
    def parse(cls, body: bytes | memoryview) -> IndexData:
        return cls(body)


class IndexEnd(NamedTuple):
    """The index is complete."""

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        return _header(HEADER_SIZE, INDEX_EOF), b""

    @classmethod
    def parse(cls, _body: bytes | memoryview) -> IndexEnd:
        return cls()


class ArchiveData(NamedTuple):
    """The next piece of the archive's or blob's stream."""

    data: bytes | memoryview

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        return _header(HEADER_SIZE + len(self.data), ARCHIVE), self.data

    @classmethod
    def parse(cls, body: bytes | memoryview) -> ArchiveData:
        return cls(body)


class ArchiveEnd(NamedTuple):
    """The archive or blob is complete."""

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        return _header(HEADER_SIZE, ARCHIVE_EOF), b""

    @classmethod
    def parse(cls, _body: bytes | memoryview) -> ArchiveEnd:
        return cls()


class Request(NamedTuple):
    """Send me these chunks; urgent ones before the others.

    `unanswered` is set and read by the connection: in the dialect of two ends of this package, ids that were asked for
    before are marked as such, so that an answer that is on its way already is not sent twice.
    """

    ids: Sequence[ChunkId]
    urgent: bool = False
    unanswered: bool = False

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        flags = (REQUEST_URGENT if self.urgent else 0) | (REQUEST_UNANSWERED if self.unanswered else 0)
        return _header_number(24 + ID_SIZE * len(self.ids), REQUEST, flags) + b"".join(self.ids), b""

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Request:
        (flags,) = _number(body)
        if flags & ~(REQUEST_URGENT | REQUEST_UNANSWERED):
            _refuse(f"REQUEST with flags {flags:#x}")
        if len(body) % ID_SIZE != 8:
            _refuse(f"REQUEST of {HEADER_SIZE + len(body)} bytes")
        raw = bytes(body)
        ids = [_new_id(ChunkId, raw[start : start + ID_SIZE]) for start in range(8, len(raw), ID_SIZE)]
        return cls(ids, flags & REQUEST_URGENT != 0, flags & REQUEST_UNANSWERED != 0)


class ChunkData(NamedTuple):
    """A chunk that was requested: its plain content, or one xz, gzip or zstd stream of it."""

    chunk_id: ChunkId
    data: bytes | memoryview
    compressed: bool

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        return chunk_head(self.chunk_id, len(self.data), self.compressed), self.data

    @classmethod
    def parse(cls, body: bytes | memoryview) -> ChunkData:
        (flags,) = _number(body)
        if flags & ~CHUNK_COMPRESSED:
            _refuse(f"CHUNK with flags {flags:#x}")
        return cls(_new_id(ChunkId, body[8:40]), body[40:], flags == CHUNK_COMPRESSED)


class Missing(NamedTuple):
    """A chunk that was requested is not here."""

    chunk_id: ChunkId

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        return _header(HEADER_SIZE + ID_SIZE, MISSING) + self.chunk_id, b""

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Missing:
        return cls(ChunkId(body))


class Goodbye(NamedTuple):
    """The sender is done, and says so."""

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        return _header(HEADER_SIZE, GOODBYE), b""

    @classmethod
    def parse(cls, _body: bytes | memoryview) -> Goodbye:
        return cls()


class Abort(NamedTuple):
    """The sender gives up: error number (0: none) and one line that says why.

    On the wire the line has no control characters and no end of line; ours is made so, because an error about a file of
    a strange name must arrive too.
    """

    errno: int
    reason: str

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        reason = _one_line(self.reason).encode("utf-8", "replace")[:ABORT_REASON_MAX] + b"\0"
        return _header_number(24 + len(reason), ABORT, self.errno) + reason, b""

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Abort:
        (errno,) = _number(body)
        if errno >= ERRNO_MAX:
            _refuse(f"ABORT with error number {errno}")
        raw = bytes(body[8:])
        if raw.find(0) != len(raw) - 1 or any(byte < 0x20 or byte == 0x7F for byte in raw[:-1]):
            _refuse("ABORT with a reason that is no line of text")
        return cls(errno, _one_line(raw[:-1].decode("utf-8", "replace")))


class Examined(NamedTuple):
    """Push server to client, dialect only: of the first `rows` rows of your index I want only what I have asked for."""

    rows: int

    def wire_parts(self) -> tuple[bytes, bytes | memoryview]:
        return _header_number(24, EXAMINED, self.rows), b""

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Examined:
        return cls(_number(body)[0])


Message: TypeAlias = (
    Hello | IndexData | IndexEnd | ArchiveData | ArchiveEnd | Request | ChunkData | Missing | Goodbye | Abort | Examined
)


class Bound(NamedTuple):
    """Name, class and sizes (header included) of one type of message."""

    name: str
    kind: type[Message]
    floor: int
    ceiling: int


BOUNDS: dict[int, Bound] = {
    HELLO: Bound("HELLO", Hello, 24, 24),
    INDEX: Bound("INDEX", IndexData, 17, MESSAGE_MAX),
    INDEX_EOF: Bound("INDEX_EOF", IndexEnd, 16, 16),
    ARCHIVE: Bound("ARCHIVE", ArchiveData, 17, MESSAGE_MAX),
    ARCHIVE_EOF: Bound("ARCHIVE_EOF", ArchiveEnd, 16, 16),
    # casync takes requests up to the size of any message; nobody makes them longer than may be outstanding.
    REQUEST: Bound("REQUEST", Request, 24 + ID_SIZE, 24 + ID_SIZE * OUTSTANDING_MAX),
    CHUNK: Bound("CHUNK", ChunkData, 57, MESSAGE_MAX),
    MISSING: Bound("MISSING", Missing, 48, 48),
    GOODBYE: Bound("GOODBYE", Goodbye, 16, 16),
    ABORT: Bound("ABORT", Abort, 25, 64 * 1024),  # a line that is shown to a person
    EXAMINED: Bound("EXAMINED", Examined, 24, 24),
}

NAME_OF: dict[type[Message], str] = {bound.kind: bound.name for bound in BOUNDS.values()}


def chunk_head(chunk_id: ChunkId, size: int, compressed: bool) -> bytes:
    """What stands before the `size` bytes of a chunk in its CHUNK."""
    return _header_number_id(24 + ID_SIZE + size, CHUNK, CHUNK_COMPRESSED if compressed else 0, chunk_id)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _refuse(reason: str) -> NoReturn:
    raise ProtocolError(reason)
