"""One node and what is below it, out of a stream of entries."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from casync_py.archive.nodes import Entry
from casync_py.errors import UsageError
from casync_py.sync.shown import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.archive.nodes import Leave


def subpath_components(subpath: bytes) -> tuple[bytes, ...]:
    """Names on the way to a sub-path; slashes that lead, trail or repeat do not count. Empty for the root.

    `.` and `..` stand for themselves and so are found in no archive, as with casync.
    """
    return tuple(name for name in subpath.split(b"/") if name)


def select(entries: Iterator[Entry | Leave], subpath: bytes) -> Iterator[Entry | Leave]:
    """The sub-tree at `subpath`: its entry, what is below it, and the `Leave` of a directory.

    Nothing is read after that. Paths stay relative to the archive's root, as casync prints them. Payloads
    on the way are left unread.

    Raises:
        UsageError: there is no such path; raised when the place where it would stand has passed.
    """
    target = b"/".join(subpath_components(subpath))
    if not target:
        yield from entries
        return
    found = _seek(entries, target)
    yield found
    if not stat.S_ISDIR(found.node.mode):
        return
    for item in entries:
        yield item
        if item[0] == target and not isinstance(item, Entry):
            return


def _seek(entries: Iterator[Entry | Leave], target: bytes) -> Entry:
    ancestors = {target[:end] for end, byte in enumerate(target) if byte == 0x2F} | {b""}
    for item in entries:
        path = item[0]
        if path == target and isinstance(item, Entry):
            return item
        # The directory that would have it has ended, or is none.
        if path in ancestors and not (isinstance(item, Entry) and stat.S_ISDIR(item.node.mode)):
            break
    raise UsageError(f"Seek path not available in archive: {escape(target).decode()}")
