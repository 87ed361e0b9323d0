"""The main store and its mirrors as one store: each is opened when it is needed, wherever it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import UsageError
from casync_py.remote.endpoint import OffersPull, OffersStore, Wanted
from casync_py.remote.open import open_remote
from casync_py.store.base import DEFAULT_BUDGET
from casync_py.store.failover import FailoverStore
from casync_py.store.mirror import Mirror
from casync_py.store.verify import Verified

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from casync_py.digest import Digest
    from casync_py.ids import ChunkId
    from casync_py.monitor import Monitor
    from casync_py.options import Settings
    from casync_py.remote.endpoint import Endpoint, PullSession
    from casync_py.store.base import PipelinedStore, PipelinedStream, Store
    from casync_py.store.chunk import Chunk

_RETRIES = 1  # within one mirror: another one is the better retry


class Check(NamedTuple):
    """How each chunk is verified: the arguments of `Verified`."""

    digests: Sequence[Digest]
    limit: int
    jobs: int
    executor: Executor
    keep: Callable[[Chunk], object] | None


def open_mirrors(stores: Sequence[str], settings: Settings, check: Check, monitor: Monitor) -> FailoverStore:
    """Stores with the same chunks, the preferred one first; nothing is connected yet.

    Raises:
        UsageError: a locator that nothing here serves.
    """
    inside = replace(settings, retries=min(_RETRIES, settings.retries))
    mirrors = [_mirror(open_remote(store), inside, check, monitor) for store in stores]
    return FailoverStore(mirrors, monitor, patience=1 + settings.retries)


def _mirror(endpoint: Endpoint, settings: Settings, check: Check, monitor: Monitor) -> Mirror:
    if not isinstance(endpoint, (OffersPull, OffersStore)):
        raise UsageError(f"{endpoint.locator.shown}: Cannot be a store")

    def open_store() -> Verified:
        store: Store
        if isinstance(endpoint, OffersPull):
            store = _Connected(endpoint.open_pull(Wanted(stores=(endpoint.locator,)), settings, monitor))
        else:
            store = endpoint.open_store(settings.store_options)
        digests, limit, jobs, executor, keep = check
        return Verified(store, digests, limit, jobs=jobs, executor=executor, keep=keep)

    return Mirror(endpoint.locator.shown, open_store)


class _Connected:
    """The store at the other end of a connection, which ends with it."""

    pipelined = True

    def __init__(self, session: PullSession) -> None:
        self._session = session
        try:
            (store,) = session.stores()
            self._store = cast("PipelinedStore", store)
        except BaseException:
            session.close()
            raise
        self.name = self._store.name

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        return self._store.get(chunk_id, limit)

    def get_many(
        self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET, limit: int = MAX_CHUNK_SIZE
    ) -> PipelinedStream:
        return self._store.get_many(ids, budget, limit)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        return self._store.has_many(ids)

    def close(self) -> None:
        try:
            self._store.close()
        finally:
            self._session.close()
