"""Each record's bytes, and the bodies that are refused."""

from __future__ import annotations

from struct import pack

import pytest

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format import records as r
from casync_py.format.goodbye import Goodbye

# Type as it stands in a file (spec 1.1 gives it as a number, so reversed), then the body.
EXAMPLES: list[tuple[r.Record, str, bytes]] = [
    (r.EntryRecord(1, 2, 3, 4, 5, 6), "51bb5beabcfa9613", pack("<6Q", 1, 2, 3, 4, 5, 6)),
    (r.User(b"bob"), "b3cceaae1a1353f4", b"bob\0"),
    (r.Group(b"b.b$"), "526a3969c96aeb25", b"b.b$\0"),
    (r.Xattr(b"user.x", b"\0v"), "86c40bf8917015b8", b"user.x\0\0v"),
    (r.Xattr(b"user.x", b""), "86c40bf8917015b8", b"user.x\0"),
    (r.AclUser(1000, 6), "af2ff12e8bc87d29", pack("<2Q", 1000, 6)),
    (r.AclGroup(1000, 7, b"grp"), "0bddb36cb5acf236", pack("<2Q", 1000, 7) + b"grp\0"),
    (r.AclGroupObj(5), "f3381f4410710423", pack("<Q", 5)),
    (r.AclDefault(7, 5, 0), "d08c3c82a6ed3efe", pack("<4Q", 7, 5, 0, c.U64_MAX)),
    (r.AclDefault(7, 5, 0, 4), "d08c3c82a6ed3efe", pack("<4Q", 7, 5, 0, 4)),
    (r.AclDefaultUser(0, 1, b"x"), "910a01bdf93df0bd", pack("<2Q", 0, 1) + b"x\0"),
    (r.AclDefaultGroup(2, 0), "511f2d786811cba0", pack("<2Q", 2, 0)),
    (r.SELinux(b"a:b:c"), "596cd22f60f0fa46", b"a:b:c\0"),
    (r.FCaps(b"\1\0\2"), "2906edafb07d26f7", b"\1\0\2"),
    (r.QuotaProjid(9), "2ba772872daf1b16", pack("<Q", 9)),
    (r.Symlink(b"../x"), "6c0d0e83b66f4a66", b"../x\0"),
    (r.Device(4095, 1048575), "43e6df69e3ac3dac", pack("<2Q", 4095, 1048575)),
    (r.Filename(b"..."), "0b1f16b3bc6ebb6d", b"...\0"),
]


def type_of(data: bytes) -> r.RecordType:
    return r.RECORDS[int.from_bytes(data[8:16], "little")]


@pytest.mark.parametrize(("record", "magic", "body"), EXAMPLES)
def test_bytes_of_each_record(record: r.Record, magic: str, body: bytes) -> None:
    assert not isinstance(record, Goodbye)
    data = record.encode()
    assert data == pack("<Q", 16 + len(body)) + bytes.fromhex(magic) + body
    kind = type_of(data)
    assert kind.floor <= len(data) <= kind.ceiling
    assert kind.decode is not None
    decoded = kind.decode(body, 0)
    assert decoded == record
    assert type(decoded) is type(record)


def test_every_record_type_has_an_example() -> None:
    shown = {int.from_bytes(bytes.fromhex(magic), "little") for _, magic, _ in EXAMPLES}
    assert shown | {c.PAYLOAD, c.GOODBYE} == set(r.RECORDS)
    assert len({kind.name for kind in r.RECORDS.values()}) == len(r.RECORDS) == 18


@pytest.mark.parametrize(
    ("record_type", "floor", "ceiling"),
    [
        (c.ENTRY, 64, 64), (c.USER, 18, 272), (c.GROUP, 18, 272), (c.XATTR, 20, 16 + 256 + 65536),
        (c.ACL_USER, 32, 288), (c.ACL_GROUP, 32, 288), (c.ACL_GROUP_OBJ, 24, 24), (c.ACL_DEFAULT, 48, 48),
        (c.ACL_DEFAULT_USER, 32, 288), (c.ACL_DEFAULT_GROUP, 32, 288), (c.SELINUX, 18, 4112), (c.FCAPS, 16, 65552),
        (c.QUOTA_PROJID, 24, 24), (c.SYMLINK, 18, 4112), (c.DEVICE, 32, 32), (c.PAYLOAD, 16, c.OFFSET_MAX),
        (c.FILENAME, 18, 272), (c.GOODBYE, 40, c.OFFSET_MAX),
    ],
)  # fmt: skip
def test_bounds(record_type: int, floor: int, ceiling: int) -> None:
    assert r.RECORDS[record_type][1:3] == (floor, ceiling)


@pytest.mark.parametrize(
    ("record_type", "body"),
    [
        (c.USER, b"bob"), (c.USER, b"b\0b\0"), (c.USER, b"\0\0"), (c.USER, b"root\0"), (c.USER, b"a/b\0"),
        (c.USER, b"a\nb\0"), (c.USER, b"a\x7f\0"), (c.GROUP, b"root\0"), (c.GROUP, b"\x01\0"),
        (c.XATTR, b"user.x"), (c.XATTR, b"user\0v"), (c.XATTR, b".user\0v"), (c.XATTR, b"user.\0v"),
        (c.XATTR, b"..x\0v"), (c.XATTR, b"\0user.x"), (c.XATTR, b"user." + b"x" * 251 + b"\0"),
        (c.XATTR, b"a.b\0" + bytes(65537)),
        (c.ACL_USER, pack("<2Q", 0, 8)), (c.ACL_USER, pack("<2Q", 0, 7) + b"\0"),
        (c.ACL_GROUP, pack("<2Q", 0, 7) + b"root\0"), (c.ACL_DEFAULT_USER, pack("<2Q", 0, c.U64_MAX)),
        (c.ACL_GROUP_OBJ, pack("<Q", 8)), (c.ACL_GROUP_OBJ, pack("<Q", c.U64_MAX)),
        (c.ACL_DEFAULT, pack("<4Q", c.U64_MAX, 7, 7, 7)), (c.ACL_DEFAULT, pack("<4Q", 7, c.U64_MAX, 7, 7)),
        (c.ACL_DEFAULT, pack("<4Q", 7, 7, c.U64_MAX, 7)), (c.ACL_DEFAULT, pack("<4Q", 7, 7, 7, 8)),
        (c.SELINUX, b"a"), (c.SELINUX, b"a\0b\0"),
        (c.QUOTA_PROJID, pack("<Q", 0)), (c.QUOTA_PROJID, pack("<Q", 1 << 32)),
        (c.SYMLINK, b"\0\0"), (c.SYMLINK, b"a\0a\0"), (c.SYMLINK, b"aa"),
        (c.DEVICE, pack("<2Q", 4096, 0)), (c.DEVICE, pack("<2Q", 0, 1 << 20)),
        (c.FILENAME, b".\0"), (c.FILENAME, b"..\0"), (c.FILENAME, b"a/b\0"), (c.FILENAME, b"/\0"),
        (c.FILENAME, b"a\0b\0"), (c.FILENAME, b"ab"), (c.FILENAME, b"\0\0"),
        (c.GOODBYE, bytes(24)), (c.GOODBYE, pack("<3Q", 64, 40, 0)), (c.GOODBYE, bytes(25)),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(record_type: int, body: bytes) -> None:
    decode = r.RECORDS[record_type].decode
    assert decode is not None
    with pytest.raises(FormatError) as caught:
        decode(body, 1234)
    assert caught.value.offset == 1234
    assert caught.value.reason[0].isupper()
