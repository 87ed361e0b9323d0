"""Reading without extracting: entries, list, mtree, stat, digest."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from casync_py.api.locations import input_type, is_standard, local_path
from casync_py.api.opening import open_tree, selected
from casync_py.api.sources import open_index_stream
from casync_py.digest import BLAKE3, DEFAULT_DIGEST
from casync_py.errors import UsageError
from casync_py.monitor import Monitor
from casync_py.options import Settings
from casync_py.remote.locator import parse_locator
from casync_py.sync.kinds import Kind, asked_kind, suffix_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.api.opening import Tree
    from casync_py.archive.nodes import Entry
    from casync_py.digest import Digest

_LISTED = {Kind.ARCHIVE, Kind.ARCHIVE_INDEX, Kind.DIRECTORY}


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
        tree.entries = selected(tree.entries, subpath)
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

    with open_tree(input, kind, settings, monitor) as tree:
        return digest_entries(selected(tree.entries, subpath), tree.features, tree.digest, monitor).hex()


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

    with FileBlob(source if source is None else local_path(source, "digest a file")) as blob:
        monitor.total = blob.size
        made = digest_stream(blob_stream(blob), settings.digest, monitor)
    assert made.digest is not None
    return made.digest


def _digest_bytes(pieces: Iterator[bytes | memoryview], digest: Digest) -> str:
    hasher = digest.new()
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest()
