"""Opening the trees that the verbs read: directories, archives and archives' indexes as streams of entries."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casync_py.api.locations import directory, is_standard
from casync_py.api.sources import open_archive, open_index_stream
from casync_py.digest import digest_of_flags
from casync_py.format.flags import WITH_MASK, Feature, effective_flags
from casync_py.sync.kinds import Kind
from casync_py.sync.shown import shown_mask
from casync_py.sync.stream import ArchiveStart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.archive.decoder import ByteSource
    from casync_py.archive.nodes import Entry, Leave
    from casync_py.digest import Digest
    from casync_py.monitor import Monitor
    from casync_py.options import Settings


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
            source = ArchiveStart(cleanup.enter_context(open_archive(text, settings, monitor)), monitor)
            features = source.features
        entries = decode(source, features, name)
        shown = shown_mask(settings.with_, settings.without, features)
        yield Tree(kind, entries, features, shown, digest_of_flags(features), name)


def selected(entries: Iterator[Entry | Leave], subpath: str | None) -> Iterator[Entry | Leave]:
    """The part of a tree that is at `subpath`, all of it without one."""
    from casync_py.sync.select import select

    return select(entries, os.fsencode(subpath)) if subpath else entries
