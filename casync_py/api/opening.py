"""Opening what the verbs read: trees from directories, archives and indexes, and the stores behind an index."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casync_py.digest import digest_of_flags
from casync_py.errors import UsageError
from casync_py.files import STANDARD_STREAM, STDIN
from casync_py.format.flags import WITH_MASK, Feature, effective_flags
from casync_py.remote.endpoint import OffersArchive, OffersIndex, OffersStore
from casync_py.remote.locator import LocatorKind, parse_locator
from casync_py.remote.open import open_remote
from casync_py.sync.kinds import Kind, kind_of_file
from casync_py.sync.shown import shown_mask
from casync_py.sync.stream import ArchiveStart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.archive.decoder import ByteSource
    from casync_py.archive.nodes import Entry, Leave
    from casync_py.digest import Digest
    from casync_py.format.index import Index
    from casync_py.monitor import Monitor
    from casync_py.options import Settings
    from casync_py.store.base import Store
    from casync_py.sync.stream import ArchiveSource, IndexStream


def is_standard(text: str | None) -> bool:
    """Whether a standard stream is meant: no argument, or `-`."""
    return text is None or text == STANDARD_STREAM


def feature_flags(settings: Settings, kind: Kind) -> int:
    """Feature flags of what is made: of a tree all, of a blob none, unless chosen; and how it is made."""
    extra = settings.digest.flag
    for chosen, flag in (
        (settings.exclude_nodump, Feature.EXCLUDE_NODUMP),
        (settings.exclude_submounts, Feature.EXCLUDE_SUBMOUNTS),
        (settings.exclude_file, Feature.EXCLUDE_FILE),
    ):
        extra |= flag if chosen else 0
    return effective_flags(settings.with_, settings.without, WITH_MASK if kind.is_tree else 0, int(extra))


def main_store(settings: Settings, index: str | None) -> str:
    """Locator of the main store: as chosen, `$CASYNC_STORE`, or `default.castr` beside the index."""
    chosen = settings.store or os.environ.get("CASYNC_STORE")
    if chosen:
        return chosen
    return "default.castr" if index is None or is_standard(index) else parse_locator(index).default_store()


@contextmanager
def open_stores(
    settings: Settings, index_name: str | None, digest: Digest, limit: int, monitor: Monitor | None = None
) -> Iterator[Store]:
    """The stores that an index's chunks are read from, in order, each chunk verified.

    Args:
        limit: most bytes of a chunk, as the index says.
        monitor: told of a store that does not exist while there are others.

    Raises:
        OSError: no store exists, or one cannot be opened.
    """
    from casync_py.store.router import RouterStore
    from casync_py.store.verify import Verified

    with ExitStack() as cleanup:
        jobs = max(1, settings.resources.jobs)
        pool = cleanup.enter_context(ThreadPoolExecutor(jobs, "casync-fetch"))
        stores: list[Store] = []
        absent: FileNotFoundError | None = None
        for text in (main_store(settings, index_name), *settings.extra_stores):
            try:
                store = _open_store(text, settings)
            except FileNotFoundError as error:
                absent = absent or error
                continue
            cleanup.callback(store.close)
            stores.append(Verified(store, [digest], limit, jobs=jobs, executor=pool))
        if absent is not None:
            if not stores:
                raise absent
            if monitor is not None:
                monitor.notice(f"{absent.filename}: No such store, going on without it")
        yield stores[0] if len(stores) == 1 else RouterStore(stores, jobs=jobs, executor=pool)


def _open_store(text: str, settings: Settings) -> Store:
    endpoint = open_remote(text)
    if not isinstance(endpoint, OffersStore):
        raise UsageError(f"{text}: Cannot be a store")
    return endpoint.open_store(settings.store_options)


@contextmanager
def open_index(text: str | None) -> Iterator[Index]:
    """The index at a locator or on standard input (a pipe is spooled, because an index is read at random)."""
    if is_standard(text):
        from casync_py.sync.spool import spooled_index

        with spooled_index(STDIN) as index:
            yield index
        return
    assert text is not None
    endpoint = open_remote(text)
    if not isinstance(endpoint, OffersIndex):
        raise UsageError(f"{text}: Cannot be an index")
    with endpoint.open_index() as index:
        yield index


@contextmanager
def open_index_stream(text: str | None, settings: Settings, monitor: Monitor) -> Iterator[tuple[Index, IndexStream]]:
    """An index and the stream of its chunks, from the stores that the settings name."""
    from casync_py.sync.stream import IndexStream

    with ExitStack() as cleanup:
        index = cleanup.enter_context(open_index(text))
        store = cleanup.enter_context(open_stores(settings, text, index.digest, index.chunk_max, monitor))
        stream = IndexStream(index, store, settings.resources.memory // 2, monitor)
        cleanup.callback(stream.close)
        monitor.total = index.size
        yield index, stream


@contextmanager
def open_archive(text: str | None) -> Iterator[ArchiveSource]:
    """The bytes of an archive at a locator or on standard input."""
    if is_standard(text):
        from casync_py.sync.stream import FileStream

        yield FileStream(STANDARD_STREAM)
        return
    assert text is not None
    endpoint = open_remote(text)
    if not isinstance(endpoint, OffersArchive):
        raise UsageError(f"{text}: Cannot be an archive")
    source = endpoint.open_archive()
    try:
        yield source
    finally:
        source.close()


def directory(text: str) -> str | int:
    """A local directory's path, or the descriptor of the one that standard input is, for `-`."""
    return STDIN if text == STANDARD_STREAM else parse_locator(text).path


@dataclass(slots=True)
class Tree:
    """A tree to read, wherever it comes from.

    Attributes:
        kind: DIRECTORY, ARCHIVE or ARCHIVE_INDEX.
        entries: its nodes, to be taken once.
        features: feature flags of the archive, or that the directory is scanned with.
        shown: those of them that the settings let through.
        digest: what its content is digested with.
        name: for messages.
    """

    kind: Kind
    entries: Iterator[Entry | Leave]
    features: int
    shown: int
    digest: Digest
    name: str


@contextmanager
def open_tree(
    text: str | None, kind: Kind, settings: Settings, monitor: Monitor, *, for_stat: bool = False
) -> Iterator[Tree]:
    """Open a directory, an archive or an archive's index as a stream of entries.

    Args:
        for_stat: a directory is looked at as casync's stat does, which sees more than its make.
    """
    with ExitStack() as cleanup:
        if kind is Kind.DIRECTORY:
            from casync_py.archive.scan import scan
            from casync_py.sync.stat import stat_scan_features

            features = feature_flags(settings, kind)
            name = text or "."
            wanted = stat_scan_features(features) if for_stat else features
            entries = cleanup.enter_context(closing(scan(directory(name), wanted, monitor=monitor)))
            yield Tree(kind, entries, features, features, settings.digest, name)
            return
        from casync_py.archive.decoder import decode

        name = "standard input" if is_standard(text) else str(text)
        source: ByteSource
        if kind is Kind.ARCHIVE_INDEX:
            index, source = cleanup.enter_context(open_index_stream(text, settings, monitor))
            features = index.feature_flags
        else:
            source = ArchiveStart(cleanup.enter_context(open_archive(text)), monitor)
            features = source.features
        entries = decode(source, features, name)
        shown = shown_mask(settings.with_, settings.without, features)
        yield Tree(kind, entries, features, shown, digest_of_flags(features), name)


def input_type(text: str | None) -> Kind | None:
    """Type of a local input (or of standard input); None for what is not a path of this machine."""
    if is_standard(text):
        return kind_of_file(os.fstat(STDIN).st_mode, "standard input")
    assert text is not None
    locator = parse_locator(text)
    if locator.scheme != "path":
        return None
    return kind_of_file(os.stat(locator.path).st_mode, locator.path)


def local_path(text: str, purpose: str) -> str:
    """The path that a locator is, for what can only be done on this machine.

    Raises:
        UsageError: it is no path; the message has `purpose` in it.
    """
    locator = parse_locator(text)
    if locator.kind is not LocatorKind.PATH:
        raise UsageError(f"{text}: Can only {purpose} on this machine")
    return locator.path


def selected(entries: Iterator[Entry | Leave], subpath: str | None) -> Iterator[Entry | Leave]:
    """The part of a tree that is at `subpath`, all of it without one."""
    from casync_py.sync.select import select

    return select(entries, os.fsencode(subpath)) if subpath else entries
