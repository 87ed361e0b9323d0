"""A store that counts what is asked of it, so that tests assert costs as numbers of calls instead of timing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.store.base import DEFAULT_BUDGET
from casync_py.store.fetch import fetch_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream, PrunableStore
    from casync_py.store.chunk import Chunk


class RecordingStore:
    """A store around a store; each list holds ids in the order in which they were asked for.

    Attributes:
        gets: chunks that were fetched, by `get` or `get_many`, missing ones included.
        asked: ids in `has_many`.
        recognised: ids in `recognise`.
        puts: chunks that were put and were new.
        puts_known: chunks that were put and turned out to be there.
        removed: ids in `remove`.
        flushes: number of calls.
        closed: whether `close` was called.
    """

    def __init__(self, store: PrunableStore) -> None:
        self.name = store.name
        self.store = store
        self.gets: list[ChunkId] = []
        self.asked: list[ChunkId] = []
        self.recognised: list[ChunkId] = []
        self.puts: list[ChunkId] = []
        self.puts_known: list[ChunkId] = []
        self.removed: list[ChunkId] = []
        self.flushes = 0
        self.closed = False

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        self.gets.append(chunk_id)
        return self.store.get(chunk_id, limit)

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:
        return fetch_ahead(self.get, ids, budget)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        self.asked.extend(ids)
        return self.store.has_many(ids)

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        self.recognised.extend(ids)
        return self.store.recognise(ids)

    def put(self, chunk: Chunk) -> bool:
        new = self.store.put(chunk)
        (self.puts if new else self.puts_known).append(chunk.chunk_id)
        return new

    def flush(self) -> None:
        self.flushes += 1
        self.store.flush()

    def iter_ids(self) -> Iterator[ChunkId]:
        return self.store.iter_ids()

    def remove(self, chunk_id: ChunkId) -> int:
        self.removed.append(chunk_id)
        return self.store.remove(chunk_id)

    def close(self) -> None:
        self.closed = True
        self.store.close()
