from __future__ import annotations

import hashlib
import stat
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.nodes import Entry, Leave, Node
from casync_py.digest import BLAKE3, SHA256, SHA512_256
from casync_py.format.flags import CHATTR, EXCLUDE_MASK, FAT_ATTRS, WITH_MASK, F, normalize
from casync_py.sync.mtree import mtree_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

FEATURES = normalize(WITH_MASK | EXCLUDE_MASK | SHA512_256.flag)
NO_FLAGS = "flags=nohidden,nosystem,noarchive,nosappend,nosimmutable"


class Content:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read_into(self, view: memoryview) -> int:
        raise AssertionError("mtree takes pieces")

    def pieces(self) -> Iterator[memoryview | bytes]:
        for at in range(0, len(self.data), 3):
            yield memoryview(self.data)[at : at + 3]


def line(node: Node, mask: int = FEATURES, features: int = FEATURES, path: bytes = b"p") -> str:
    payload = Content(b"x" * node.size) if stat.S_ISREG(node.mode) else None
    (text,) = mtree_lines(iter([Entry(path, path, node, payload)]), mask, features, SHA512_256)
    return text.decode()


def test_a_directory() -> None:
    node = Node(stat.S_IFDIR | 0o1755, uid=7, gid=8, user=b"me", group=b"us", mtime_ns=1_000_000_001)
    assert line(node, path=b"") == (f". type=dir mode=1755 uid=7 gid=8 uname=me gname=us {NO_FLAGS} time=1.000000001\n")


def test_a_file_has_size_and_digest() -> None:
    content = Content(b"hello world")
    entries: list[Entry | Leave] = [Entry(b"a\nb", b"a\nb", Node(stat.S_IFREG | 0o644, size=11), content), Leave(b"")]
    (text,) = mtree_lines(iter(entries), 0, 0, SHA256)
    expected = hashlib.sha256(b"hello world").hexdigest()
    assert text.decode() == f"a\\012b type=file mode=0644 size=11 sha256digest={expected}\n"


def test_the_label_may_be_another_digest_than_the_value() -> None:
    entry = Entry(b"f", b"f", Node(stat.S_IFREG), Content(b""))
    (text,) = mtree_lines(iter([entry]), 0, 0, SHA256, SHA512_256)
    assert text == b"f type=file mode=0000 size=0 sha512256digest=%s\n" % hashlib.sha256().hexdigest().encode()


def test_blake3_has_a_label_of_its_own() -> None:
    (text,) = mtree_lines(iter([Entry(b"f", b"f", Node(stat.S_IFREG), Content(b"x"))]), 0, 0, BLAKE3)
    assert text.endswith(b" blake3digest=%s\n" % BLAKE3.of(b"x").hex().encode())


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (Node(stat.S_IFLNK | 0o777, target=b"a b\\"), "link mode=0777 link=a\\040b\\134"),
        (Node(stat.S_IFCHR | 0o600, rdev=(4095, 1048575)), "char mode=0600 device=linux,4095,1048575"),
        (Node(stat.S_IFBLK | 0o600, rdev=(7, 0)), "block mode=0600 device=linux,7,0"),
        (Node(stat.S_IFIFO | 0o600), "fifo mode=0600"),
        (Node(stat.S_IFSOCK | 0o600), "socket mode=0600"),
    ],
)
def test_other_nodes_claim_every_flag_that_the_archive_knows(node: Node, text: str) -> None:
    assert line(node, mask=0, features=0) == f"p type={text}\n"
    assert line(node, mask=0, features=FAT_ATTRS | CHATTR) == (
        f"p type={text} flags=hidden,system,archive,sappend,nodump,simmutable\n"
    )


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        (F.FLAG_HIDDEN, "hidden"),
        (F.FLAG_SYSTEM, "system"),
        (F.FLAG_ARCHIVE, "archive"),
        (F.FLAG_APPEND, "sappend"),
        (F.FLAG_NODUMP, "nodump"),
        (F.FLAG_IMMUTABLE, "simmutable"),
    ],
)
def test_a_flag_that_is_set_known_and_shown(flag: F, word: str) -> None:
    node = Node(stat.S_IFDIR | 0o700, flags=int(flag | F.FLAG_SYNC))
    assert line(node, int(flag), int(flag)) == f"p type=dir mode=0700 flags={word}\n"
    assert line(node, 0, int(flag)) == f"p type=dir mode=0700 flags=no{word}\n"
    assert line(node, int(flag), int(F.FLAG_SYNC)) == "p type=dir mode=0700\n"


def test_owners_as_far_as_they_are_shown_and_known() -> None:
    node = Node(stat.S_IFDIR | 0o700, uid=70000, gid=0, group=b"")
    assert line(node, int(F.UIDS_16BIT), 0) == "p type=dir mode=0700 uid=70000 gid=0\n"
    assert line(node, int(F.USER_NAMES), 0) == "p type=dir mode=0700 gname=root\n"
    assert line(node, int(F.USER_NAMES | F.UIDS_32BIT), 0) == "p type=dir mode=0700 uid=70000 gid=0 gname=root\n"


def test_a_name_cannot_forge_a_line() -> None:
    node = Node(stat.S_IFDIR | 0o700, uid=1, gid=1, user=b"a\nb", group=b"c d")
    assert line(node, int(F.USER_NAMES), 0) == "p type=dir mode=0700 uname=a\\012b gname=c\\040d\n"


@pytest.mark.parametrize(
    ("mtime_ns", "text"),
    [(0, "0.000000000"), (2**64 - 2, "18446744073.709551614"), (1_999_999_999, "1.999999999")],
)
def test_time_is_unsigned(mtime_ns: int, text: str) -> None:
    assert line(Node(stat.S_IFDIR, mtime_ns=mtime_ns), int(F.SEC_TIME), 0) == f"p type=dir mode=0000 time={text}\n"
