"""Where the verb make writes to: an archive, or an index and its store, each of them here or on another machine."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from casync_py.errors import UsageError
from casync_py.files import STANDARD_STREAM
from casync_py.remote.endpoint import OffersFile, OffersPush, OffersStore
from casync_py.remote.open import open_remote
from casync_py.sync.upload import LocalFile, PairedUpload, StoreSink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.monitor import Monitor
    from casync_py.options import Settings
    from casync_py.remote.endpoint import Endpoint
    from casync_py.sync.upload import ChunkSink, FileSink, Upload, UploadPlan


def open_archive_sink(output: str, mode: int, settings: Settings, monitor: Monitor) -> FileSink:
    """Where an archive is written, `-` for standard output; whoever gets it commits or aborts it."""
    if output == STANDARD_STREAM:
        return LocalFile(output)
    endpoint = open_remote(output)
    if isinstance(endpoint, OffersPush):
        return endpoint.open_push_archive(settings, monitor)
    return _near_file(endpoint, mode)


@contextmanager
def open_upload(output: str, store: str, plan: UploadPlan, settings: Settings, monitor: Monitor) -> Iterator[Upload]:
    """Where an index (`-` for standard output) and its chunks are written; whoever gets it commits or aborts it.

    One connection takes both where both have the same authority, else there is one for each that is far away.
    """
    index = None if output == STANDARD_STREAM else open_remote(output)
    chunks = open_remote(store)
    if isinstance(index, OffersPush) and isinstance(chunks, OffersPush) and index.connection == chunks.connection:
        yield index.open_push(chunks.locator, plan, settings, monitor)
        return
    with ExitStack() as cleanup:
        file = _index_sink(index, plan.mode, settings, monitor)
        cleanup.callback(file.abort)
        sink = _chunk_sink(chunks, plan, settings, monitor, cleanup)
        yield PairedUpload(file, sink, plan)


def _index_sink(endpoint: Endpoint | None, mode: int, settings: Settings, monitor: Monitor) -> FileSink:
    if endpoint is None:
        return LocalFile(STANDARD_STREAM)
    if isinstance(endpoint, OffersPush):
        return endpoint.open_push_index(settings, monitor)
    return _near_file(endpoint, mode)


def _near_file(endpoint: Endpoint, mode: int) -> FileSink:
    if not isinstance(endpoint, OffersFile):
        raise UsageError(f"{endpoint.locator.shown}: Cannot be written there")
    return endpoint.open_file(mode)


def _chunk_sink(
    endpoint: Endpoint, plan: UploadPlan, settings: Settings, monitor: Monitor, cleanup: ExitStack
) -> ChunkSink:
    if isinstance(endpoint, OffersPush):
        return endpoint.open_push_chunks(plan, settings, monitor)
    if not isinstance(endpoint, OffersStore):
        raise UsageError(f"{endpoint.locator.shown}: Cannot be a store")
    store = endpoint.open_writable_store(settings.store_options)
    cleanup.callback(store.close)
    return StoreSink(store)
