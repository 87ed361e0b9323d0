"""The interfaces of stores, by capability: readable, writable, prunable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from casync_py.compression import MAX_CHUNK_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casync_py.errors import ChunkMissing
    from casync_py.ids import ChunkId
    from casync_py.store.chunk import Chunk

DEFAULT_BUDGET = 32 << 20


class ChunkStream(Protocol):
    """What `get_many` returns: pairs in the order of the ids asked for; `close()` cancels what is under way."""

    def __iter__(self) -> Iterator[tuple[ChunkId, Chunk | ChunkMissing]]: ...
    def __next__(self) -> tuple[ChunkId, Chunk | ChunkMissing]: ...
    def close(self) -> None: ...


class PipelinedStream(ChunkStream, Protocol):
    """A stream of a pipelined store: chunks come by themselves, in the order asked for, and are taken when it suits."""

    def ready(self, count: int) -> list[tuple[ChunkId, Chunk | ChunkMissing]]:
        """At most `count` of the next pairs, as far as they have come; never waits, empty if the next one has not.

        Raises:
            whatever `next` would raise at this place.
        """


class Store(Protocol):
    """Answers chunk ids with chunks. Thread-safe.

    A chunk that a store hands out is not verified; `store.verify.Verified` around it does that. Trouble on the way
    (an unreadable directory, a broken connection) raises what it is; it is never reported as "missing".
    """

    name: str  # for messages: a path or URL

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """Return the chunk.

        Args:
            limit: most bytes that the plain chunk may have; lets a store refuse what is larger before reading it.

        Raises:
            ChunkMissing: this store does not have it.
            ChunkInvalid: what it has is visibly broken.
        """

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET) -> ChunkStream:
        """Fetch ahead: the chunks in the order asked for (duplicates allowed), a missing one as a value.

        Args:
            budget: bytes of chunks that may be in memory unread, roughly; at least one chunk is always fetched.
        """

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether the chunk is there, without reading it."""

    def close(self) -> None:
        """Release what is held; twice is fine."""


class PipelinedStore(Store, Protocol):
    """A store whose every question costs a round trip, so that many are asked at once.

    `get` and `has_many` are slow, and `has_many` may fetch what it is asked about. Whoever holds such a store asks with
    `get_many`, which asks at once and needs no threads.

    Attributes:
        pipelined: True; see `is_pipelined`.
    """

    pipelined: bool

    def get_many(
        self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET, limit: int = MAX_CHUNK_SIZE
    ) -> PipelinedStream:
        """As `Store.get_many`.

        Args:
            limit: most bytes that a plain chunk may have: how many may be asked for before the first one has come.
        """


def is_pipelined(store: Store) -> bool:
    """Whether asking costs a round trip, of this store or of one that it asks: a `PipelinedStore`, or around one."""
    return bool(getattr(store, "pipelined", False))


@runtime_checkable
class WritableStore(Store, Protocol):
    """A store that chunks can be added to. A chunk, once there, never changes."""

    def put(self, chunk: Chunk) -> bool:
        """Add a chunk that is verified by the caller; False if it was there already (its age is refreshed then).

        What was put counts as there for `get` and `has_many` at once, and is durable after the next `flush()`.
        """

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        """As `has_many`, for a writer that will rely on what is found: its age is refreshed, so that gc keeps it.

        They are durable after the next `flush()`, as if they had been put. May answer False for a chunk that is there
        but cannot be refreshed: it has to be put then.
        """

    def flush(self) -> None:
        """The durability point: when it returns, all that was put or recognised so far survives a power cut."""


@runtime_checkable
class PrunableStore(WritableStore, Protocol):
    """A store whose chunks can be listed and removed."""

    def iter_ids(self) -> Iterator[ChunkId]:
        """All chunks that are there, each once, in no particular order."""

    def remove(self, chunk_id: ChunkId) -> int:
        """Remove the chunk in each of its forms; the bytes freed, 0 if it was not there."""
