"""A store that behaves as one at the other end of a connection does: a `PipelinedStore` around any store."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Self

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import ChunkMissing
from casync_py.store.base import DEFAULT_BUDGET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.ids import ChunkId
    from casync_py.store.base import Store
    from casync_py.store.chunk import Chunk

    Item = tuple[ChunkId, Chunk | ChunkMissing]


class PipelinedStore:
    """Chunks come by ones and twos, sometimes none, as a seed says; `get_many` is what it wants to be asked with.

    Attributes:
        asked: the ids of each `get_many`.
        gets: ids that were asked for one at a time.
        open_streams: streams that were not read to their end and not closed.
        failure: raised by each stream when it has handed out as many chunks as `fails_after`.
    """

    pipelined = True

    def __init__(self, store: Store, seed: int = 0) -> None:
        self.name = store.name
        self.store = store
        self.asked: list[list[ChunkId]] = []
        self.gets: list[ChunkId] = []
        self.open_streams = 0
        self.failure: Exception | None = None
        self.fails_after = 0
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        self.gets.append(chunk_id)
        return self.store.get(chunk_id, limit)

    def get_many(
        self,
        ids: Sequence[ChunkId],
        budget: int = DEFAULT_BUDGET,  # noqa: ARG002 - nothing is held
        limit: int = MAX_CHUNK_SIZE,
    ) -> _Stream:
        self.asked.append(list(ids))
        return _Stream(self, self.asked[-1], limit)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        return self.store.has_many(ids)

    def close(self) -> None:
        self.store.close()

    def some(self, count: int) -> int:
        """How many of so many chunks have come."""
        return min(count, self._random.choice((0, 1, 2, 5, 40)))


class _Stream:
    def __init__(self, store: PipelinedStore, ids: list[ChunkId], limit: int) -> None:
        self._store = store
        self._ids = ids
        self._limit = limit
        self._place = 0
        self._open = True
        store.open_streams += 1

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        if self._place == len(self._ids):
            self.close()
            raise StopIteration
        return self._take()

    def ready(self, count: int) -> list[Item]:
        there = min(self._store.some(count), len(self._ids) - self._place)
        items: list[Item] = []
        while len(items) < there and not (items and self._fails()):
            items.append(self._take())
        return items

    def close(self) -> None:
        if self._open:
            self._open = False
            self._place = len(self._ids)
            self._store.open_streams -= 1

    def _fails(self) -> bool:
        return self._store.failure is not None and self._place >= self._store.fails_after

    def _take(self) -> Item:
        if self._fails():
            assert self._store.failure is not None
            raise self._store.failure
        chunk_id = self._ids[self._place]
        self._place += 1
        try:
            return chunk_id, self._store.store.get(chunk_id, self._limit).owned()
        except ChunkMissing as missing:
            return chunk_id, missing
