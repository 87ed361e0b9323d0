"""The encoder by its bytes: plain files, nodes with everything, deep and wide trees."""

from __future__ import annotations

import subprocess
import sys
from stat import S_IFBLK, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK
from struct import unpack_from
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.encoder import encode, encode_node
from casync_py.archive.nodes import Acl, AclEntry, Entry, Leave, Node
from casync_py.format import constants as c
from casync_py.format import records as r
from casync_py.format.goodbye import Goodbye, encode_goodbye, name_hashes
from casync_py.testing.memory_archives import Collector, MemoryPayload, Plain, decode_plain, encode_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.archive.nodes import Payload

BEST = 0xB0000001FFEFFE26
TOP = Node(S_IFDIR | 0o755)
FILE = Node(S_IFREG | 0o644, 0, 1000, 100, 123456789)


def test_an_empty_directory_has_104_bytes() -> None:
    data = encode_plain([Plain(b"", b"", TOP, None), Leave(b"")], BEST)
    assert data == encode_node(TOP, BEST) + encode_goodbye([], [], 0, 64)
    assert len(data) == 104


@pytest.mark.parametrize(
    "node",
    [
        FILE,
        FILE._replace(user=b"bob", group=b"users"),
        FILE._replace(group=b"users"),
        FILE._replace(xattrs=((b"user.a", b"1"),)),
        FILE._replace(selinux=b"label"),
        FILE._replace(fcaps=b"caps"),
        FILE._replace(projid=7),
        FILE._replace(acl=Acl(group_obj=4)),
    ],
)
def test_a_files_records_are_the_same_on_each_way_through(node: Node) -> None:
    """Plain files, files with owners and all others take three ways."""
    content = b"content"
    tree: list[Plain | Leave] = [
        Plain(b"", b"", TOP, None),
        Plain(b"x", b"x", node._replace(size=7), content),
        Leave(b""),
    ]
    file = r.Filename(b"x").encode() + encode_node(node, BEST) + r.HEADER.pack(16 + 7, c.PAYLOAD) + content
    goodbye = encode_goodbye(name_hashes([b"x"]), [64], 0, 64 + len(file))
    assert encode_plain(tree, BEST) == encode_node(TOP, BEST) + file + goodbye


def test_a_node_with_everything_has_its_records_in_order() -> None:
    acl = Acl(
        (AclEntry(1, b"u", 7),), (AclEntry(2, b"", 6),), 5, 7, 5, 4, 3, (AclEntry(3, b"v", 2),), (AclEntry(4, b"w", 1),)
    )
    node = Node(S_IFDIR | 0o755, 0, 1, 2, 3, b"u", b"g", ((b"user.a", b"1"), (b"user.b", b"2")), acl, b"l", b"c", 9)
    expected: list[r.Record] = [
        r.EntryRecord(BEST, S_IFDIR | 0o755, 0, 1, 2, 3), r.User(b"u"), r.Group(b"g"),
        r.Xattr(b"user.a", b"1"), r.Xattr(b"user.b", b"2"),
        r.AclUser(1, 7, b"u"), r.AclGroup(2, 6), r.AclGroupObj(5), r.AclDefault(7, 5, 4, 3),
        r.AclDefaultUser(3, 2, b"v"), r.AclDefaultGroup(4, 1, b"w"),
        r.SELinux(b"l"), r.FCaps(b"c"), r.QuotaProjid(9),
    ]  # fmt: skip
    assert encode_node(node, BEST) == b"".join(
        record.encode() for record in expected if not isinstance(record, Goodbye)
    )


@pytest.mark.parametrize(
    ("node", "content"),
    [
        (Node(S_IFLNK | 0o777, target=b"t"), r.Symlink(b"t").encode()),
        (Node(S_IFBLK | 0o600, rdev=(8, 1)), r.Device(8, 1).encode()),
        (Node(S_IFIFO | 0o600), b""),
        (Node(S_IFSOCK | 0o600), b""),
        (FILE, b""),
    ],
)
def test_content_of_nodes_without_payload(node: Node, content: bytes) -> None:
    assert encode_node(node, BEST)[64:] == content


def test_a_single_node_is_encoded_alone() -> None:
    """What casync's digest of a file's archived form (HLDigest) is taken over."""
    assert encode_plain([Plain(b"a/x", b"", FILE._replace(size=3), b"abc")], BEST) == (
        encode_node(FILE, BEST) + r.HEADER.pack(19, c.PAYLOAD) + b"abc"
    )
    link = Node(S_IFLNK | 0o777, target=b"t")
    assert encode_plain([Plain(b"", b"", link, None)], BEST) == encode_node(link, BEST)


def test_content_goes_to_the_sink_as_it_is_and_the_length_counts_it() -> None:
    class Counting(Collector):
        def __init__(self) -> None:
            super().__init__()
            self.payloads: list[Payload] = []

        def copy(self, payload: Payload, /) -> None:
            self.payloads.append(payload)

    payload = MemoryPayload(b"")
    payload.size = 1 << 40  # nothing of it is asked for by the encoder itself
    sink = Counting()
    entries: list[Entry | Leave] = [Entry(b"", b"", TOP), Entry(b"x", b"x", FILE, payload), Leave(b"")]
    size = encode(entries, sink, BEST)
    assert sink.payloads == [payload]
    assert size == len(sink.data) + (1 << 40)
    assert unpack_from("<3Q", sink.data, len(sink.data) - 48) == (
        18 + 64 + 16 + (1 << 40), 18 + 64 + 16 + (1 << 40), name_hashes([b"x"])[0],
    )  # fmt: skip


def test_directories_wider_than_what_is_kept_as_names() -> None:
    names = sorted(b"%d" % number for number in range(2100))
    tree: list[Plain | Leave] = [
        Plain(b"", b"", TOP, None),
        *(Plain(name, name, FILE._replace(size=len(name)), name) for name in names),
        Leave(b""),
    ]
    data = encode_plain(tree, BEST)
    offsets = [64]
    for name in names[:-1]:
        offsets.append(offsets[-1] + 17 + len(name) + 64 + 16 + len(name))
    end = offsets[-1] + 97 + 2 * len(names[-1])
    assert data[end:] == encode_goodbye(name_hashes(names), offsets, 0, end)
    assert decode_plain(data) == tree


def test_trees_deeper_than_the_stack() -> None:
    depth = 3000

    def entries() -> Iterator[Entry | Leave]:
        paths = [b"/".join([b"d"] * level) for level in range(depth)]
        for path in paths:
            yield Entry(path, b"d" if path else b"", TOP)
        yield from map(Leave, reversed(paths))

    sink = Collector()
    assert encode(entries(), sink, BEST) == depth * (18 + 64 + 64) - 18 - 24
    plain = decode_plain(bytes(sink.data), [1000])
    assert [item.path for item in plain] == [item.path for item in entries()]


def test_entries_that_end_inside_of_a_directory() -> None:
    with pytest.raises(ValueError, match="inside of a directory"):
        encode(iter([Entry(b"", b"", TOP)]), Collector(), BEST)


def test_importing_encoder_and_decoder_loads_nothing_heavy() -> None:
    code = "import casync_py.archive.encoder, casync_py.archive.decoder, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    assert "casync_py.archive.decoder" in loaded
    assert not loaded & {"zstandard", "blake3", "typer", "rich", "asyncio", "threading", "subprocess", "lzma"}
