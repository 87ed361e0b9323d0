"""POSIX ACLs: xattr form <-> record form, checked against what the kernel and setfacl make."""

from __future__ import annotations

import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.acl import ACCESS_XATTR, DEFAULT_XATTR, acl_from_xattrs, acl_to_xattrs
from casync_py.archive.nodes import Acl, AclEntry

if TYPE_CHECKING:
    from pathlib import Path


def numeric(id_: int) -> tuple[int, bytes]:
    return id_, b""


def of(access: bytes | None, default: bytes | None) -> Acl | None:
    return acl_from_xattrs(access, default, numeric, numeric)


def packed(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NO_ID = 0xFFFFFFFF


def test_three_classes_say_no_more_than_the_mode() -> None:
    assert of(packed((1, 6, NO_ID), (4, 4, NO_ID), (0x20, 0, NO_ID)), None) is None
    assert of(None, None) is None


def test_mask_without_named_entries_keeps_the_group_set() -> None:
    access = packed((1, 6, NO_ID), (4, 7, NO_ID), (0x10, 4, NO_ID), (0x20, 0, NO_ID))
    assert of(access, None) == Acl(group_obj=7)
    assert acl_to_xattrs(Acl(group_obj=7), 0o640) == (access, None)


def test_named_entries_are_sorted_by_id_then_name() -> None:
    access = packed((1, 6, NO_ID), (2, 7, 9), (2, 1, 3), (4, 4, NO_ID), (8, 5, 8), (0x10, 7, NO_ID), (0x20, 0, NO_ID))
    acl = of(access, None)
    assert acl == Acl((AclEntry(3, b"", 1), AclEntry(9, b"", 7)), (AclEntry(8, b"", 5),), 4)
    named = acl_from_xattrs(access, None, lambda id_: (0, b"u%d" % (10 - id_)), lambda _id: (0, b""))
    assert named is not None
    assert named.users == (AclEntry(0, b"u1", 7), AclEntry(0, b"u7", 1))


def test_default_acl_without_mask_marks_it_absent() -> None:
    default = packed((1, 7, NO_ID), (4, 5, NO_ID), (0x20, 1, NO_ID))
    acl = Acl(default_user_obj=7, default_group_obj=5, default_other=1)
    assert of(None, default) == acl
    assert acl_to_xattrs(acl, 0o755) == (None, default)


def test_names_are_resolved_on_the_way_back() -> None:
    acl = Acl((AclEntry(5, b"some", 6), AclEntry(7, b"", 4)), (), 4)
    access, _ = acl_to_xattrs(acl, 0o664, user=lambda id_, name: 99 if name == b"some" else id_)
    assert access == packed((1, 6, NO_ID), (2, 4, 7), (2, 6, 99), (4, 4, NO_ID), (0x10, 6, NO_ID), (0x20, 4, NO_ID))


@pytest.mark.parametrize("value", [b"\2\0\0", b"\1\0\0\0", b"\2\0\0\0\1\0\7\0"])
def test_other_forms_are_refused(value: bytes) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        of(value, None)
    with pytest.raises(OSError, match="Invalid argument"):
        of(None, value)


@pytest.mark.root
def test_kernel_takes_back_what_it_gave(tmp_path: Path) -> None:
    made, copy = tmp_path / "made", tmp_path / "copy"
    made.mkdir(mode=0o750)
    copy.mkdir(mode=0o750)
    entries = "u:123:rwx,u:7:r,g:55:-,m::rx,d:u::rwx,d:u:12:rw,d:g:3:x,d:m::rwx,d:o::-"
    subprocess.run(["setfacl", "-m", entries, made], check=True)
    values = [os.getxattr(made, os.fsdecode(name)) for name in (ACCESS_XATTR, DEFAULT_XATTR)]
    acl = of(*values)
    assert acl is not None
    assert [entry.id for entry in acl.users] == [7, 123]
    access, default = acl_to_xattrs(acl, made.stat().st_mode)
    assert access is not None
    assert default is not None
    os.setxattr(copy, os.fsdecode(ACCESS_XATTR), access)
    os.setxattr(copy, os.fsdecode(DEFAULT_XATTR), default)
    assert [os.getxattr(copy, os.fsdecode(name)) for name in (ACCESS_XATTR, DEFAULT_XATTR)] == values
