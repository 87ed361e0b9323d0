from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.encoder import encode_node
from casync_py.archive.nodes import Entry, Leave, Node
from casync_py.digest import SHA256, SHA512_256
from casync_py.format.flags import CHATTR, EXCLUDE_MASK, FAT_ATTRS, WITH_MASK, F, normalize
from casync_py.sync.stat import stat_lines, stat_scan_features

if TYPE_CHECKING:
    from collections.abc import Iterator

FEATURES = normalize(WITH_MASK | EXCLUDE_MASK | SHA512_256.flag)
DIRECTORY = stat.S_IFDIR | 0o755


@pytest.fixture(autouse=True)
def five_and_a_half_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "AAA-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def lines(
    node: Node, mask: int = FEATURES, features: int = FEATURES, path: bytes = b"p", offset: int = 80
) -> list[str]:
    entries = iter([Entry(path, path, node, None, offset)])
    return b"".join(stat_lines(entries, mask, features, SHA512_256)).decode().splitlines()


def test_a_directory_of_an_archive() -> None:
    node = Node(DIRECTORY, flags=0, uid=5, gid=0, user=b"me", mtime_ns=1_000_000_001, projid=4294967295)
    assert lines(node, path=b"", offset=0) == [
        "    File: .",
        "    Mode: drwxr-xr-x",
        "FileAttr: ----------",
        " FATAttr: ---",
        "  Offset: 0",
        "    Time: 1970-01-01 05:30:01.000000001",
        "    User: me (5)",
        "   Group: root (0)",
        "  ProjID: 4294967295",
    ]


def test_a_directory_that_was_scanned_always_tells_its_project_and_has_no_offset() -> None:
    shown = lines(Node(DIRECTORY), offset=-1)
    assert "  ProjID: 0" in shown
    assert "  Offset: 0" in shown


def test_fat_attributes_of_a_directory_that_was_scanned_need_the_feature() -> None:
    assert " FATAttr: ---" in lines(Node(DIRECTORY), offset=-1)
    without = FEATURES & ~FAT_ATTRS
    assert not [line for line in lines(Node(DIRECTORY), without, without, offset=-1) if "FATAttr" in line]
    assert " FATAttr: ---" in lines(Node(DIRECTORY), without, without)


def test_nothing_but_the_place_is_left_without_features() -> None:
    assert lines(Node(DIRECTORY), 0, 0, offset=-1) == [
        "    File: p",
        "    Mode: drwxr-xr-x",
        "FileAttr: ----------",
        "  Offset: 0",
    ]


@pytest.mark.parametrize(
    ("flag", "letters"),
    [
        (F.FLAG_SYNC, "S---------"),
        (F.FLAG_DIRSYNC, "-D--------"),
        (F.FLAG_IMMUTABLE, "--i-------"),
        (F.FLAG_APPEND, "---a------"),
        (F.FLAG_NODUMP, "----d-----"),
        (F.FLAG_NOATIME, "-----A----"),
        (F.FLAG_COMPR, "------c---"),
        (F.FLAG_NOCOMP, "-------N--"),
        (F.FLAG_NOCOW, "--------C-"),
        (F.FLAG_PROJINHERIT, "---------P"),
    ],
)
def test_chattr_letters(flag: F, letters: str) -> None:
    node = Node(DIRECTORY, flags=int(flag | F.SUBVOLUME))
    assert lines(node, CHATTR)[2] == f"FileAttr: {letters}"
    assert lines(node, CHATTR & ~int(flag))[2] == "FileAttr: ----------"


@pytest.mark.parametrize(("flag", "letters"), [(F.FLAG_HIDDEN, "h--"), (F.FLAG_SYSTEM, "-s-"), (F.FLAG_ARCHIVE, "--a")])
def test_fat_letters(flag: F, letters: str) -> None:
    node = Node(DIRECTORY, flags=int(flag))
    assert lines(node, int(flag))[3] == f" FATAttr: {letters}"
    assert lines(node, 0)[3] == " FATAttr: ---"


def test_attributes_are_shown_whatever_was_asked_for() -> None:
    node = Node(DIRECTORY, xattrs=((b"user.\x01 #", b"va\x00l\xff"), (b"user.e", b"")), projid=7)
    assert lines(node, 0)[-3:] == [
        "  ProjID: 7",
        "   XAttr: user.\\001\\040\\043 → va\\000l\\377",
        "   XAttr: user.e → ",
    ]


def test_owners_by_name_only() -> None:
    shown = lines(Node(DIRECTORY, uid=1, user=b"a.b\n", group=b""), int(F.USER_NAMES), int(F.USER_NAMES))
    assert shown[-2:] == ["    User: a.b\\012", "   Group: root"]
    assert lines(Node(DIRECTORY, uid=1, gid=1), int(F.USER_NAMES), 0)[-1] == "  Offset: 80"


def test_devices_show_numbers_and_block_devices_a_digest_of_nothing() -> None:
    node = Node(stat.S_IFBLK | 0o600, rdev=(7, 1))
    whole = SHA512_256.of(encode_node(node, FEATURES)).hex()
    assert lines(node, 0)[2:] == [
        "  Offset: 80",
        "  Device: 7:1",
        f"  Digest: {SHA512_256.of(b'').hex()}",
        f"HLDigest: {whole}",
    ]
    assert [line[:10] for line in lines(Node(stat.S_IFCHR | 0o600), 0)[2:]] == [
        "  Offset: ",
        "  Device: ",
        "HLDigest: ",
    ]


def test_a_link_shows_its_target() -> None:
    node = Node(stat.S_IFLNK | 0o777, target=b"a b")
    assert lines(node, 0)[3:] == ["  Target: a\\040b", f"HLDigest: {SHA512_256.of(encode_node(node, FEATURES)).hex()}"]


def test_only_the_first_entry_is_taken_and_its_digest_is_the_archives() -> None:
    entries: Iterator[Entry | Leave] = iter([Entry(b"a", b"a", Node(stat.S_IFIFO)), Leave(b"")])
    text = b"".join(stat_lines(entries, 0, 0, SHA256)).decode()
    assert text.splitlines()[-1] == f"HLDigest: {SHA256.of(encode_node(Node(stat.S_IFIFO), 0)).hex()}"
    assert next(entries) == Leave(b"")


def test_a_scan_for_capabilities_shows_xattrs_too() -> None:
    assert stat_scan_features(int(F.FCAPS)) == F.FCAPS | F.XATTRS
    assert stat_scan_features(int(F.ACL | F.SELINUX)) == F.ACL | F.SELINUX
