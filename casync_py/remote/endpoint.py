"""What a scheme can offer, one small protocol for each thing; an endpoint implements those that its scheme can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Hashable

    from casync_py.format.index import Index
    from casync_py.monitor import Monitor
    from casync_py.options import Settings, StoreOptions
    from casync_py.remote.locator import Locator
    from casync_py.store.base import Store, WritableStore
    from casync_py.sync.blob import Blob, BlobTarget
    from casync_py.sync.stream import ArchiveSource
    from casync_py.sync.upload import ChunkSink, FileSink, Upload, UploadPlan


class Endpoint(Protocol):
    """A locator, opened by its scheme."""

    locator: Locator


@runtime_checkable
class OffersStore(Endpoint, Protocol):
    def open_store(self, options: StoreOptions) -> Store:
        """The chunk store there, for reading. Raises OSError naming it when it is absent."""

    def open_writable_store(self, options: StoreOptions) -> WritableStore:
        """The chunk store there, made on demand."""


@runtime_checkable
class OffersIndex(Endpoint, Protocol):
    def open_index(self) -> Index:
        """The index there; the caller closes it."""


@runtime_checkable
class OffersArchive(Endpoint, Protocol):
    def open_archive(self) -> ArchiveSource:
        """The archive's bytes; the caller closes it."""


@runtime_checkable
class OffersBlob(Endpoint, Protocol):
    def open_blob(self) -> Blob:
        """A file or device as one byte stream; the caller closes it."""


@runtime_checkable
class OffersTarget(Endpoint, Protocol):
    def open_target(self, size: int, punch_holes: bool = True) -> BlobTarget:
        """Where a blob of `size` bytes is written, runs of zeros as holes or not; the caller commits or aborts it."""


@runtime_checkable
class OffersFile(Endpoint, Protocol):
    def open_file(self, mode: int) -> FileSink:
        """Where an archive or index is written; `mode` is that of a new file."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted over one connection: locators of one authority."""

    archive: Locator | None = None
    index: Locator | None = None
    stores: tuple[Locator, ...] = ()


class PullSession(Protocol):
    """What is read over one connection. Thread-safe."""

    def index(self) -> Index:
        """The index that is wanted, once it has come; the caller closes it."""

    def archive(self) -> ArchiveSource:
        """The archive that is wanted."""

    def stores(self) -> list[Store]:
        """The stores that are wanted, in order; as one where the other end looks through them itself."""

    def close(self) -> None:
        """End the connection; twice is fine."""


@runtime_checkable
class OffersPull(Endpoint, Protocol):
    """An endpoint that is read over a connection to its authority.

    Attributes:
        connection: endpoints for which this is equal can share a connection.
    """

    connection: Hashable

    def open_pull(self, wanted: Wanted, settings: Settings, monitor: Monitor) -> PullSession:
        """Connect. Raises UsageError, PeerError."""


@runtime_checkable
class OffersPush(Endpoint, Protocol):
    """An endpoint that is written over a connection to its authority.

    Attributes:
        connection: as in `OffersPull`.
    """

    connection: Hashable

    def open_push_archive(self, settings: Settings, monitor: Monitor) -> FileSink:
        """Connect, to write an archive here. Raises UsageError, PeerError; so do the others."""

    def open_push_index(self, settings: Settings, monitor: Monitor) -> FileSink:
        """Connect, to write an index here whose chunks are elsewhere."""

    def open_push_chunks(self, plan: UploadPlan, settings: Settings, monitor: Monitor) -> ChunkSink:
        """Connect, to add chunks to the store here; their index is elsewhere."""

    def open_push(self, store: Locator, plan: UploadPlan, settings: Settings, monitor: Monitor) -> Upload:
        """Connect, to write an index here and its chunks to a store of the same authority."""
