"""`digest`: of a file its content's, of a tree that of the archive that `make` would write."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from casync_py.archive.nodes import Entry
from casync_py.errors import UsageError
from casync_py.monitor import Monitor
from casync_py.sync.make import digest_stream, tree_stream
from casync_py.sync.node_digests import payload_digest
from casync_py.sync.shown import shown_path

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from casync_py.archive.nodes import Leave
    from casync_py.digest import Digest


def digest_entries(
    entries: Iterator[Entry | Leave], features: int, digest: Digest, monitor: Monitor | None = None
) -> bytes:
    """What `casync digest` prints: of a directory the digest of its archive, of a regular file that of its content.

    Args:
        entries: from a scan, an archive or `select`. For a sub-directory the digest is that of ENTRY to GOODBYE.
        features: the scan's or the archive's feature flags.
        digest: the archive's, or for a directory that is scanned the one asked for.

    Returns:
        32 bytes.

    Raises:
        UsageError: the first entry is neither a regular file nor a directory.
    """
    top = next(entries)
    assert isinstance(top, Entry), "a stream of entries begins with an entry"
    if top.payload is not None:
        return payload_digest(top.payload, digest)
    if not stat.S_ISDIR(top.node.mode):
        raise UsageError(f"Path {shown_path(top.path).decode()} does not refer to a file or directory")
    monitor = monitor or Monitor()
    made = digest_stream(tree_stream(lambda: _rooted(top, entries), features, monitor), digest, monitor)
    assert made.digest is not None, "asked for"
    return bytes.fromhex(made.digest)


def _rooted(top: Entry, below: Iterator[Entry | Leave]) -> Generator[Entry | Leave, None, None]:
    """A directory as the root of an archive of its own, which has no FILENAME."""
    yield top._replace(name=b"")
    yield from below
