"""What chunks are read from, for those who answer with them: stores that are here, or here and upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from casync_py.ids import ChunkId
    from casync_py.remotes.http.server.places import Names
    from casync_py.store.chunk import Chunk


class Source(Protocol):
    """Chunks, as `LocalStore` has them; what goes wrong is a `ChunkMissing`, `ChunkInvalid` or `OSError`."""

    def get(self, chunk_id: ChunkId, limit: int, /) -> Chunk: ...
    def open_chunk(self, chunk_id: ChunkId, /) -> tuple[int, int, bool]: ...


class Asked(Source, Protocol):
    """A source that tells what it has."""

    def has_many(self, ids: Sequence[ChunkId], /) -> list[bool]: ...


class Opened(Protocol):
    """A store that stays open for a `with`.

    Attributes:
        shown: its path in URLs.
    """

    shown: str

    @property
    def local(self) -> Asked:
        """The chunks; asked in a thread."""

    def reading(self, ids: Sequence[ChunkId]) -> AbstractContextManager[Source]:
        """The chunks, for who gets these, in this order."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Stores(Protocol):
    """Stores by their path in URLs; used in the event loop's thread."""

    async def open(self, names: Names) -> Opened:
        """The store; enter it before anything else is awaited.

        Raises:
            Refusal: it is absent, or cannot be opened.
        """
