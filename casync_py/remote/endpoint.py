"""What a scheme can offer, one small protocol for each thing; an endpoint implements those that its scheme can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from casync_py.format.index import Index
    from casync_py.options import StoreOptions
    from casync_py.remote.locator import Locator
    from casync_py.store.base import Store, WritableStore
    from casync_py.sync.blob import Blob, BlobTarget
    from casync_py.sync.stream import ArchiveSource
    from casync_py.sync.upload import Upload, UploadPlan


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
class OffersUpload(Endpoint, Protocol):
    def open_upload(self, store: WritableStore, plan: UploadPlan) -> Upload:
        """An index to be written there with its chunks in `store`."""
