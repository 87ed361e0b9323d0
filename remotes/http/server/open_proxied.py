"""Stores that are here and upstream, as the server's other parts know stores: with their errors."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import ChunkMissing, PeerError
from casync_py.remotes.http.errors import WebError
from casync_py.remotes.http.server.places import shown
from casync_py.remotes.http.server.shared import SharedStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casync_py.ids import ChunkId
    from casync_py.remotes.http.server.places import Names
    from casync_py.remotes.http.server.work import Work
    from casync_py.store.chunk import Chunk
    from casync_py.store.proxied import Ahead, ProxiedStore

ABSENT = (404, 410)


class OpenProxied(SharedStore):
    """A store that is here and upstream. What is asked of `local` may take as long as the upstream server does.

    Attributes:
        shown: its path in URLs.
        local: what is here and there; trouble with the upstream server is an OSError of the number EREMOTEIO.
    """

    def __init__(self, names: Names, store: ProxiedStore, work: Work) -> None:
        super().__init__(work)
        self.shown = shown(names)
        self.local = Told(store, store)
        self._store = store

    @contextmanager
    def reading(self, ids: Sequence[ChunkId]) -> Iterator[Told]:
        """As `Opened`: chunks are fetched before their turn comes."""
        with self._store.ahead(ids) as ahead:
            yield Told(ahead, self._store)

    def close(self) -> None:
        self._store.close()


class Told:
    """A proxied store whose other server's failures are told as a local store's are."""

    def __init__(self, chunks: ProxiedStore | Ahead, store: ProxiedStore) -> None:
        self._chunks = chunks
        self._store = store

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        try:
            return self._chunks.get(chunk_id, limit)
        except PeerError as error:
            raise self._error(chunk_id, error) from error

    def open_chunk(self, chunk_id: ChunkId) -> tuple[int, int, bool]:
        try:
            return self._chunks.open_chunk(chunk_id)
        except PeerError as error:
            raise self._error(chunk_id, error) from error

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        try:
            return self._store.has_many(ids)
        except PeerError as error:
            if _is_absent(error):
                return self._store.has_near(ids)
            raise _upstream_error(error) from error

    def _error(self, chunk_id: ChunkId, error: PeerError) -> OSError | ChunkMissing:
        return ChunkMissing(chunk_id, self._store.name) if _is_absent(error) else _upstream_error(error)


def _is_absent(error: PeerError) -> bool:
    """Whether there is no such store upstream."""
    return isinstance(error, WebError) and error.status in ABSENT


def _upstream_error(error: PeerError) -> OSError:
    return OSError(errno.EREMOTEIO, f"The server that has it failed: {error.reason}")
