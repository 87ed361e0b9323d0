"""Several stores asked in order: the first that has a good chunk gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.store.base import DEFAULT_BUDGET, is_pipelined
from casync_py.store.fetch import fetch_ahead
from casync_py.store.route_ahead import route_ahead

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream, Store
    from casync_py.store.chunk import Chunk


class RouterStore:
    """Stores in order of preference.

    Only "missing" and "invalid" move on to the next store; trouble on the way (an unreadable disk, a broken connection)
    raises, because a source that could not answer may be the one that has the chunk. Put `Verified` around each of the
    stores, so that a chunk with bad content is seen here and fetched from the next.

    Attributes:
        pipelined: whether any of the stores is; see `is_pipelined`.
    """

    def __init__(self, stores: Sequence[Store], *, jobs: int | None = None, executor: Executor | None = None) -> None:
        """Route over `stores`, which are closed together with this one.

        Args:
            jobs, executor: as for `fetch_ahead`.
        """
        self.stores = tuple(stores)
        self.name = ", ".join(store.name for store in self.stores)
        self.pipelined = any(map(is_pipelined, self.stores))
        self._jobs = jobs
        self._executor = executor

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """Return the chunk from the first store that has it whole.

        Raises:
            ChunkMissing: no store has it; `where` names all of them.
            ChunkInvalid: no store has it whole, and this is what the first that had it broken said.
        """
        invalid: ChunkInvalid | None = None
        for store in self.stores:
            try:
                return store.get(chunk_id, limit)
            except ChunkMissing:
                continue
            except ChunkInvalid as error:
                invalid = invalid or error
        if invalid is not None:
            raise invalid
        raise ChunkMissing(chunk_id, self.name)

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:
        """Fetch ahead, each chunk from the first store that has it whole."""
        if not self.pipelined:
            return fetch_ahead(self.get, ids, budget, jobs=self._jobs, executor=self._executor)
        if len(self.stores) == 1:
            return self.stores[0].get_many(ids, budget)
        # Stores before the first that is far away are asked as one.
        split = next(place for place, store in enumerate(self.stores) if is_pipelined(store)) or 1
        return route_ahead(self._some(0, split), self._some(split, None), ids, budget, self.name)

    def _some(self, start: int, stop: int | None) -> Store:
        stores = self.stores[start:stop]
        return stores[0] if len(stores) == 1 else RouterStore(stores, jobs=self._jobs, executor=self._executor)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether any store has it; each store is asked only for what those before it lack."""
        found = [False] * len(ids)
        open_places = list(range(len(ids)))
        for store in self.stores:
            if not open_places:
                break
            answers = store.has_many([ids[place] for place in open_places])
            for place, answer in zip(open_places, answers, strict=True):
                found[place] = answer
            open_places = [place for place in open_places if not found[place]]
        return found

    def close(self) -> None:
        """Close every store."""
        for store in self.stores:
            store.close()
