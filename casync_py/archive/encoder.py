"""Entries to archive bytes: one pass, no recursion, a GOODBYE table at the end of each directory. Source: spec 1."""

from __future__ import annotations

from functools import cache, lru_cache
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG
from struct import Struct
from typing import TYPE_CHECKING, Protocol

from casync_py.archive.nodes import Leave
from casync_py.format import constants as c
from casync_py.format import records as r
from casync_py.format.goodbye import Children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from casync_py.archive.nodes import Acl, Entry, Node, Payload

_TYPE_MASK = 0o170000

_pack_entry = Struct("<8Q").pack
_pack_header = r.HEADER.pack


class Sink(Protocol):
    """Where an archive goes."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes of the stream."""

    def copy(self, payload: Payload, /) -> object:
        """Take the whole content of a file as the next bytes: exactly `payload.size`, or raise."""


def encode(entries: Iterable[Entry | Leave], sink: Sink, features: int) -> int:
    """Write an archive to `sink`.

    Args:
        entries: in archive order, as `scan` and `decode` yield them; a single entry that is no directory gives that
            node alone, ENTRY to content.
        features: feature flags; nodes are already reduced to what they let through.

    Returns:
        Length of the stream in bytes.
    """
    write, copy = sink.write, sink.copy
    heads = _file_heads()
    stack: list[Children] = []
    children = Children(-1)  # holds the top entry alone, and has no GOODBYE
    offset = 0
    for item in entries:
        if isinstance(item, Leave):
            data = children.goodbye(offset)
            children = stack.pop()
            write(data)
            offset += len(data)
            continue
        _, name, node, payload, _ = item
        mode, flags, uid, gid, mtime, user, group, xattrs, acl, selinux, fcaps, projid, _, _, _ = node
        kind = mode & _TYPE_MASK
        if name:
            children.add(name, offset)
        if kind == S_IFREG:
            assert payload is not None
            size = payload.size
            if xattrs or acl is not None or selinux is not None or fcaps is not None or projid or not name:
                data = _named(name) + encode_node(node, features) + _pack_header(size + 16, c.PAYLOAD)
            elif user or group:
                data = _named(name) + _pack_entry(64, c.ENTRY, features, mode, flags, uid, gid, mtime)
                data += _owner(user, group) + _pack_header(size + 16, c.PAYLOAD)
            else:
                length = len(name) + 17
                data = heads[length](
                    length, c.FILENAME, name, 64, c.ENTRY, features, mode, flags, uid, gid, mtime, size + 16, c.PAYLOAD
                )  # fmt: skip
            write(data)
            copy(payload)
            offset += len(data) + size
            continue
        data = _named(name)
        start = offset + len(data)
        data += encode_node(node, features)
        write(data)
        offset += len(data)
        if kind == S_IFDIR:
            stack.append(children)
            children = Children(start)
    if stack:
        raise ValueError("The entries end inside of a directory")
    return offset


def encode_node(node: Node, features: int) -> bytes:
    """ENTRY and all metadata records of a node, with a symlink's target or a device's numbers, without payload."""
    mode = node.mode
    parts = [_pack_entry(64, c.ENTRY, features, mode, node.flags, node.uid, node.gid, node.mtime_ns)]
    if node.user or node.group:
        parts.append(_owner(node.user, node.group))
    parts += [r.Xattr(name, value).encode() for name, value in node.xattrs]
    if node.acl is not None:
        parts += _acl(node.acl)
    if node.selinux is not None:
        parts.append(r.SELinux(node.selinux).encode())
    if node.fcaps is not None:
        parts.append(r.FCaps(node.fcaps).encode())
    if node.projid:
        parts.append(r.QuotaProjid(node.projid).encode())
    kind = mode & _TYPE_MASK
    if kind == S_IFLNK:
        parts.append(r.Symlink(node.target).encode())
    elif kind in (S_IFCHR, S_IFBLK):
        parts.append(r.Device(*node.rdev).encode())
    return b"".join(parts)


def _acl(acl: Acl) -> list[bytes]:
    parts = [r.AclUser(number, permissions, name).encode() for number, name, permissions in acl.users]
    parts += [r.AclGroup(number, permissions, name).encode() for number, name, permissions in acl.groups]
    if acl.group_obj >= 0:
        parts.append(r.AclGroupObj(acl.group_obj).encode())
    default = r.AclDefault(acl.default_user_obj, acl.default_group_obj, acl.default_other, acl.default_mask)
    if max(default) >= 0:
        parts.append(default.encode())
    parts += [r.AclDefaultUser(number, permissions, name).encode() for number, name, permissions in acl.default_users]
    parts += [r.AclDefaultGroup(number, permissions, name).encode() for number, name, permissions in acl.default_groups]
    return parts


def _named(name: bytes) -> bytes:
    return r.encode_text(c.FILENAME, name) if name else b""


@lru_cache(maxsize=256)
def _owner(user: bytes, group: bytes) -> bytes:
    """USER and GROUP, each where there is a name; a tree has few owners."""
    return (r.User(user).encode() if user else b"") + (r.Group(group).encode() if group else b"")


@cache
def _file_heads() -> list[Callable[..., bytes]]:
    """By the size of FILENAME: all that precedes the content of a file without further metadata, in one call.

    `s` pads with NUL, which is the name's terminator.
    """
    return [Struct(f"<QQ{max(size - 16, 0)}s8QQQ").pack for size in range(c.HEADER_SIZE + c.NAME_MAX + 2)]
