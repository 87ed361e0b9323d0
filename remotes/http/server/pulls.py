"""The answer to a PULL, piece by piece, as its chunks are read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casync_py.compression import DEFAULT_COMPRESSION, MAX_CHUNK_SIZE, NO_COMPRESSION, stored_limit
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.protocol.messages import CHUNK_DATA_MAX, Abort, Missing, chunk_head
from casync_py.protocol.posted import FAREWELL, Exchange, Side, greeting
from casync_py.remotes.http.server.reading import AT_ONCE, file_pieces
from casync_py.store.chunk import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casync_py.ids import ChunkId
    from casync_py.remotes.http.server.calls import Pieces
    from casync_py.remotes.http.server.sources import Source


class PullPieces:
    """Reads the chunks of one PULL. Nothing is decompressed or verified: what is damaged here, the client finds out."""

    def __init__(
        self,
        local: Source,
        ids: Sequence[ChunkId],
        piece_size: Callable[[], int],
        tell: Callable[[str], None],
        shown: str,
    ) -> None:
        """Prepare.

        Args:
            tell: told, in a thread, of chunks that are there and cannot be used.
            shown: the store's path in URLs.
        """
        self._local = local
        self._ids = ids
        self._piece_size = piece_size
        self._tell = tell
        self._shown = shown

    def all(self) -> Pieces:
        """The whole body."""
        parts: list[bytes | memoryview] = [greeting(Exchange.PULL, Side.SERVER)]
        size, wanted = 0, self._piece_size()
        get = self._local.get
        try:
            for chunk_id in self._ids:
                try:
                    chunk = get(chunk_id, AT_ONCE)
                except ChunkMissing:
                    parts.append(_missing(chunk_id))
                except ChunkInvalid:
                    yield b"".join(parts)
                    parts, size = [], 0
                    yield from self._large(chunk_id)
                else:
                    stored = chunk.stored(NO_COMPRESSION)
                    data = chunk.plain() if stored is None else stored
                    parts += (chunk_head(chunk_id, len(data), stored is not None), data)
                    size += len(data)
                    if size >= wanted:
                        yield b"".join(parts)
                        parts, size, wanted = [], 0, self._piece_size()
        except OSError as error:
            parts += Abort(error.errno or 0, f"{self._shown}: {error.strerror}").wire_parts()
        else:
            parts.append(FAREWELL)
        yield b"".join(parts)

    def _large(self, chunk_id: ChunkId) -> Pieces:
        """A chunk that is too large to be read at once."""
        try:
            fd, size, compressed = self._local.open_chunk(chunk_id)
        except ChunkMissing:
            yield _missing(chunk_id)
            return
        except ChunkInvalid as error:
            yield self._unusable(chunk_id, error.reason)
            return
        try:
            if size <= CHUNK_DATA_MAX:
                yield chunk_head(chunk_id, size, compressed)
                yield from file_pieces(fd, 0, size, self._piece_size)
            elif compressed or size > stored_limit(MAX_CHUNK_SIZE):
                yield self._unusable(chunk_id, f"It has {size} bytes, more than can be sent")
            else:
                yield b""  # a turn of its own
                yield from self._compressed(chunk_id, fd, size)
        finally:
            os.close(fd)

    def _compressed(self, chunk_id: ChunkId, fd: int, size: int) -> Pieces:
        stored = Chunk(chunk_id, plain=os.pread(fd, size, 0)).stored(DEFAULT_COMPRESSION)
        if stored is None or len(stored) > CHUNK_DATA_MAX:
            yield self._unusable(chunk_id, f"It has {size} bytes, more than can be sent")
        else:
            yield chunk_head(chunk_id, len(stored), True) + stored

    def _unusable(self, chunk_id: ChunkId, reason: str) -> bytes:
        self._tell(f"Chunk {chunk_id} in {self._shown} is invalid: {reason}")
        return _missing(chunk_id)


def _missing(chunk_id: ChunkId) -> bytes:
    return Missing(chunk_id).wire_parts()[0]
