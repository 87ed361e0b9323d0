"""One node of an archive, from its ENTRY to its content, with all metadata records. Source: spec 1.2, 1.3, 1.5."""

from __future__ import annotations

from stat import S_IFLNK, S_IFREG
from typing import TYPE_CHECKING, Any

from casync_py.archive.nodes import Acl, AclEntry, Node
from casync_py.archive.order import CONTENT, METADATA, TYPE_MASK
from casync_py.format import constants as c
from casync_py.format import records as r

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.archive.order import EntryRules
    from casync_py.archive.stream import RecordStream

_Found = dict[int, list[Any]]


def _xattr_key(xattr: r.Xattr) -> bytes:
    return xattr.name


def _acl_key(entry: r.AclUser) -> tuple[int, bytes, int]:
    return entry.id, entry.name, entry.permissions


def read_entry(stream: RecordStream) -> r.EntryRecord:
    """Read the ENTRY that has to stand here."""
    if stream.next() != c.ENTRY:
        raise stream.error("Not an ENTRY, where one must stand")
    return r.EntryRecord.decode(stream.body(), stream.start)


def read_node(stream: RecordStream, entry: r.EntryRecord, rules: EntryRules) -> tuple[Node, int | None]:
    """Read what follows an ENTRY that belongs to the same node.

    Returns:
        The node, and the type of the record whose header was read after it: PAYLOAD of a regular file, the next
        record of the archive after a directory, fifo or socket, None after a symlink or device.

    Raises:
        FormatError: a record that may not stand here, or is wrong in itself.
    """
    _, mode, flags, uid, gid, mtime = entry
    rules.check(mode, flags, uid, gid, mtime, stream.start)
    kind = mode & TYPE_MASK
    following: int | None
    found, following = _read_metadata(stream, kind, rules)
    content = CONTENT[kind]
    target, rdev, size = b"", (0, 0), 0
    if content is None:
        pass
    elif following != content:
        raise stream.error(f"No {r.RECORDS[content].name} where one must follow")
    elif kind == S_IFREG:
        size = stream.reader.left
    else:
        body = stream.body()
        following = None
        if kind == S_IFLNK:
            target = r.Symlink.decode(body, stream.start).target
        else:
            device = r.Device.decode(body, stream.start)
            rdev = (device.major, device.minor)
    node = Node(
        mode, flags, uid, gid, mtime,
        user=_text(found, c.USER) or b"",
        group=_text(found, c.GROUP) or b"",
        xattrs=tuple((name, value) for name, value in found.get(c.XATTR, ())),
        acl=_acl(stream, found),
        selinux=_text(found, c.SELINUX),
        fcaps=_text(found, c.FCAPS),
        projid=found[c.QUOTA_PROJID][0].projid if c.QUOTA_PROJID in found else 0,
        target=target, rdev=rdev, size=size,
    )  # fmt: skip
    return node, following


def _read_metadata(stream: RecordStream, kind: int, rules: EntryRules) -> tuple[_Found, int]:
    """All metadata records by type, each list in strictly ascending order, and the type of the record after them."""
    found: _Found = {}
    rank = number = size = 0
    while True:
        record_type = stream.next()
        place = METADATA.get(record_type)
        if place is None:
            return found, record_type
        name, _, _, decode = r.RECORDS[record_type]
        if place.rank < rank or (place.rank == rank and not place.repeats):
            raise stream.error(f"{name} is not in its place")
        if not rules.features & place.feature or kind not in place.kinds:
            raise stream.error(f"{name} in a node that cannot have one")
        rank = place.rank
        number += 1
        size += stream.reader.left
        if number > c.NODE_RECORDS_MAX or size > c.NODE_METADATA_MAX:
            raise stream.error("Node with more metadata than any file has")
        assert decode is not None
        record = decode(stream.body(), stream.start)
        records = found.setdefault(record_type, [])
        if records and place.repeats:
            key: Callable[[Any], Any] = _xattr_key if record_type == c.XATTR else _acl_key
            if key(record) <= key(records[-1]):
                raise stream.error(f"{name} records do not ascend")
        if isinstance(record, r.AclUser):
            rules.check_acl_entry(record.id, record.name, stream.start)
        records.append(record)


def _text(found: _Found, record_type: int) -> bytes | None:
    """The only field of a record that stands at most once."""
    records = found.get(record_type)
    return None if records is None else bytes(records[0][0])


def _acl(stream: RecordStream, found: _Found) -> Acl | None:
    """The node's ACL; None where it has no ACL record at all."""
    users, groups = _entries(found, c.ACL_USER), _entries(found, c.ACL_GROUP)
    default_users, default_groups = _entries(found, c.ACL_DEFAULT_USER), _entries(found, c.ACL_DEFAULT_GROUP)
    group_obj = found.get(c.ACL_GROUP_OBJ)
    default = found.get(c.ACL_DEFAULT)
    if (users or groups) and group_obj is None:
        raise stream.error("ACL entries without ACL_GROUP_OBJ")
    if (default_users or default_groups) and (default is None or default[0].mask < 0):
        raise stream.error("Default ACL entries without ACL_DEFAULT that has a mask")
    if group_obj is None and default is None:
        return None
    user_obj, default_group_obj, other, mask = (-1, -1, -1, -1) if default is None else default[0]
    return Acl(
        users, groups, group_obj[0].permissions if group_obj is not None else -1,
        user_obj, default_group_obj, other, mask, default_users, default_groups,
    )  # fmt: skip


def _entries(found: _Found, record_type: int) -> tuple[AclEntry, ...]:
    return tuple(AclEntry(entry.id, entry.name, entry.permissions) for entry in found.get(record_type, ()))
