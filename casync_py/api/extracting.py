"""Extracting: from an archive or index to a directory, file or device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from casync_py.api.locations import input_type, is_standard, local_path
from casync_py.api.opening import open_tree, selected
from casync_py.api.sources import open_index_stream
from casync_py.errors import UsageError
from casync_py.files import STANDARD_STREAM
from casync_py.monitor import Monitor
from casync_py.options import Settings
from casync_py.remote.endpoint import OffersTarget
from casync_py.remote.locator import parse_locator
from casync_py.remote.open import open_remote
from casync_py.sync.kinds import Kind, asked_kind, suffix_kind

if TYPE_CHECKING:
    from casync_py.sync.blob import BlobTarget

_MADE = {Kind.ARCHIVE, Kind.ARCHIVE_INDEX, Kind.BLOB_INDEX}


@dataclass(frozen=True, slots=True)
class ExtractResult:
    """What `extract` came to.

    Attributes:
        kind: "archive", "archive-index" or "blob-index".
        output: where it went, `-` for standard output.
        size: bytes of the plain stream.
        entries: files, directories and other nodes; 0 for a blob.
        chunks, chunks_reused: chunks that were fetched, and that were in place or in the store cache.
        bytes_received: bytes that came from other machines.
        notices: one line each.
    """

    kind: str
    output: str
    size: int
    entries: int
    chunks: int
    chunks_reused: int
    bytes_received: int
    notices: tuple[str, ...]


def extract(
    input: str | None = None,  # noqa: A002 - the command's word
    output: str | None = None,
    subpath: str | None = None,
    settings: Settings | None = None,
    monitor: Monitor | None = None,
) -> ExtractResult:
    """Extract an archive, or an index with the chunks of its stores.

    Args:
        input: archive or index; None or `-`: standard input, the kind told by the output.
        output: a directory for trees (None: the working directory), a file or device for blobs (None: standard output).
        subpath: one object of a tree, which is then placed inside the output.

    Raises:
        FormatError, ChunkMissing, ChunkInvalid, UsageError, OSError: what was not complete has no final name then.
    """
    settings, monitor = settings or Settings(), monitor or Monitor()
    kind = _what_to_extract(input, output, settings)
    if subpath and not kind.is_tree:
        raise UsageError("A blob has no paths inside it")
    monitor.stage = "Extracting"
    target = output if output is not None else "." if kind.is_tree else STANDARD_STREAM
    if kind.is_tree:
        _extract_tree(kind, input, local_path(target, "extract a tree"), subpath, settings, monitor)
    else:
        _extract_blob(input, target, settings, monitor)
    return ExtractResult(
        kind.value,
        target,
        monitor.done,
        monitor.entries,
        monitor.chunks_new,
        monitor.chunks_reused,
        monitor.received,
        tuple(monitor.notices),
    )


def _what_to_extract(source: str | None, output: str | None, settings: Settings) -> Kind:
    kind = asked_kind(settings.what, _MADE, "extract")
    if kind is None and not is_standard(source):
        assert source is not None
        kind = suffix_kind(parse_locator(source).content)
        if kind is None:
            raise UsageError(f"{source}: No suffix that says what it is (.catar, .caidx, .caibx); --what= says it too")
    try:
        found = input_type(output) if not is_standard(output) else None
    except FileNotFoundError:
        found = None
    if found is Kind.DIRECTORY and kind is Kind.BLOB_INDEX:
        raise UsageError(f"{output}: Is a directory, and a blob cannot be extracted to it")
    if found is Kind.BLOB and kind is not None and kind.is_tree:
        raise UsageError(f"{output}: Is no directory, and a tree cannot be extracted to it")
    if kind is None and found is not None:
        kind = Kind.ARCHIVE_INDEX if found is Kind.DIRECTORY else Kind.BLOB_INDEX
    if kind is None:
        raise UsageError(
            "What to extract is unknown: --what=archive, --what=archive-index or --what=blob-index says it"
        )
    return kind


def _extract_tree(
    kind: Kind, source: str | None, target: str, subpath: str | None, settings: Settings, monitor: Monitor
) -> None:
    from casync_py.archive.restore import restore

    with open_tree(source, kind, settings, monitor) as tree:
        restore(
            selected(tree.entries, subpath),
            target,
            tree.shown,
            inside=bool(subpath),
            delete=settings.delete,
            punch_holes=settings.punch_holes,
            undo_immutable=settings.undo_immutable,
            sync=settings.sync,
            monitor=monitor,
        )


def _extract_blob(source: str | None, target: str, settings: Settings, monitor: Monitor) -> None:
    from casync_py.sync.extract import extract_blob

    with open_index_stream(source, settings, monitor) as (index, stream):
        extract_blob(stream, _blob_target(target, index.size, settings), settings.resources)


def _blob_target(text: str, size: int, settings: Settings) -> BlobTarget:
    if text == STANDARD_STREAM:
        from casync_py.sync.blob import StreamTarget

        return StreamTarget()
    endpoint = open_remote(text)
    if not isinstance(endpoint, OffersTarget):
        raise UsageError(f"{endpoint.locator.shown}: A blob cannot be extracted there")
    return endpoint.open_target(size, settings.punch_holes)
