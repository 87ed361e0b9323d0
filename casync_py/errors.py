"""The few errors that casync_py raises, each a decision for whoever catches it.

Hostile or damaged bytes raise only `FormatError` and `ProtocolError`; a missing chunk sends the reader to the next
store; an invalid one is discarded; after a `PeerError` the connection is over; `UsageError` is the caller's mistake.
What the operating system refuses stays an `OSError`, with the object's path in `filename`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casync_py.ids import ChunkId


class CasyncError(Exception):
    """Base of all errors of this package; `str()` is one line that names the object and the cause."""


class UsageError(CasyncError):
    """The caller asked for something that makes no sense or that is not offered."""


class FormatError(CasyncError):
    """Bytes that are no valid archive, index or chunk.

    `reason` says what is wrong, `offset` where in the stream (None where no offset makes sense), `name` in which
    file or URL (set by whoever knows it, often later than the error was raised).
    """

    def __init__(self, reason: str, offset: int | None = None, name: str | None = None) -> None:
        super().__init__(reason, offset, name)
        self.reason = reason
        self.offset = offset
        self.name = name

    def __str__(self) -> str:
        where = f" at offset {self.offset}" if self.offset is not None else ""
        return f"{self.name}: {self.reason}{where}" if self.name else f"{self.reason}{where}"


class ChunkMissing(CasyncError):
    """No store that was asked has the chunk; `where` names the store or stores."""

    def __init__(self, chunk_id: ChunkId, where: str = "") -> None:
        super().__init__(chunk_id, where)
        self.chunk_id = chunk_id
        self.where = where

    def __str__(self) -> str:
        return f"Chunk {self.chunk_id.hex()} is missing" + (f" from {self.where}" if self.where else "")


class ChunkInvalid(CasyncError):
    """A chunk was found, but its content does not match its id or cannot be decompressed."""

    def __init__(self, chunk_id: ChunkId, reason: str, where: str = "") -> None:
        super().__init__(chunk_id, reason, where)
        self.chunk_id = chunk_id
        self.reason = reason
        self.where = where

    def __str__(self) -> str:
        return (
            f"Chunk {self.chunk_id.hex()}" + (f" in {self.where}" if self.where else "") + f" is invalid: {self.reason}"
        )


class SourceChanged(CasyncError):
    """A file changed while it was read, so that what was read is no state that the file ever had."""


class PeerError(CasyncError):
    """The other end of a connection failed us: it is gone, it is silent, or it told us that it gives up.

    `reason` says what happened, `name` names the other end (set by whoever knows it, often later than the error was
    raised).
    """

    def __init__(self, reason: str, name: str | None = None) -> None:
        super().__init__(reason, name)
        self.reason = reason
        self.name = name

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.name else self.reason


class ProtocolError(PeerError):
    """The other end broke the protocol: what it sent is no message, or none that may be sent at that point."""
