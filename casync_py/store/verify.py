"""Nothing unverified: a chunk is used only after the digest of its plain content was compared with its id."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import ChunkInvalid
from casync_py.store.base import DEFAULT_BUDGET, is_pipelined
from casync_py.store.check_ahead import check_ahead
from casync_py.store.fetch import fetch_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from casync_py.digest import Digest
    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream, PipelinedStore, Store
    from casync_py.store.chunk import Chunk


_CHECKED = 12 << 20  # bytes: at most this of a pipelined stream's budget is left to chunks that are being checked


def verified(chunk: Chunk, digests: Sequence[Digest], limit: int = MAX_CHUNK_SIZE) -> bytes | memoryview:
    """Decompress a chunk, compare its digest with its id, return the plain content.

    Args:
        digests: tried in this order; one where an index announces it, the sender's word and then the others elsewhere.
        limit: most bytes that the plain content may have.

    Raises:
        ChunkInvalid: it cannot be decompressed, is empty or too large, or none of the digests gives its id.
    """
    _find_digest(chunk, digests, limit)
    return chunk.plain(limit)


def _find_digest(chunk: Chunk, digests: Sequence[Digest], limit: int) -> Digest:
    """Which of the digests gives the chunk its id. Raises as `verified`."""
    plain = chunk.plain(limit)
    chunk_id = chunk.chunk_id
    for digest in digests:
        if digest.of(plain) == chunk_id:
            if not plain:
                break
            return digest
    if not plain:
        raise ChunkInvalid(chunk_id, "It is empty")
    names = " or ".join(digest.name for digest in digests)
    raise ChunkInvalid(chunk_id, f"Its content has another {names} digest")


class Verified:
    """A store around a store that hands out nothing unverified.

    Each chunk is decompressed and checked in the thread that fetched it, so that `get_many` does it in its pool; what a
    pipelined store delivers is checked in the same pool. To go on to the next store when one holds a bad chunk, put a
    `RouterStore` around one `Verified` for each store, never a `Verified` around the router.

    Attributes:
        pipelined: whether `store` is; see `is_pipelined`.
    """

    def __init__(
        self,
        store: Store,
        digests: Sequence[Digest],
        limit: int = MAX_CHUNK_SIZE,
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        keep: Callable[[Chunk], object] | None = None,
    ) -> None:
        """Wrap `store`, which is closed together with this one.

        Args:
            digests: as for `verified`; which one is tried first follows what comes.
            limit: most bytes of a plain chunk: the index's `chunk_size_max`.
            jobs, executor: as for `fetch_ahead`.
            keep: told of each chunk that is good, in the thread that found it so: a store cache's `keep`.
        """
        self.name = store.name
        self.store = store
        self.pipelined = is_pipelined(store)
        self.digests = tuple(digests)
        self.limit = limit
        self._jobs = jobs
        self._executor = executor
        self._keep = keep

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """Return the chunk, verified and in plain form.

        Raises:
            ChunkMissing: the store does not have it.
            ChunkInvalid: what it has does not match the id; `where` names the store.
        """
        limit = min(limit, self.limit)
        return self._check(self.store.get(chunk_id, limit), limit)

    def _check(self, chunk: Chunk, limit: int) -> Chunk:
        try:
            digest = _find_digest(chunk, self.digests, limit)
        except ChunkInvalid as error:
            error.where = error.where or self.name
            raise
        if digest is not self.digests[0]:  # a store's ids are mostly of one kind
            self.digests = (digest, *(other for other in self.digests if other is not digest))
        if self._keep is not None:
            self._keep(chunk)
        return chunk

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:
        """Fetch and verify ahead."""
        if not self.pipelined:
            return fetch_ahead(self.get, ids, budget, jobs=self._jobs, executor=self._executor)
        stream = cast("PipelinedStore", self.store).get_many(
            ids, max(1, budget - min(budget // 2, _CHECKED)), self.limit
        )
        check = partial(self._check, limit=self.limit)
        return check_ahead(stream, check, self.limit // 4, jobs=self._jobs, executor=self._executor)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """As the store says: what is there is not read, and so not verified."""
        return self.store.has_many(ids)

    def close(self) -> None:
        """Close the store."""
        self.store.close()
