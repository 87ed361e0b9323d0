"""What the verbs read from, wherever it is: an archive, or an index and the stores of its chunks.

What has one authority is served over one connection, which is made for all of it at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from casync_py.api.locations import is_standard, local_path, main_store
from casync_py.compression import Compression
from casync_py.errors import UsageError
from casync_py.files import STANDARD_STREAM, STDIN
from casync_py.monitor import Monitor
from casync_py.options import Settings, StoreOptions
from casync_py.remote.endpoint import OffersArchive, OffersIndex, OffersPull, OffersStore, Wanted
from casync_py.remote.open import open_remote

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence
    from concurrent.futures import Executor

    from casync_py.digest import Digest
    from casync_py.format.index import Index
    from casync_py.remote.endpoint import Endpoint, PullSession
    from casync_py.store.base import Store
    from casync_py.store.cache import CacheStore
    from casync_py.sync.stream import ArchiveSource, IndexStream


class Sources:
    """An index and stores, some of which share connections; to be closed."""

    def __init__(self, index: str | None, stores: Sequence[str], settings: Settings, monitor: Monitor) -> None:
        """Make the connections; what is on this machine is opened when it is asked for.

        Args:
            index: a locator; None for no index, or one on standard input.
            stores: locators, in the order in which they are asked.

        Raises:
            UsageError: a locator that nothing here serves.
            PeerError: a connection cannot be made.
        """
        self._settings = settings
        self._monitor = monitor
        self._index = None if index is None else open_remote(index)
        self._stores = [open_remote(store) for store in stores]
        self._sessions: dict[Hashable, PullSession] = {}
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        wanted: dict[Hashable, tuple[OffersPull, Wanted]] = {}
        if isinstance(self._index, OffersPull):
            wanted[self._index.connection] = (self._index, Wanted(index=self._index.locator))
        for store in self._stores:
            if isinstance(store, OffersPull):
                first, asked = wanted.get(store.connection, (store, Wanted()))
                wanted[store.connection] = (first, replace(asked, stores=(*asked.stores, store.locator)))
        for connection, (endpoint, asked) in wanted.items():
            self._sessions[connection] = endpoint.open_pull(asked, self._settings, self._monitor)

    def open_index(self) -> Index:
        """The index, which is the caller's to close. Raises UsageError, OSError, PeerError, FormatError."""
        endpoint = self._index
        assert endpoint is not None
        if isinstance(endpoint, OffersPull):
            return self._sessions[endpoint.connection].index()
        if not isinstance(endpoint, OffersIndex):
            raise UsageError(f"{endpoint.locator.shown}: Cannot be an index")
        return endpoint.open_index()

    def open_stores(self) -> list[Store]:
        """The stores that there are, which are the caller's to close; those of this machine come first.

        Raises:
            OSError: none of them exists, or one cannot be opened.
        """
        near: list[Store] = []
        far: dict[Hashable, list[Store]] = {}
        absent: FileNotFoundError | None = None
        for endpoint in self._stores:
            if isinstance(endpoint, OffersPull):
                if endpoint.connection not in far:
                    far[endpoint.connection] = self._sessions[endpoint.connection].stores()
                continue
            try:
                near.append(self._open_near(endpoint))
            except FileNotFoundError as error:
                absent = absent or error
        if absent is not None:
            if not near and not far and not self._settings.mirrors:
                raise absent
            self._monitor.notice(f"{absent.filename}: No such store, going on without it")
        return [*near, *chain.from_iterable(far.values())]

    def _open_near(self, endpoint: Endpoint) -> Store:
        if not isinstance(endpoint, OffersStore):
            raise UsageError(f"{endpoint.locator.shown}: Cannot be a store")
        return endpoint.open_store(self._settings.store_options)

    def close(self) -> None:
        """End the connections; twice is fine."""
        while self._sessions:
            self._sessions.popitem()[1].close()


@contextmanager
def _sources(index: str | None, stores: Sequence[str], settings: Settings, monitor: Monitor) -> Iterator[Sources]:
    sources = Sources(index, stores, settings, monitor)
    try:
        yield sources
    finally:
        sources.close()


def _store_names(settings: Settings, index_name: str | None) -> tuple[str, ...]:
    """The stores that are connected at once: a main store with mirrors is opened like those, when it is needed."""
    main = () if settings.mirrors else (main_store(settings, index_name),)
    return (*main, *settings.extra_stores)


@contextmanager
def open_stores(
    settings: Settings, index_name: str | None, digest: Digest, limit: int, monitor: Monitor | None = None
) -> Iterator[Store]:
    """The stores that an index's chunks are read from, those of this machine first, each chunk verified.

    Args:
        limit: most bytes of a chunk, as the index says.
        monitor: told of a store that does not exist while there are others.

    Raises:
        OSError: no store exists, or one cannot be opened.
        PeerError: a connection to one cannot be made.
    """
    with (
        _sources(None, _store_names(settings, index_name), settings, monitor or Monitor()) as sources,
        _verified(sources, index_name, settings, digest, limit, monitor or Monitor()) as store,
    ):
        yield store


@contextmanager
def _verified(
    sources: Sources, index_name: str | None, settings: Settings, digest: Digest, limit: int, monitor: Monitor
) -> Iterator[Store]:
    """The stores as one, each chunk verified; a store cache is asked first, and keeps what the others give."""
    from casync_py.store.base import is_pipelined
    from casync_py.store.router import RouterStore
    from casync_py.store.verify import Verified

    with ExitStack() as cleanup:
        jobs = max(1, settings.resources.jobs)
        pool = cleanup.enter_context(ThreadPoolExecutor(jobs, "casync-fetch"))
        cache = _open_store_cache(settings, digest, limit, monitor, pool)
        if cache is not None:
            cleanup.callback(cache.close)
        stores: list[Store] = [] if cache is None else [cache]
        keep = None if cache is None else cache.keep
        for store in sources.open_stores():
            cleanup.callback(store.close)
            stores.append(Verified(store, [digest], limit, jobs=jobs, executor=pool, keep=keep))
        if settings.mirrors:
            from casync_py.api.mirrors import Check, open_mirrors

            names = (main_store(settings, index_name), *settings.mirrors)
            mirrors = open_mirrors(names, settings, Check([digest], limit, jobs, pool, keep), monitor)
            cleanup.callback(mirrors.close)
            near = sum(not is_pipelined(store) for store in stores)
            stores.insert(near, mirrors)
        yield stores[0] if len(stores) == 1 else RouterStore(stores, jobs=jobs, executor=pool)


def _open_store_cache(
    settings: Settings, digest: Digest, limit: int, monitor: Monitor, pool: Executor
) -> CacheStore | None:
    if settings.cache_store is None:
        if settings.cache_size is not None:
            raise UsageError("A size of the store cache is given, and no store cache (--cache-store)")
        return None
    from casync_py.store.cache import CacheStore
    from casync_py.store.limited import LimitedStore
    from casync_py.store.local import LocalStore

    # No compression of its own: chunks are kept in the form in which they come.
    options = StoreOptions(Compression(None), settings.store_options.compressed_suffix)
    path = local_path(settings.cache_store, "keep a store cache")
    local = LocalStore(path, options, create=True, kept=True)
    store = local if settings.cache_size is None else LimitedStore(local, settings.cache_size)
    return CacheStore(store, [digest], limit, monitor, jobs=max(1, settings.resources.jobs), executor=pool)


@contextmanager
def open_index(text: str | None, settings: Settings | None = None, monitor: Monitor | None = None) -> Iterator[Index]:
    """The index at a locator or on standard input (a pipe is spooled, because an index is read at random)."""
    index = None if is_standard(text) else text
    with _sources(index, (), settings or Settings(), monitor or Monitor()) as sources, _index(sources, index) as found:
        yield found


@contextmanager
def _index(sources: Sources, text: str | None) -> Iterator[Index]:
    if text is None:
        from casync_py.sync.spool import spooled_index

        with spooled_index(STDIN) as index:
            yield index
        return
    with sources.open_index() as index:
        yield index


@contextmanager
def open_index_stream(text: str | None, settings: Settings, monitor: Monitor) -> Iterator[tuple[Index, IndexStream]]:
    """An index and the stream of its chunks, from the stores that the settings name."""
    from casync_py.sync.stream import IndexStream

    name = None if is_standard(text) else text
    with ExitStack() as cleanup:
        sources = cleanup.enter_context(_sources(name, _store_names(settings, text), settings, monitor))
        index = cleanup.enter_context(_index(sources, name))
        store = cleanup.enter_context(_verified(sources, text, settings, index.digest, index.chunk_max, monitor))
        stream = IndexStream(index, store, settings.resources.memory // 2, monitor)
        cleanup.callback(stream.close)
        monitor.total = index.size
        yield index, stream


@contextmanager
def open_archive(text: str | None, settings: Settings, monitor: Monitor) -> Iterator[ArchiveSource]:
    """The bytes of an archive at a locator or on standard input."""
    if is_standard(text):
        from casync_py.sync.stream import FileStream

        yield FileStream(STANDARD_STREAM)
        return
    assert text is not None
    endpoint = open_remote(text)
    with ExitStack() as cleanup:
        if isinstance(endpoint, OffersPull):
            session = endpoint.open_pull(Wanted(archive=endpoint.locator), settings, monitor)
            cleanup.callback(session.close)
            source = session.archive()
        elif isinstance(endpoint, OffersArchive):
            source = endpoint.open_archive()
        else:
            raise UsageError(f"{endpoint.locator.shown}: Cannot be an archive")
        cleanup.callback(source.close)
        yield source
