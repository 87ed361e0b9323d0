"""`stat`: all that an archive knows of one node, a line for each fact."""

from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING

from casync_py.archive.nodes import Entry
from casync_py.format.flags import ANY_TIME, FAT_ATTRS, Feature
from casync_py.sync.node_digests import content_digests
from casync_py.sync.shown import escape, group_name, mode_string, shown_path, shows_ids, shows_names, user_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.archive.nodes import Leave, Node
    from casync_py.digest import Digest

_PROJID = int(Feature.QUOTA_PROJID)
_XATTRS, _FCAPS = int(Feature.XATTRS), int(Feature.FCAPS)
_CHATTR_LETTERS = (
    (int(Feature.FLAG_SYNC), "S"),
    (int(Feature.FLAG_DIRSYNC), "D"),
    (int(Feature.FLAG_IMMUTABLE), "i"),
    (int(Feature.FLAG_APPEND), "a"),
    (int(Feature.FLAG_NODUMP), "d"),
    (int(Feature.FLAG_NOATIME), "A"),
    (int(Feature.FLAG_COMPR), "c"),
    (int(Feature.FLAG_NOCOMP), "N"),
    (int(Feature.FLAG_NOCOW), "C"),
    (int(Feature.FLAG_PROJINHERIT), "P"),
)
_FAT_LETTERS = (
    (int(Feature.FLAG_HIDDEN), "h"),
    (int(Feature.FLAG_SYSTEM), "s"),
    (int(Feature.FLAG_ARCHIVE), "a"),
)


def stat_scan_features(features: int) -> int:
    """Feature flags to scan a directory with for `stat_lines`, given those that were asked for.

    casync lists the xattrs of a directory that it looks at for capabilities, even where it would not archive them.
    """
    return features | _XATTRS if features & _FCAPS else features


def stat_lines(entries: Iterator[Entry | Leave], mask: int, features: int, digest: Digest) -> Iterator[bytes]:
    """Lines of `casync stat` for the first entry, each with its newline.

    A regular file's payload is read. casync stops with an error on a directory that it scans without xattrs; here
    the same lines are printed and nothing fails.

    Args:
        entries: from a scan with `stat_scan_features`, an archive or `select`; nothing after the first entry is taken.
        mask: which metadata is shown (`shown_mask`); the scan's features for a directory.
        features: the archive's or the scan's.
        digest: the archive's, or for a directory the one asked for.

    Raises:
        what reading the payload raises.
    """
    entry = next(entries)
    assert isinstance(entry, Entry), "a stream of entries begins with an entry"
    scanned = entry.offset < 0
    node = entry.node
    yield b"    File: %s\n" % shown_path(entry.path)
    yield b"    Mode: %s\n" % mode_string(node.mode)
    if stat.S_ISREG(node.mode) or stat.S_ISDIR(node.mode):
        yield b"FileAttr: %s\n" % _letters(_CHATTR_LETTERS, node.flags & mask)
        if features & FAT_ATTRS or not scanned:
            yield b" FATAttr: %s\n" % _letters(_FAT_LETTERS, node.flags & mask)
    yield b"  Offset: %d\n" % max(entry.offset, 0)
    if mask & ANY_TIME:
        yield b"    Time: %s\n" % _local_time(node.mtime_ns)
    if stat.S_ISREG(node.mode):
        yield b"    Size: %d\n" % node.size
    yield from _owner_lines(node, mask)
    # An archive without the record says nothing; a file system always answers, be it 0.
    if node.projid or (scanned and features & _PROJID):
        yield b"  ProjID: %d\n" % node.projid
    yield from _special_lines(node)
    for name, value in node.xattrs:
        yield b"   XAttr: %s \xe2\x86\x92 %s\n" % (escape(name), escape(value))
    yield from _digest_lines(entry, features, digest)


def _letters(table: tuple[tuple[int, str], ...], flags: int) -> bytes:
    return "".join(letter if flags & bit else "-" for bit, letter in table).encode()


def _local_time(mtime_ns: int) -> bytes:
    seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000)
    return time.strftime(f"%Y-%m-%d %H:%M:%S.{nanoseconds:09d}", time.localtime(seconds)).encode()


def _owner_lines(node: Node, mask: int) -> Iterator[bytes]:
    for label, number, name in ((b"User", node.uid, user_name(node)), (b"Group", node.gid, group_name(node))):
        known = escape(name) if shows_names(mask) else b""
        if shows_ids(mask):
            yield b"%8s: %s\n" % (label, b"%s (%d)" % (known, number) if known else b"%d" % number)
        elif known:
            yield b"%8s: %s\n" % (label, known)


def _special_lines(node: Node) -> Iterator[bytes]:
    if stat.S_ISLNK(node.mode):
        yield b"  Target: %s\n" % escape(node.target)
    elif stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode):
        yield b"  Device: %d:%d\n" % node.rdev


def _digest_lines(entry: Entry, features: int, digest: Digest) -> Iterator[bytes]:
    if stat.S_ISDIR(entry.node.mode):
        return
    content, whole = content_digests(entry, features, digest)
    # casync digests the content of block devices too, which is none in an archive.
    if stat.S_ISREG(entry.node.mode) or stat.S_ISBLK(entry.node.mode):
        yield b"  Digest: %s\n" % content.hex().encode()
    yield b"HLDigest: %s\n" % whole.hex().encode()
