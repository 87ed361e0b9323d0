"""Archives put together by hand, given to casync's reader and to ours: the same verdict, or a reason why not."""

from __future__ import annotations

import subprocess
from itertools import product
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format import records as r
from casync_py.format.flags import Feature
from casync_py.format.goodbye import encode_goodbye, name_hashes
from casync_py.testing.memory_archives import decode_plain

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.peer("casync")

BEST = 0xB0000001FFEFFE26
NAMES_ONLY = BEST & ~int(Feature.UIDS_32BIT)
IDS16 = BEST & ~int(Feature.UIDS_32BIT | Feature.USER_NAMES) | int(Feature.UIDS_16BIT)
GROUP_OBJ = r.AclGroupObj(7)
MASK = r.AclDefault(7, 5, 0, 7)

Metadata = tuple[r.Record, ...]


def node(mode: int, *metadata: r.Record, features: int = BEST, **fields: int) -> bytes:
    """A node of any type, an empty one where it can hold something."""
    kind = mode & 0o170000
    data = b"".join(part.encode() for part in (r.EntryRecord(features, mode, **fields), *metadata))  # type: ignore[union-attr]
    if kind == S_IFDIR:
        return data + encode_goodbye([], [], 0, len(data))
    if kind == S_IFREG:
        return data + r.HEADER.pack(16, c.PAYLOAD)
    return data


def file(*metadata: r.Record, features: int = BEST, **fields: int) -> bytes:
    return node(S_IFREG | 0o644, *metadata, features=features, **fields)


def link(*metadata: r.Record, mode: int = 0o777, target: bytes = b"target") -> bytes:
    return node(S_IFLNK | mode, *metadata, r.Symlink(target))


def fifo(*metadata: r.Record) -> bytes:
    return node(S_IFIFO | 0o644, *metadata)


def directory(*metadata: r.Record, **fields: int) -> bytes:
    return node(S_IFDIR | 0o755, *metadata, **fields)


def device(major: int, minor: int, kind: int = S_IFCHR) -> bytes:
    return node(kind | 0o600, r.Device(major, minor))


NODES = {
    "plain": file(),
    "mode with more bits": node(S_IFREG | 0o1000000, features=BEST),
    "mode without a type": node(0o644) + r.HEADER.pack(16, c.PAYLOAD),
    "no content": r.EntryRecord(BEST, S_IFREG | 0o644).encode(),
    "content of a link": link() + r.HEADER.pack(16, c.PAYLOAD),
    "socket": node(S_IFSOCK | 0o755),
    "link with other permissions": link(mode=0o644),
    "long target": link(target=b"x" * 4095),
    "too long a target": link(target=b"x" * 4096),
    "target with NUL": link(target=b"a\0b"),
    "flags of a socket": node(S_IFSOCK | 0o644, flags=int(Feature.FLAG_NOATIME)),
    "flags outside of the features": file(flags=int(Feature.FLAG_NODUMP)),
    "flags of a file": file(flags=int(Feature.FLAG_NOATIME | Feature.FLAG_HIDDEN)),
    "subvolume": directory(flags=int(Feature.SUBVOLUME)),
    "subvolume, read-only": directory(flags=int(Feature.SUBVOLUME | Feature.SUBVOLUME_RO)),
    "read-only alone": directory(flags=int(Feature.SUBVOLUME_RO)),
    "subvolume of a file": file(flags=int(Feature.SUBVOLUME)),
    "last time": file(mtime_ns=c.U64_MAX - 1),
    "no time": file(mtime_ns=c.U64_MAX),
    **{f"uid {uid}": file(uid=uid) for uid in (1, 65534, 65535, 65536, 2**32 - 2, 2**32 - 1, 2**32)},
    **{f"gid {gid}": file(gid=gid) for gid in (65535, 2**32 - 2, 2**32)},
    **{f"device {numbers}": device(*numbers) for numbers in ((0, 0), (4095, 1), (4096, 1), (1, 2**20 - 1), (1, 2**20))},
    "block device": device(1, 2, S_IFBLK),
    **{
        f"USER {name!r}": file(r.User(name), uid=1)
        for name in (b"bob", b"_b-2", b"root", b"b\x01", b"b/b", b"b\x7f", b"x" * 255, b"x" * 256)
    },
    "USER of id 0": file(r.User(b"bob")),
    "GROUP before USER": file(r.Group(b"g"), r.User(b"u"), uid=1),
    "USER twice": file(r.User(b"a"), r.User(b"b"), uid=1),
    **{
        f"XATTR {name!r}": file(r.Xattr(name, b"v"))
        for name in (
            b"user.a",
            b"a.b",
            b"a..",
            b".b",
            b"a.",
            b"..b",
            b"ab",
            b"a.\x01",
            b"security.x",
            b"a." + b"x" * 253,
        )
    },
    "XATTR without value": file(r.Xattr(b"user.a", b"")),
    "longest XATTR": file(r.Xattr(b"user.a", b"v" * 65536)),
    "XATTR twice": file(r.Xattr(b"user.a", b"1"), r.Xattr(b"user.a", b"2")),
    "XATTR out of order": file(r.Xattr(b"user.b", b"1"), r.Xattr(b"user.a", b"2")),
    "XATTR of a link": link(r.Xattr(b"user.a", b"")),
    "XATTR of a fifo": fifo(r.Xattr(b"user.a", b"")),
    "ACL": file(r.AclUser(1, 7), r.AclGroup(2, 7, b"g"), GROUP_OBJ),
    "ACL of a link": link(r.AclUser(1, 7), GROUP_OBJ),
    "ACL of a fifo": fifo(r.AclUser(1, 7), GROUP_OBJ),
    "ACL without ACL_GROUP_OBJ": file(r.AclUser(1, 7)),
    "ACL_GROUP_OBJ alone": file(GROUP_OBJ),
    "ACL permissions": file(r.AclUser(1, 8), GROUP_OBJ),
    "ACL_GROUP_OBJ permissions": file(r.AclGroupObj(8)),
    "ACL same id, without name first": file(r.AclUser(1, 7), r.AclUser(1, 7, b"a"), GROUP_OBJ),
    "ACL same id, with name first": file(r.AclUser(1, 7, b"a"), r.AclUser(1, 7), GROUP_OBJ),
    "ACL same id, other permissions": file(r.AclUser(1, 6), r.AclUser(1, 7), GROUP_OBJ),
    "ACL twice": file(r.AclUser(1, 7), r.AclUser(1, 7), GROUP_OBJ),
    "ACL id 65535": file(r.AclUser(65535, 7), GROUP_OBJ),
    "ACL id too large": file(r.AclUser(2**32, 7), GROUP_OBJ),
    "ACL name root": file(r.AclUser(0, 7, b"root"), GROUP_OBJ),
    "default ACL of a file": file(MASK),
    **{
        f"default ACL {bits} {len(named)}": directory(r.AclDefault(*bits), *named)
        for bits in product((-1, 7), repeat=4)
        for named in ((), (r.AclDefaultUser(1, 7),))
    },
    "default ACL permissions": directory(r.AclDefault(8, 7, 7)),
    "SELINUX": file(r.SELinux(b"a:b:c")),
    "SELINUX of a link": link(r.SELinux(b"a:b:c")),
    "FCAPS": file(r.FCaps(b"value")),
    "FCAPS without value": file(r.FCaps(b"")),
    "FCAPS of a directory": directory(r.FCaps(b"value")),
    "FCAPS of a fifo": fifo(r.FCaps(b"value")),
    **{f"QUOTA_PROJID {number}": file(r.QuotaProjid(number)) for number in (0, 1, 2**32 - 1, 2**32)},
    "QUOTA_PROJID of a directory": directory(r.QuotaProjid(1)),
    "QUOTA_PROJID of a link": link(r.QuotaProjid(1)),
    "QUOTA_PROJID of a fifo": fifo(r.QuotaProjid(1)),
    "FCAPS before SELINUX": file(r.FCaps(b"value"), r.SELinux(b"l")),
}

USEC = BEST & ~int(Feature.NSEC_TIME) | int(Feature.USEC_TIME)
# What ours accepts and casync refuses: what its own writer writes, and texts in other alphabets.
ACCEPTED_HERE = {
    **{f"USER {name!r}": (BEST, file(r.User(name), uid=1)) for name in (b"b.b", b"machine$", b"1000", "ä".encode())},
    "root by absence": (NAMES_ONLY, file(features=NAMES_ONLY)),
    "times in microseconds": (USEC, file(features=USEC, mtime_ns=1000)),
}


def archive(child: bytes, features: int = BEST, name: bytes = b"child") -> bytes:
    """A directory with one child."""
    top = r.EntryRecord(features, S_IFDIR | 0o755).encode()
    children = r.Filename(name).encode() + child
    return top + children + encode_goodbye(name_hashes([name]), [64], 0, 64 + len(children))


def ours(data: bytes) -> bool:
    try:
        decode_plain(data)
    except FormatError:
        return False
    return True


def theirs(casync: str, data: bytes, path: Path) -> bool:
    path.write_bytes(data)
    run = subprocess.run([casync, "list", path], capture_output=True, timeout=20)
    assert run.returncode in (0, 1)
    return run.returncode == 0


@pytest.mark.parametrize("name", NODES)
def test_nodes_get_the_same_verdict(casync: str, tmp_path: Path, name: str) -> None:
    data = archive(NODES[name])
    assert ours(data) == theirs(casync, data, tmp_path / "x.catar")


@pytest.mark.parametrize("uid", [0, 1, 65534, 65535])
@pytest.mark.parametrize(
    "acl", [(), (r.AclUser(1, 7), GROUP_OBJ), (r.AclUser(0, 7, b"bob"), GROUP_OBJ), (r.AclUser(65535, 7), GROUP_OBJ)]
)
def test_ids_of_16_bits_get_the_same_verdict(casync: str, tmp_path: Path, acl: Metadata, uid: int) -> None:
    data = archive(file(*acl, features=IDS16, uid=uid), IDS16)
    assert ours(data) == theirs(casync, data, tmp_path / "x.catar")


@pytest.mark.parametrize("name", ACCEPTED_HERE)
def test_what_casync_writes_and_cannot_read(casync: str, tmp_path: Path, name: str) -> None:
    features, child = ACCEPTED_HERE[name]
    data = archive(child, features)
    assert ours(data)
    assert not theirs(casync, data, tmp_path / "x.catar")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (archive(file(), name=b"x" * 256), "no file system has such a name"),
        (archive(file()) + b"x", "bytes after the end"),
        (archive(file()).replace(b"child\0", b"other\0"), "hash of another name"),
        (
            r.EntryRecord(BEST, S_IFDIR | 0o755).encode()
            + b"".join(r.Filename(name).encode() + file() for name in (b"b", b"a"))
            + encode_goodbye(name_hashes([b"b", b"a"]), [64, 162], 0, 260),
            "names out of order",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused_here_only(casync: str, tmp_path: Path, data: bytes, why: str) -> None:
    assert theirs(casync, data, tmp_path / "x.catar"), why
    assert not ours(data)
