from __future__ import annotations

import os
import pwd
import stat
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.apply import MetadataWriter, Volume, current_umask, has_default_acl, signed_time
from casync_py.archive.inode_flags import read_chattr, write_chattr
from casync_py.archive.nodes import Acl, AclEntry, Node
from casync_py.archive.restore import restore
from casync_py.errors import FormatError
from casync_py.format.flags import WITH_MASK, Feature, normalize
from casync_py.testing.entries import directory, entries, file, special, symlink

if TYPE_CHECKING:
    from pathlib import Path

ALL = normalize(WITH_MASK)
IDS = int(Feature.UIDS_32BIT)
NAMES = int(Feature.USER_NAMES)
SOMEONE = pwd.getpwuid(1)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o027, 0o777])
def test_the_umask_is_read_and_not_changed(umask: int) -> None:
    old = os.umask(umask)
    try:
        assert current_umask() == umask
        assert os.umask(umask) == umask
    finally:
        os.umask(old)


@pytest.mark.parametrize(
    ("stored", "signed"), [(0, 0), (5, 5), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (2**64 - 1, -1)]
)
def test_times_before_1970(stored: int, signed: int) -> None:
    assert signed_time(stored) == signed


@pytest.mark.parametrize(
    ("mask", "node", "expected"),
    [
        (0, Node(0, uid=5, gid=6), None),
        (IDS, Node(0, uid=5, gid=6), (5, 6)),
        (IDS, Node(0, uid=5, gid=6, user=SOMEONE.pw_name.encode()), (5, 6)),
        (IDS | NAMES, Node(0, uid=5, gid=6, user=SOMEONE.pw_name.encode()), (1, 6)),
        (NAMES, Node(0), (0, 0)),  # nameless means root
        (NAMES, Node(0, user=b"54321", group=b"12345"), (54321, 12345)),
    ],
)
def test_owners(mask: int, node: Node, expected: tuple[int, int] | None) -> None:
    writer = MetadataWriter(mask)
    assert [writer.owner_of(node) for _ in range(2)] == [expected] * 2


@pytest.mark.parametrize("uid", [-1, 2**32 - 1, 2**32, 2**64 - 1])
def test_numbers_that_are_no_owner(uid: int) -> None:
    with pytest.raises(FormatError, match="Not the number of a user"):
        MetadataWriter(IDS).owner_of(Node(0, uid=uid))


SECOND = 10**9


def test_a_volume_is_trusted_with_units_of_time_that_it_was_seen_to_keep() -> None:
    writer = MetadataWriter(int(Feature.NSEC_TIME))
    volume = Volume(fat=False)
    for time, unit in (
        (0, 2 * SECOND),
        (4 * SECOND, 2 * SECOND),
        (5 * SECOND, SECOND),
        (4 * SECOND, SECOND),
        (5 * SECOND + 1, 1),
        (5 * SECOND, 1),
        (0, 1),
    ):
        writer.check_time(time, time, volume)
        assert volume.time_unit == unit


@pytest.mark.parametrize(
    ("feature", "granularity", "proof", "rough"),
    [
        (Feature.NSEC_TIME, 1, 123, 100),  # as what keeps units of 100 ns would
        (Feature.USEC_TIME, 1000, 123_000, 100_000),
        (Feature.SEC_TIME, SECOND, 3 * SECOND, 4 * SECOND),
    ],
)
def test_only_a_time_that_nothing_coarser_keeps_is_a_proof(
    feature: Feature, granularity: int, proof: int, rough: int
) -> None:
    writer = MetadataWriter(int(feature))
    volume = Volume(fat=False)
    writer.check_time(rough, rough, volume)
    assert volume.time_unit > 1
    with pytest.raises(OSError, match="keeps the time"):
        writer.check_time(5 * granularity, 6 * granularity, volume)
    assert volume.time_unit > 1
    writer.check_time(proof + granularity - 1, proof, volume)  # finer than what is restored does not matter
    assert volume.time_unit == 1


@pytest.mark.root
def test_owners_devices_and_capabilities(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    tree = directory(
        {
            b"cap": file(b"1", 0o755, uid=7, gid=8, fcaps=capability),
            b"d": directory({b"l": symlink(b"x", uid=3, gid=4)}, uid=1, gid=2, mode=0o2755),
            b"null": special(stat.S_IFCHR | 0o666, (1, 3), uid=5, gid=6),
            b"suid": file(b"2", 0o6755, uid=9, gid=10),
        },
        uid=11,
    )
    restore(entries(tree), tmp_path / "t", ALL)
    found = {p.name: (p.lstat().st_uid, p.lstat().st_gid) for p in [tmp_path / "t", *(tmp_path / "t").rglob("*")]}
    assert found == {"t": (11, 0), "cap": (7, 8), "d": (1, 2), "l": (3, 4), "null": (5, 6), "suid": (9, 10)}
    assert os.getxattr(tmp_path / "t" / "cap", "security.capability") == capability
    assert (tmp_path / "t" / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE((tmp_path / "t" / "suid").stat().st_mode) == 0o6755
    assert stat.S_IMODE((tmp_path / "t" / "d").stat().st_mode) == 0o2755


def test_acls_are_those_of_the_archive(tmp_path: Path) -> None:
    acl = Acl(users=(AclEntry(4, b"", 6),), group_obj=5)
    default = Acl(
        default_user_obj=7, default_group_obj=5, default_other=0, default_mask=7, default_users=(AclEntry(4, b"", 7),)
    )
    tree = directory({b"d": directory({b"f": file(b"1"), b"g": file(b"2", 0o664, acl=acl)}, acl=default)})
    owner = {"uid": os.getuid(), "gid": os.getgid()}
    mask = int(Feature.ACL | Feature.UIDS_32BIT) if not owner["uid"] else int(Feature.ACL)
    try:
        restore(entries(tree), tmp_path / "t", mask)
    except OSError:
        pytest.skip("No ACLs on this file system")
    assert not os.listxattr(tmp_path / "t" / "d" / "f")
    assert os.listxattr(tmp_path / "t" / "d" / "g") == ["system.posix_acl_access"]
    restore(entries(tree), tmp_path / "t", mask)  # the directory hands its ACL on now
    assert not os.listxattr(tmp_path / "t" / "d" / "f")
    fd = os.open(tmp_path / "t" / "d", os.O_RDONLY)
    assert has_default_acl(fd)
    os.close(fd)
    restore(entries(directory({b"d": directory({b"f": file(b"1")})})), tmp_path / "t", mask)
    assert not os.listxattr(tmp_path / "t" / "d")


def flags_of(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_chattr(fd)
    finally:
        os.close(fd)


@pytest.mark.root
def test_flags_are_those_of_the_archive_and_not_the_parents(tmp_path: Path) -> None:
    noatime, nodump = int(Feature.FLAG_NOATIME), int(Feature.FLAG_NODUMP)
    immutable = int(Feature.FLAG_IMMUTABLE)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        write_chattr(fd, noatime | nodump, noatime | nodump)
    except OSError:
        pytest.skip("No chattr flags on this file system")
    finally:
        os.close(fd)
    tree = directory(
        {
            b"d": directory({b"f": file(b"1", flags=noatime)}, flags=immutable),
            b"g": file(b"2"),
            b"h": file(b"3", flags=immutable | nodump),
        },
        flags=nodump,
    )
    top = tmp_path / "t"
    try:
        restore(entries(tree), top, ALL)
        assert [flags_of(top / name) for name in (".", "d", "d/f", "g", "h")] == [
            nodump,
            immutable,
            noatime,
            0,
            immutable | nodump,
        ]
        assert (top / "h").read_bytes() == b"3"
    finally:
        restore(entries(directory()), top, ALL, undo_immutable=True)
    assert list(top.iterdir()) == []
