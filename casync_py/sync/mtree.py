"""`mtree`: one line of BSD mtree(5) for each node, with the digest of each regular file's content."""

from __future__ import annotations

import stat
from functools import lru_cache
from typing import TYPE_CHECKING

from casync_py.archive.nodes import Entry, Node
from casync_py.format.flags import ANY_TIME, Feature
from casync_py.sync.node_digests import payload_digest
from casync_py.sync.shown import escape, group_name, shown_path, shows_ids, shows_names, user_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casync_py.archive.nodes import Leave
    from casync_py.digest import Digest

    _Shared = tuple[int, int, int, bytes, bytes, int]  # type of node, uid, gid, user, group, flags

_TYPES = {
    stat.S_IFLNK: b"link",
    stat.S_IFDIR: b"dir",
    stat.S_IFREG: b"file",
    stat.S_IFSOCK: b"socket",
    stat.S_IFCHR: b"char",
    stat.S_IFBLK: b"block",
    stat.S_IFIFO: b"fifo",
}
_FLAG_WORDS = (
    (int(Feature.FLAG_HIDDEN), b"hidden"),
    (int(Feature.FLAG_SYSTEM), b"system"),
    (int(Feature.FLAG_ARCHIVE), b"archive"),
    (int(Feature.FLAG_APPEND), b"sappend"),
    (int(Feature.FLAG_NODUMP), b"nodump"),
    (int(Feature.FLAG_IMMUTABLE), b"simmutable"),
)
_ALL_FLAGS = -1
_OWNERS_CACHED = 1024


def mtree_lines(
    entries: Iterator[Entry | Leave], mask: int, archive_features: int, digest: Digest, label: Digest | None = None
) -> Iterator[bytes]:
    """Lines of `casync mtree`, each with its newline. Payloads are read and digested.

    Args:
        mask: which metadata is shown (`shown_mask`); the scan's features for a directory.
        archive_features: the archive's; the scan's features for a directory. They say which words `flags=` has.
        digest: what content is digested with: the archive's, or for a directory the one asked for.
        label: the digest whose name stands before the value; `digest` where not given. casync's label follows
            `--digest=` while the value follows the archive.

    Raises:
        what reading payloads raises.
    """
    head, tail = _type_and_mode, _owner_and_flags(mask, archive_features)
    with_time = bool(mask & ANY_TIME)
    digest_key = f" {(label or digest).label}=".encode()
    for item in entries:
        if not isinstance(item, Entry):
            continue
        node, payload = item.node, item.payload
        mode = node.mode
        line = shown_path(item.path) + head(mode)
        kind = mode & 0o170000
        if kind == stat.S_IFREG:
            line += b" size=%d" % node.size
        elif kind != stat.S_IFDIR:
            line += _special(kind, node)
        line += tail((kind, node.uid, node.gid, node.user, node.group, node.flags))
        if with_time:
            line += b" time=%d.%09d" % divmod(node.mtime_ns, 1_000_000_000)
        if payload is not None:
            line += digest_key + payload_digest(payload, digest).hex().encode()
        yield line + b"\n"


@lru_cache(maxsize=4096)
def _type_and_mode(mode: int) -> bytes:
    return b" type=%s mode=%04o" % (_TYPES[stat.S_IFMT(mode)], stat.S_IMODE(mode))


def _special(kind: int, node: Node) -> bytes:
    if kind == stat.S_IFLNK:
        return b" link=" + escape(node.target)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        return b" device=linux,%d,%d" % node.rdev
    return b""


def _owner_and_flags(mask: int, archive_features: int) -> Callable[[_Shared], bytes]:
    """The part of the line that most nodes of a tree share, as a cached function."""
    with_ids, with_names = shows_ids(mask), shows_names(mask)
    words = [(bit, word) for bit, word in _FLAG_WORDS if archive_features & bit]

    @lru_cache(maxsize=_OWNERS_CACHED)
    def describe(shared: _Shared) -> bytes:
        kind, uid, gid, user, group, flags = shared
        text = b" uid=%d gid=%d" % (uid, gid) if with_ids else b""
        if with_names:
            node = Node(mode=kind, uid=uid, gid=gid, user=user, group=group)
            for key, name in ((b" uname=", user_name(node)), (b" gname=", group_name(node))):
                text += key + escape(name) if name else b""
        if words:
            # Other nodes than files and directories have no flags; casync prints an unset variable, all ones, for them.
            shown = flags & mask if kind in (stat.S_IFREG, stat.S_IFDIR) else _ALL_FLAGS
            text += b" flags=" + b",".join(word if shown & bit else b"no" + word for bit, word in words)
        return text

    return describe
