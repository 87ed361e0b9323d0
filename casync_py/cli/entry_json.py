"""`list`, `mtree` and `stat` with --json: an object for each node, with what the verb shows of it."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

from casync_py.api import open_listing
from casync_py.archive.nodes import Entry, Node
from casync_py.cli.render import json_line, text_fields
from casync_py.format.flags import ANY_TIME, feature_names
from casync_py.sync.node_digests import content_digests, payload_digest
from casync_py.sync.shown import group_name, shows_ids, shows_names, user_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.api.opening import Tree
    from casync_py.archive.nodes import Leave
    from casync_py.monitor import Monitor
    from casync_py.options import Settings

_TYPES = {
    stat.S_IFLNK: "link",
    stat.S_IFDIR: "dir",
    stat.S_IFREG: "file",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}
_NS = 1_000_000_000


def entry_lines(
    verb: str, source: str | None, subpath: str | None, settings: Settings, monitor: Monitor
) -> Iterator[bytes]:
    """One JSON line for each node that the verb shows. Raises what opening and reading the tree raises."""
    with open_listing(source, subpath, settings, monitor, verb) as tree:
        entries = _entries(tree.entries, settings.recursive or verb != "list")
        for entry in entries:
            fields = text_fields("path", entry.path or b".") | _basic(entry.node)
            if verb != "list":
                fields |= _metadata(entry.node, tree.shown)
            if verb == "mtree" and entry.payload is not None:
                fields[tree.digest.label] = payload_digest(entry.payload, tree.digest).hex()
            if verb == "stat":
                yield json_line(verb, fields | _everything(entry, tree))
                return
            yield json_line(verb, fields)


def _entries(items: Iterator[Entry | Leave], recursive: bool) -> Iterator[Entry]:
    top: bytes | None = None
    for item in items:
        if isinstance(item, Entry):
            if top is None:
                top = item.path + b"/" if item.path else b""
            if recursive or b"/" not in item.path[len(top) :]:
                yield item


def _basic(node: Node) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": _TYPES[stat.S_IFMT(node.mode)], "mode": f"{stat.S_IMODE(node.mode):04o}"}
    if stat.S_ISREG(node.mode):
        fields["size"] = node.size
    elif stat.S_ISLNK(node.mode):
        fields |= text_fields("target", node.target)
    elif stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode):
        fields["device"] = list(node.rdev)
    return fields


def _metadata(node: Node, shown: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if shows_ids(shown):
        fields |= {"uid": node.uid, "gid": node.gid}
    if shows_names(shown):
        fields |= text_fields("user", user_name(node)) | text_fields("group", group_name(node))
    if shown & ANY_TIME:
        fields["time"] = "{}.{:09}".format(*divmod(node.mtime_ns, _NS))  # a string: beyond what a double holds
    flags = list(feature_names(node.flags & shown))
    return fields | ({"flags": flags} if flags else {})


def _everything(entry: Entry, tree: Tree) -> dict[str, Any]:
    node = entry.node
    fields: dict[str, Any] = {}
    if entry.offset >= 0:
        fields["offset"] = entry.offset
    if node.projid:
        fields["projid"] = node.projid
    if node.xattrs:
        fields["xattrs"] = [text_fields("name", name) | text_fields("value", value) for name, value in node.xattrs]
    if not stat.S_ISDIR(node.mode):
        content, whole = content_digests(entry, tree.features, tree.digest)
        fields |= {tree.digest.label: content.hex(), "hldigest": whole.hex()}
    return fields
