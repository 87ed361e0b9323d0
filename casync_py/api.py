"""The public functions: each takes paths or URLs as the command does, a `Settings` and a `Monitor`.

Errors are those of `casync_py.errors`, and OSError with the path in `filename`.
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casync_py.digest import BLAKE3
from casync_py.errors import UsageError
from casync_py.monitor import Monitor
from casync_py.opening import (
    STANDARD_STREAM,
    directory,
    feature_flags,
    input_type,
    is_standard,
    main_store,
    open_index_stream,
    open_tree,
)
from casync_py.options import Settings
from casync_py.remote.endpoint import OffersStore, OffersTarget, OffersUpload
from casync_py.remote.locator import LocatorKind, parse_locator
from casync_py.remote.open import open_remote
from casync_py.sync.kinds import Kind, asked_kind, suffix_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casync_py.archive.nodes import Entry, Leave
    from casync_py.digest import Digest
    from casync_py.opening import Tree
    from casync_py.store.base import WritableStore
    from casync_py.sync.blob import BlobTarget
    from casync_py.sync.blocks import BlockWriter
    from casync_py.sync.make import Made
    from casync_py.sync.upload import Upload, UploadPlan

_MADE = {Kind.ARCHIVE, Kind.ARCHIVE_INDEX, Kind.BLOB_INDEX}
_LISTED = {Kind.ARCHIVE, Kind.ARCHIVE_INDEX, Kind.DIRECTORY}


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
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExtractResult:
    """What `extract` came to: the kind of input, where it went, bytes of plain stream, nodes, chunks fetched."""

    kind: str
    output: str
    size: int
    entries: int
    chunks: int
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
    from casync_py.archive.scan import scan
    from casync_py.sync.make import make_archive, tree_stream

    root = directory(source)
    features = feature_flags(settings, kind)
    mode = os.stat(root).st_mode & 0o666
    with closing(scan(root, features, monitor=monitor)) as nodes:
        stream = tree_stream(nodes, features, monitor)
        if kind is Kind.ARCHIVE_INDEX:
            return _make_index(kind, output, stream, mode, settings, monitor)
        path = output if output == STANDARD_STREAM else _local_path(output, "make an archive")
        return make_archive(stream, path, mode, settings.digest, stream_digest=settings.archive_digest, monitor=monitor)


def _make_index(
    kind: Kind,
    output: str,
    stream: Callable[[BlockWriter], None],
    mode: int,
    settings: Settings,
    monitor: Monitor,
) -> Made:
    from casync_py.chunking.params import ChunkParams
    from casync_py.sync.make import make_index
    from casync_py.sync.upload import UploadPlan

    params = ChunkParams.derive(*settings.chunk_size)
    plan = UploadPlan(feature_flags(settings, kind), params, mode)
    with closing(_writable_store(main_store(settings, output), settings)) as store:
        return make_index(
            stream,
            _upload(output, store, plan),
            params,
            settings.digest,
            stream_digest=settings.archive_digest,
            resources=settings.resources,
            monitor=monitor,
        )


def _writable_store(text: str, settings: Settings) -> WritableStore:
    endpoint = open_remote(text)
    if not isinstance(endpoint, OffersStore):
        raise UsageError(f"{text}: Cannot be a store")
    return endpoint.open_writable_store(settings.store_options)


def _upload(output: str, store: WritableStore, plan: UploadPlan) -> Upload:
    if output == STANDARD_STREAM:
        from casync_py.sync.upload import LocalUpload

        return LocalUpload(output, store, plan)
    endpoint = open_remote(output)
    if not isinstance(endpoint, OffersUpload):
        raise UsageError(f"{output}: Cannot make an index there")
    return endpoint.open_upload(store, plan)


def _local_path(text: str, purpose: str) -> str:
    locator = parse_locator(text)
    if locator.kind is not LocatorKind.PATH:
        raise UsageError(f"{text}: Can only {purpose} on this machine")
    return locator.path


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
        _extract_tree(kind, input, _local_path(target, "extract a tree"), subpath, settings, monitor)
    else:
        _extract_blob(input, target, settings, monitor)
    return ExtractResult(kind.value, target, monitor.done, monitor.entries, monitor.chunks_new, tuple(monitor.notices))


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
            _selected(tree.entries, subpath),
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
        extract_blob(stream, _blob_target(target, index.size, settings))


def _blob_target(text: str, size: int, settings: Settings) -> BlobTarget:
    if text == STANDARD_STREAM:
        from casync_py.sync.blob import StreamTarget

        return StreamTarget()
    endpoint = open_remote(text)
    if not isinstance(endpoint, OffersTarget):
        raise UsageError(f"{text}: A blob cannot be extracted there")
    return endpoint.open_target(size, settings.punch_holes)


def _selected(entries: Iterator[Entry | Leave], subpath: str | None) -> Iterator[Entry | Leave]:
    from casync_py.sync.select import select

    return select(entries, os.fsencode(subpath)) if subpath else entries


@contextmanager
def open_listing(
    source: str | None, subpath: str | None, settings: Settings, monitor: Monitor | None, verb: str
) -> Iterator[Tree]:
    """The tree that list, mtree and stat show."""
    kind = asked_kind(settings.what, _LISTED, verb)
    if kind is None and not is_standard(source):
        assert source is not None
        kind = suffix_kind(parse_locator(source).content)
        if kind is Kind.BLOB_INDEX:
            kind = None
    if source is None and kind in {None, Kind.DIRECTORY}:
        source = "."
    found = input_type(source)
    if found is Kind.DIRECTORY and kind not in {None, Kind.DIRECTORY}:
        raise UsageError(f"{source}: Is a directory, not an archive or index")
    if found is Kind.BLOB and kind is Kind.DIRECTORY:
        raise UsageError(f"{source}: Is no directory")
    kind = kind or (Kind.DIRECTORY if found is Kind.DIRECTORY else Kind.ARCHIVE)
    if subpath is not None and kind is Kind.DIRECTORY:
        raise UsageError("A path inside can only be given for an archive or index, not for a directory")
    with open_tree(source, kind, settings, monitor or Monitor(), for_stat=verb == "stat") as tree:
        tree.entries = _selected(tree.entries, subpath)
        yield tree


def entries(
    input: str | None = None,  # noqa: A002 - the command's word
    subpath: str | None = None,
    settings: Settings | None = None,
    monitor: Monitor | None = None,
) -> Iterator[Entry]:
    """The nodes of a directory, archive or index, in archive order, each with its metadata and payload."""
    from casync_py.archive.nodes import Entry as EntryType

    with open_listing(input, subpath, settings or Settings(), monitor, "list") as tree:
        for item in tree.entries:
            if isinstance(item, EntryType):
                yield item


def list_tree(
    input: str | None = None,  # noqa: A002 - the command's word
    subpath: str | None = None,
    settings: Settings | None = None,
    monitor: Monitor | None = None,
) -> Iterator[bytes]:
    """Lines of `list`, each with its newline."""
    from casync_py.sync.listing import list_lines

    settings = settings or Settings()
    with open_listing(input, subpath, settings, monitor, "list") as tree:
        yield from list_lines(tree.entries, settings.recursive)


def mtree(
    input: str | None = None,  # noqa: A002 - the command's word
    subpath: str | None = None,
    settings: Settings | None = None,
    monitor: Monitor | None = None,
) -> Iterator[bytes]:
    """Lines of `mtree`, each with its newline."""
    from casync_py.sync.mtree import mtree_lines

    settings = settings or Settings()
    with open_listing(input, subpath, settings, monitor, "mtree") as tree:
        # casync's label is that of --digest, whatever the archive says; BLAKE3 is ours, and never called another name.
        label = tree.digest if tree.digest is BLAKE3 else settings.digest
        yield from mtree_lines(tree.entries, tree.shown, tree.features, tree.digest, label)


def stat(
    input: str | None = None,  # noqa: A002 - the command's word
    subpath: str | None = None,
    settings: Settings | None = None,
    monitor: Monitor | None = None,
) -> Iterator[bytes]:
    """Lines of `stat` for one node, each with its newline."""
    from casync_py.sync.stat import stat_lines

    with open_listing(input, subpath, settings or Settings(), monitor, "stat") as tree:
        yield from stat_lines(tree.entries, tree.shown, tree.features, tree.digest)


def digest(
    input: str | None = None,  # noqa: A002 - the command's word
    subpath: str | None = None,
    settings: Settings | None = None,
    monitor: Monitor | None = None,
) -> str:
    """Hex digest of what is named, as casync prints it.

    Of a directory: of the archive that `make` would make; of an archive or its index: of the archive; of a file, device
    or blob's index: of its bytes; with `subpath`: of that file's content or of that directory's part of the archive.
    """
    from casync_py.digest import DEFAULT_DIGEST

    settings, monitor = settings or Settings(), monitor or Monitor()
    monitor.stage = "Digesting"
    kind = _what_to_digest(input, settings)
    if kind in {Kind.BLOB, Kind.BLOB_INDEX} and subpath:
        raise UsageError("A blob has no paths inside it")
    if kind is Kind.BLOB:
        return _digest_file(input, settings, monitor)
    if kind is Kind.BLOB_INDEX:
        with open_index_stream(input, settings, monitor) as (_, stream):
            return _digest_bytes(iter(stream.read, b""), DEFAULT_DIGEST)  # whatever the index says, as casync does
    from casync_py.sync.digesting import digest_entries

    if input is None and kind is Kind.DIRECTORY:
        input = "."  # noqa: A001
    with open_tree(input, kind, settings, monitor) as tree:
        return digest_entries(_selected(tree.entries, subpath), tree.features, tree.digest, monitor).hex()


def _what_to_digest(source: str | None, settings: Settings) -> Kind:
    kind = asked_kind(settings.what, set(Kind), "digest")
    if kind is None and not is_standard(source):
        assert source is not None
        kind = suffix_kind(parse_locator(source).content)
    found = input_type("." if source is None and kind in {None, Kind.DIRECTORY} else source)
    if found is Kind.DIRECTORY and kind not in {None, Kind.DIRECTORY}:
        raise UsageError(f"{source}: Is a directory, and cannot be read as a file")
    if found is Kind.BLOB and kind is Kind.DIRECTORY:
        raise UsageError(f"{source}: Is no directory")
    return kind or found or Kind.BLOB


def _digest_file(source: str | None, settings: Settings, monitor: Monitor) -> str:
    from casync_py.sync.blob import FileBlob
    from casync_py.sync.make import blob_stream, digest_stream

    with FileBlob(source if source is None else _local_path(source, "digest a file")) as blob:
        monitor.total = blob.size
        made = digest_stream(blob_stream(blob), settings.digest, monitor)
    assert made.digest is not None
    return made.digest


def _digest_bytes(pieces: Iterator[bytes | memoryview], digest: Digest) -> str:
    hasher = digest.new()
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest()
