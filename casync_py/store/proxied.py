"""A store that has what another one has: what is not here is fetched, verified, and kept for the next who asks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from casync_py.compression import MAX_CHUNK_SIZE, NO_COMPRESSION
from casync_py.errors import ChunkMissing
from casync_py.files import unnamed_file, write_all
from casync_py.store.base import DEFAULT_BUDGET
from casync_py.store.single_flight import SingleFlight
from casync_py.store.started import started

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from types import TracebackType

    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream, Store
    from casync_py.store.chunk import Chunk
    from casync_py.store.near import Near
    from casync_py.store.single_flight import Flight

_AHEAD = 256  # chunks that one who reads wants ahead; they wait on disk
_AHEAD_UNKEPT = 4  # where nothing can be kept, and they wait in memory


class ProxiedStore:
    """A store cache and the store that it makes up for. Thread-safe.

    What is here is handed out as it is stored, not verified again. Meant to be open for long: neither what the cache
    nor what the other store does makes it unusable.
    """

    def __init__(self, near: Near, source: Store, *, second: Store | None = None) -> None:
        """Take both, which are closed together with this one.

        Args:
            source, second: as for `SingleFlight`.
        """
        self.name = source.name
        self.near = near
        self.source = source
        self.flights = SingleFlight(source, near.keep, self.has_near, second=second, name="casync-proxy")

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """Return the chunk, from here or from there.

        Raises:
            ChunkMissing, ChunkInvalid, PeerError: the other store does not have it, not whole, or failed.
        """
        with Ahead(self, (chunk_id,)) as ahead:
            return ahead.get(chunk_id, limit)

    def open_chunk(self, chunk_id: ChunkId) -> tuple[int, int, bool]:
        """As `LocalStore.open_chunk`. Raises as `get`."""
        with Ahead(self, (chunk_id,)) as ahead:
            return ahead.open_chunk(chunk_id)

    def ahead(self, ids: Sequence[ChunkId]) -> Ahead:
        """What somebody will read, in this order; to be closed."""
        return Ahead(self, ids)

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:  # noqa: ARG002 - on disk
        """Fetch ahead."""
        return started(self._many(ids))

    def _many(self, ids: Sequence[ChunkId]) -> Generator[tuple[ChunkId, Chunk | ChunkMissing] | None, None, None]:
        with Ahead(self, ids) as ahead:
            yield None
            for chunk_id in ids:
                try:
                    found: Chunk | ChunkMissing = ahead.get(chunk_id)
                except ChunkMissing as missing:
                    found = missing
                yield chunk_id, found

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether it is here or there. Raises PeerError."""
        found = self.has_near(ids)
        places = [place for place, here in enumerate(found) if not here]
        if places:
            there = self.source.has_many([ids[place] for place in places])
            for place, has in zip(places, there, strict=True):
                found[place] = has
        return found

    def has_near(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether it is here."""
        with self.near.use() as store:
            if store is not None:
                try:
                    return store.has_many(ids)
                except OSError:
                    pass  # it is read from there then, and what keeps failing here is told where it is put
        return [False] * len(ids)

    def close(self) -> None:
        """Close both; whoever waits gets an error. Twice is fine."""
        self.source.close()
        self.flights.close()
        self.near.close()


class Ahead:
    """Chunks that are wanted one after the other: those that are not here are fetched before their turn comes."""

    def __init__(self, store: ProxiedStore, ids: Sequence[ChunkId]) -> None:
        self._store = store
        self._ids = ids
        self._taken = 0
        self._seen = 0  # ids that were looked for
        self._flights: dict[int, Flight] = {}

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """The next of the chunks. Raises as `ProxiedStore.get`."""
        flight = self._next()
        try:
            if flight is None:
                try:
                    return self._here(chunk_id, limit)
                except (ChunkMissing, OSError):  # it went, or nothing was looked for
                    flight = self._store.flights.want_now(chunk_id)
            chunk = self._store.flights.wait(flight)
            if chunk is None:
                try:
                    return self._here(chunk_id, limit)
                except (ChunkMissing, OSError):
                    chunk = self._store.source.get(chunk_id)
            chunk.plain(limit)
            return chunk
        finally:
            if flight is not None:
                self._store.flights.leave((flight,))

    def open_chunk(self, chunk_id: ChunkId) -> tuple[int, int, bool]:
        """A file of one of the chunks, whichever, as `LocalStore.open_chunk` has it. Raises as `ProxiedStore.get`."""
        flight = None
        try:
            try:
                return self._open_here(chunk_id)
            except (ChunkMissing, OSError):
                flight = self._store.flights.want_now(chunk_id)
            chunk = self._store.flights.wait(flight)
            if chunk is None:
                try:
                    return self._open_here(chunk_id)
                except (ChunkMissing, OSError):
                    chunk = self._store.source.get(chunk_id)
            return _in_file(chunk)
        finally:
            if flight is not None:
                self._store.flights.leave((flight,))

    def _here(self, chunk_id: ChunkId, limit: int) -> Chunk:
        with self._store.near.use() as store:
            if store is None:
                raise ChunkMissing(chunk_id, self._store.name)
            return store.get(chunk_id, limit)

    def _open_here(self, chunk_id: ChunkId) -> tuple[int, int, bool]:
        with self._store.near.use() as store:
            if store is None:
                raise ChunkMissing(chunk_id, self._store.name)
            return store.open_chunk(chunk_id)

    def _next(self) -> Flight | None:
        """Look ahead; how the chunk whose turn it is comes here, None if it is here."""
        most = _AHEAD if self._store.near.keeps else _AHEAD_UNKEPT
        if self._seen - self._taken <= most // 2 and len(self._ids) > 1:
            ids = self._ids[self._seen : self._taken + most]
            places = [self._seen + at for at, here in enumerate(self._store.has_near(ids)) if not here]
            self._seen += len(ids)
            self._flights.update(
                zip(places, self._store.flights.want([self._ids[place] for place in places]), strict=True)
            )
        flight = self._flights.pop(self._taken, None)
        self._taken += 1
        return flight

    def close(self) -> None:
        """Want nothing more; twice is fine."""
        flights, self._flights = self._flights, {}
        self._store.flights.leave(flights.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _in_file(chunk: Chunk) -> tuple[int, int, bool]:
    stored = chunk.stored(NO_COMPRESSION)
    data = chunk.plain() if stored is None else stored
    fd = unnamed_file()
    try:
        write_all(fd, data)
    except BaseException:
        os.close(fd)
        raise
    return fd, len(data), stored is not None
