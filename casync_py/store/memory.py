"""A store in memory: the contract's simplest implementation, for tests and small tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import ChunkMissing
from casync_py.store.base import DEFAULT_BUDGET
from casync_py.store.fetch import fetch_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream
    from casync_py.store.chunk import Chunk


class MemoryStore:
    """Chunks in a dict, writable and prunable. Thread-safe because each operation is one of the dict's."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self._chunks: dict[ChunkId, Chunk] = {}

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:  # noqa: ARG002 - it is in memory already
        """Return the chunk.

        Raises:
            ChunkMissing: it was never put, or removed.
        """
        try:
            return self._chunks[chunk_id].owned()
        except KeyError:
            raise ChunkMissing(chunk_id, self.name) from None

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:
        """Chunks in the order asked for; one thread, since nothing has to be waited for."""
        return fetch_ahead(self.get, ids, budget, jobs=1)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether the chunk is there."""
        return [chunk_id in self._chunks for chunk_id in ids]

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        """As `has_many`: nothing ages here."""
        return self.has_many(ids)

    def put(self, chunk: Chunk) -> bool:
        """Add a chunk; False if it was there already."""
        mine = chunk.owned()
        return self._chunks.setdefault(chunk.chunk_id, mine) is mine

    def flush(self) -> None:
        """Nothing to do: it lasts as long as the object."""

    def iter_ids(self) -> Iterator[ChunkId]:
        """All chunks, as they are at the time of the call."""
        return iter(list(self._chunks))

    def remove(self, chunk_id: ChunkId) -> int:
        """Remove a chunk; the bytes freed, 0 if it was not there."""
        chunk = self._chunks.pop(chunk_id, None)
        return 0 if chunk is None else chunk.memory

    def close(self) -> None:
        """Nothing to release; the chunks stay."""
