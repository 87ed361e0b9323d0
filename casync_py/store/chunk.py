"""A chunk in memory: plain form, stored form, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE, Compression, detect
from casync_py.errors import ChunkInvalid, FormatError

if TYPE_CHECKING:
    from casync_py.ids import ChunkId


class Chunk:
    """A chunk id with its content in plain form, stored form (one compressed stream), or both.

    Each form is made from the other when it is first asked for and then kept; nothing is compressed twice. A chunk
    from outside is *not* verified until `verified()` of `store.verify` has seen it.

    Attributes:
        reused: it came out of a store cache, so that nothing was fetched.
    """

    __slots__ = ("_plain", "_stored", "chunk_id", "reused")

    def __init__(
        self, chunk_id: ChunkId, *, plain: bytes | memoryview | None = None, stored: bytes | None = None
    ) -> None:
        if plain is None and stored is None:
            raise ValueError("A chunk needs its plain or its stored form")
        self.chunk_id = chunk_id
        self._plain = plain
        self._stored = stored
        self.reused = False

    def plain(self, limit: int = MAX_CHUNK_SIZE) -> bytes | memoryview:
        """The plain content.

        Raises:
            ChunkInvalid: it cannot be decompressed, or has more than `limit` bytes.
        """
        if self._plain is None:
            stored = self._stored
            assert stored is not None
            compressor = detect(stored)
            if compressor is None:
                raise ChunkInvalid(self.chunk_id, "Not a compressed stream")
            try:
                self._plain = compressor.decompress(stored, limit)
            except FormatError as error:
                raise ChunkInvalid(self.chunk_id, str(error)) from error
        if len(self._plain) > limit:
            raise ChunkInvalid(self.chunk_id, f"Has {len(self._plain)} bytes, more than {limit}")
        return self._plain

    def stored(self, compression: Compression) -> bytes | None:
        """The compressed stream: the one it came with, whatever its format, else a new one; None for no compression."""
        if self._stored is None and compression.compressor is not None:
            assert self._plain is not None
            self._stored = compression.compressor.compress(self._plain, compression.level)
        return self._stored

    @property
    def is_stored(self) -> bool:
        """Whether there is a compressed stream already."""
        return self._stored is not None

    @property
    def stored_size(self) -> int:
        """Bytes that it takes in a store: of the compressed stream where there is one, else of the plain form."""
        form = self._stored if self._stored is not None else self._plain
        return len(form) if form is not None else 0

    @property
    def memory(self) -> int:
        """Bytes of the forms that are held."""
        return len(self._plain or b"") + len(self._stored or b"")

    def owned(self) -> Chunk:
        """A chunk with the same forms that shares no buffer with whoever made this one."""
        return Chunk(self.chunk_id, plain=None if self._plain is None else bytes(self._plain), stored=self._stored)
