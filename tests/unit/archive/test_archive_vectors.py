"""Archives that casync made: decoded, looked into, encoded again to the same bytes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from casync_py.archive.decoder import decode
from casync_py.archive.encoder import encode
from casync_py.archive.nodes import Acl, AclEntry, Leave
from casync_py.format.flags import Feature, feature_names, granularity_ns
from casync_py.testing.memory_archives import Collector, PieceSource, Plain, decode_plain

VECTORS = Path(__file__).parents[2] / "vectors/archive"
# Feature flags by the options of the README, and the number of nodes.
ARCHIVES = {
    "default.catar": (0xB0000001FFEFFE26, 23),
    "unix.catar": (0xB000000000001F09, 23),
    "fat.catar": (0xB00000000000E0C0, 17),
    "permissions.catar": (0xB000000000000B12, 20),
    "names.catar": (0xB00000000000000C, 17),
    "usec.catar": (0xB0000001FFEFFE16, 23),
    "ids16.catar": (0xB000000020000041, 17),
    "acl.catar": (0xB000000020000006, 17),
    "xattrs.catar": (0xB000000093EF0000, 17),
    "unprivileged.catar": (0xB000000013AEBB20, 21),
    "sha256.catar": (0x9000000000001000, 18),
    "excludes.catar": (0x7000000003FF0080, 17),
    "empty.catar": (0xB0000001FFEFFE26, 1),
}
TIME = 1580702707_123456789  # 2020-02-03 04:05:07.123456789Z
BEFORE_1970 = -312753293_210987655 % 2**64  # 1960-02-03 04:05:06.789012345Z, wrapped as casync does


def nodes_of(name: str) -> dict[bytes, Plain]:
    return {item.path: item for item in decode_plain((VECTORS / name).read_bytes()) if isinstance(item, Plain)}


@pytest.mark.parametrize("steps", [[1], [7], [64, 16, 3, 900], [1 << 20]])
@pytest.mark.parametrize("name", ARCHIVES)
def test_casyncs_archives_come_back_to_the_byte(name: str, steps: list[int]) -> None:
    data = (VECTORS / name).read_bytes()
    features, count = ARCHIVES[name]
    sink = Collector()
    assert encode(decode(PieceSource(data, steps), features, name), sink, features) == len(data)
    assert bytes(sink.data) == data
    assert len(nodes_of(name)) == count


@pytest.mark.parametrize("name", ARCHIVES)
def test_entries_stand_where_they_say(name: str) -> None:
    data = (VECTORS / name).read_bytes()
    for item in decode(PieceSource(data, [100])):
        if not isinstance(item, Leave):
            assert int.from_bytes(data[item.offset + 24 : item.offset + 32], "little") == item.node.mode


def test_the_default_tree_in_detail() -> None:
    nodes = nodes_of("default.catar")
    assert [path for path in nodes if path.startswith(b"subdir/")] == [
        b"subdir/" + name for name in (b"#", b".hidden", b"B", b"a", b"n\nl", b"z", "ä".encode(), b"\xff")
    ]
    assert nodes[b"file"].content == b"hello\n"
    assert nodes[b"file"].node[:7] == (0o100644, int(Feature.FLAG_APPEND), 1, 2, TIME, b"daemon", b"bin")
    assert nodes[b"none"].content == b""
    assert nodes[b"none"].node[:7] == (0o100644, int(Feature.FLAG_IMMUTABLE), 1234, 4321, TIME, b"", b"")
    assert nodes[b"xattr"].node.xattrs == (
        (b"trusted.z", b"\0\xff\0"), (b"user.casync", b"value"), (b"user.empty", b""),
    )  # fmt: skip
    assert nodes[b"xattr"].node.flags == Feature.FLAG_NOATIME
    assert nodes[b"dir"].node.flags == Feature.FLAG_SYNC
    assert nodes[b"link"].node.target == b"file"
    assert (nodes[b"link"].node.user, nodes[b"link"].node.group) == (b"daemon", b"mail")
    assert nodes[b"dir/link2"].node.target == b"/a/rather/../long/target"
    assert stat.S_ISFIFO(nodes[b"fifo"].node.mode)
    assert stat.S_ISSOCK(nodes[b"socket"].node.mode)
    assert (nodes[b"char"].node.mode, nodes[b"char"].node.rdev) == (0o20600, (1, 3))
    assert (nodes[b"block"].node.mode, nodes[b"block"].node.rdev) == (0o60660, (7, 255))
    assert nodes[b"capable"].node.fcaps == bytes.fromhex("0100000200200000000000000000000000000000")
    assert nodes[b"subdir/B"].node.mtime_ns == BEFORE_1970
    assert nodes[b"subdir/a"].node.mode == 0o104711
    assert nodes[b"subdir"].node.mode == 0o41777


def test_acls_in_detail() -> None:
    nodes = nodes_of("default.catar")
    assert nodes[b"acl"].node.acl == Acl(
        users=(AclEntry(1, b"daemon", 4), AclEntry(1234, b"", 6)),
        groups=(AclEntry(8, b"mail", 7), AclEntry(4321, b"", 5)),
        group_obj=4,
    )
    assert nodes[b"acl"].node.mode == 0o100674  # the group's bits are the mask
    assert nodes[b"subdir"].node.acl == Acl(
        default_user_obj=7, default_group_obj=5, default_other=0, default_mask=7,
        default_users=(AclEntry(65534, b"nobody", 5),), default_groups=(AclEntry(1234, b"", 7),),
    )  # fmt: skip
    assert nodes[b"dir/empty"].node.acl == Acl(default_user_obj=7, default_group_obj=5, default_other=5)
    assert nodes[b"file"].node.acl is None
    ids16 = nodes_of("ids16.catar")[b"acl"].node.acl
    assert ids16 is not None
    assert ids16.users == (AclEntry(1, b"", 4), AclEntry(1234, b"", 6))


@pytest.mark.parametrize("name", ARCHIVES)
def test_nodes_are_reduced_to_the_feature_flags(name: str) -> None:
    features, _ = ARCHIVES[name]
    step = granularity_ns(features)
    on = set(feature_names(features))
    for item in nodes_of(name).values():
        node = item.node
        assert node.mtime_ns == (
            0 if not step else (BEFORE_1970 if item.name == b"B" else TIME) // step * step
        )  # fmt: skip
        if not on & {"16bit-uids", "32bit-uids"}:
            assert (node.uid, node.gid) == (0, 0)
        if "user-names" not in on:
            assert (node.user, node.group) == (b"", b"")
        if "xattrs" not in on:
            assert node.xattrs == ()
        if "acl" not in on:
            assert node.acl is None
        if "fcaps" not in on:
            assert node.fcaps is None


def test_owners_by_name_alone_include_roots_absence_and_decimal_names() -> None:
    """What casync writes and cannot read back."""
    nodes = nodes_of("names.catar")
    assert (nodes[b""].node.user, nodes[b""].node.group) == (b"", b"")
    assert (nodes[b"none"].node.user, nodes[b"none"].node.group) == (b"1234", b"4321")
