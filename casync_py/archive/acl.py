"""POSIX ACLs between the kernel's xattr form and the archive's records.

The kernel's form is `<version 2: u32>` and then entries of (tag u16, permissions u16, id u32), little-endian, in the
order of their tags. The three classes of the mode are entries too, so an ACL of just those says no more than the
mode. Source: Linux include/uapi/linux/posix_acl_xattr.h.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

from casync_py.archive.nodes import Acl, AclEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Resolve = Callable[[int, bytes], int]
    Identify = Callable[[int], tuple[int, bytes]]

ACCESS_XATTR = b"system.posix_acl_access"
DEFAULT_XATTR = b"system.posix_acl_default"

_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_PERMISSIONS = 7
_PLAIN = Acl()


def acl_from_xattrs(access: bytes | None, default: bytes | None, user: Identify, group: Identify) -> Acl | None:
    """What the archive's ACL records say of an inode's two ACLs.

    Args:
        access, default: values of the two xattrs, None where absent.
        user, group: for each named entry's id what the archive has: (id, 0 without numeric flags; name or empty).

    Returns:
        None where the ACLs say no more than the mode.

    Raises:
        OSError: EINVAL; a value is not in the kernel's form.
    """
    acl = Acl()
    if access:
        users, groups, single = _parse(access, user, group)
        # Only beside a mask does the group's own set differ from the mode's group bits, which then are the mask's.
        group_obj = single.get(_GROUP_OBJ, -1) if _MASK in single else -1
        acl = Acl(users, groups, group_obj)
    if default:
        users, groups, single = _parse(default, user, group)
        acl = acl._replace(
            default_user_obj=single.get(_USER_OBJ, -1),
            default_group_obj=single.get(_GROUP_OBJ, -1),
            default_other=single.get(_OTHER, -1),
            default_mask=single.get(_MASK, -1),
            default_users=users,
            default_groups=groups,
        )
    return None if acl == _PLAIN else acl


def _parse(
    value: bytes, user: Identify, group: Identify
) -> tuple[tuple[AclEntry, ...], tuple[AclEntry, ...], dict[int, int]]:
    if (
        len(value) < _HEADER.size
        or (len(value) - _HEADER.size) % _ENTRY.size
        or _HEADER.unpack_from(value)[0] != _VERSION
    ):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    users: list[AclEntry] = []
    groups: list[AclEntry] = []
    single: dict[int, int] = {}
    for tag, permissions, id_ in _ENTRY.iter_unpack(memoryview(value)[_HEADER.size :]):
        if tag == _USER:
            users.append(AclEntry(*user(id_), permissions & _PERMISSIONS))
        elif tag == _GROUP:
            groups.append(AclEntry(*group(id_), permissions & _PERMISSIONS))
        else:
            single[tag] = permissions & _PERMISSIONS
    # The archive's order: by id, then name (none first), then permissions, which is the order of the tuples.
    return tuple(sorted(users)), tuple(sorted(groups)), single


def _as_is(id_: int, _name: bytes) -> int:
    return id_


def acl_to_xattrs(
    acl: Acl, mode: int, user: Resolve = _as_is, group: Resolve = _as_is
) -> tuple[bytes | None, bytes | None]:
    """Values of the access and the default xattr that `acl` and the entry's `mode` stand for; None: to be removed.

    Args:
        user, group: turn a named entry's (id, name) into the id to set; by default the archive's id is taken.
    """
    access = default = None
    if acl.group_obj >= 0:
        access = _pack(
            (mode >> 6, acl.group_obj, mode >> 3, mode),  # beside an ACL the mode's group bits are its mask
            _resolve(acl.users, user),
            _resolve(acl.groups, group),
        )
    singles = (acl.default_user_obj, acl.default_group_obj, acl.default_mask, acl.default_other)
    if singles != (-1, -1, -1, -1):
        default = _pack(singles, _resolve(acl.default_users, user), _resolve(acl.default_groups, group))
    return access, default


def _resolve(entries: Iterable[AclEntry], resolve: Resolve) -> list[tuple[int, int]]:
    return sorted((resolve(entry.id, entry.name), entry.permissions) for entry in entries)


def _pack(singles: tuple[int, int, int, int], users: list[tuple[int, int]], groups: list[tuple[int, int]]) -> bytes:
    user_obj, group_obj, mask, other = singles
    entries = [
        (_USER_OBJ, user_obj, _NO_ID),
        *((_USER, permissions, id_) for id_, permissions in users),
        (_GROUP_OBJ, group_obj, _NO_ID),
        *((_GROUP, permissions, id_) for id_, permissions in groups),
        (_MASK, mask, _NO_ID),
        (_OTHER, other, _NO_ID),
    ]
    packed = [_ENTRY.pack(tag, bits & _PERMISSIONS, id_) for tag, bits, id_ in entries if bits >= 0]
    return _HEADER.pack(_VERSION) + b"".join(packed)
