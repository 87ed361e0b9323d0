"""Making: from a directory, file or device to an archive or index."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casync_py.api.locations import directory, input_type, main_store
from casync_py.api.opening import feature_flags
from casync_py.errors import UsageError
from casync_py.files import STANDARD_STREAM
from casync_py.monitor import Monitor
from casync_py.options import Settings
from casync_py.remote.locator import LocatorKind, parse_locator
from casync_py.sync.kinds import Kind, asked_kind, suffix_kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.sync.blocks import BlockWriter
    from casync_py.sync.make import Made

_MADE = {Kind.ARCHIVE, Kind.ARCHIVE_INDEX, Kind.BLOB_INDEX}


@dataclass(frozen=True, slots=True)
class MakeResult:
    """What `make` came to.

    Attributes:
        kind: "archive", "archive-index" or "blob-index".
        output: where it went, `-` for standard output.
        store: locator of the store, None for an archive.
        digest: hex digest of the whole stream; None where it was not wanted.
        size: bytes of the stream.
        entries: files, directories and other nodes; 0 for a blob.
        chunks_new, chunks_reused: chunks (repeated ones counted each time) that were stored, and that were there.
        bytes_new, bytes_reused: their plain bytes.
        bytes_stored: bytes that the new ones take in the store.
        bytes_sent: bytes that went to other machines.
        notices: one line each.
    """

    kind: str
    output: str
    store: str | None
    digest: str | None
    size: int
    entries: int
    chunks_new: int
    chunks_reused: int
    bytes_new: int
    bytes_reused: int
    bytes_stored: int
    bytes_sent: int
    notices: tuple[str, ...]


def make(
    output: str | None = None,
    input: str | None = None,  # noqa: A002 - the command's word
    settings: Settings | None = None,
    monitor: Monitor | None = None,
) -> MakeResult:
    """Make an archive (`.catar`), an archive's index (`.caidx`) or a blob's index (`.caibx`).

    Args:
        output: what to make; its suffix tells the kind. None or `-`: standard output, the kind told by the input.
        input: a directory, regular file or block device; None: the working directory for archives.

    Raises:
        UsageError, SourceChanged, OSError: nothing appears under the output's name then.
    """
    settings, monitor = settings or Settings(), monitor or Monitor()
    kind, source = _what_to_make(output, input, settings)
    monitor.stage = "Packing"
    target = STANDARD_STREAM if output is None else output
    store = main_store(settings, output) if kind.is_index else None
    made = _make_blob(target, source, settings, monitor) if kind is Kind.BLOB_INDEX else None
    if made is None:
        made = _make_tree(kind, target, source, settings, monitor)
    return MakeResult(
        kind.value,
        target,
        store,
        made.digest,
        made.size,
        monitor.entries,
        monitor.chunks_new,
        monitor.chunks_reused,
        monitor.bytes_new,
        monitor.bytes_reused,
        monitor.bytes_stored,
        monitor.sent,
        tuple(monitor.notices),
    )


def _what_to_make(output: str | None, source: str | None, settings: Settings) -> tuple[Kind, str]:
    kind = asked_kind(settings.what, _MADE, "make")
    if kind is None and output is not None and output != STANDARD_STREAM:
        kind = suffix_kind(parse_locator(output).content)
        if kind is None:
            raise UsageError(
                f"{output}: No suffix that says what to make (.catar, .caidx, .caibx); --what= says it too"
            )
    if source is None:
        source = STANDARD_STREAM if kind is Kind.BLOB_INDEX else "."
    if source != STANDARD_STREAM and parse_locator(source).kind is not LocatorKind.PATH:
        raise UsageError(f"{source}: Can only make from files and directories of this machine")
    found = input_type(source)
    if found is Kind.DIRECTORY:
        if kind is Kind.BLOB_INDEX:
            raise UsageError(f"{source}: Is a directory, and cannot be made into a blob index")
        return kind or Kind.ARCHIVE, source
    if kind in {Kind.ARCHIVE, Kind.ARCHIVE_INDEX}:
        raise UsageError(f"{source}: Is no directory, and cannot be made into an archive")
    return Kind.BLOB_INDEX, source


def _make_blob(output: str, source: str, settings: Settings, monitor: Monitor) -> Made:
    from casync_py.sync.blob import FileBlob
    from casync_py.sync.make import blob_stream

    with FileBlob(source) as blob:
        monitor.total = blob.size
        return _make_index(Kind.BLOB_INDEX, output, blob_stream(blob), blob.mode & 0o666, settings, monitor)


def _make_tree(kind: Kind, output: str, source: str, settings: Settings, monitor: Monitor) -> Made:
    from casync_py.api.uploads import open_archive_sink
    from casync_py.archive.scan import scan
    from casync_py.sync.make import make_archive, tree_stream

    root = directory(source)
    features = feature_flags(settings, kind)
    mode = os.stat(root).st_mode & 0o666
    stream = tree_stream(lambda: scan(root, features, monitor=monitor), features, monitor)
    if kind is Kind.ARCHIVE_INDEX:
        return _make_index(kind, output, stream, mode, settings, monitor)
    file = open_archive_sink(output, mode, settings, monitor)
    return make_archive(stream, file, settings.digest, stream_digest=settings.archive_digest, monitor=monitor)


def _make_index(
    kind: Kind,
    output: str,
    stream: Callable[[BlockWriter], None],
    mode: int,
    settings: Settings,
    monitor: Monitor,
) -> Made:
    from casync_py.api.uploads import open_upload
    from casync_py.chunking.params import ChunkParams
    from casync_py.sync.make import make_index
    from casync_py.sync.upload import UploadPlan

    params = ChunkParams.derive(*settings.chunk_size)
    plan = UploadPlan(feature_flags(settings, kind), params, mode)
    with open_upload(output, main_store(settings, output), plan, settings, monitor) as upload:
        return make_index(
            stream,
            upload,
            params,
            settings.digest,
            stream_digest=settings.archive_digest,
            resources=settings.resources,
            monitor=monitor,
        )
