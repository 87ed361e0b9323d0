from __future__ import annotations

import hashlib
import stat
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.encoder import encode
from casync_py.archive.nodes import Entry, Leave, Node
from casync_py.digest import DIGESTS, SHA256, SHA512_256, Digest
from casync_py.errors import UsageError
from casync_py.monitor import Monitor
from casync_py.sync.digesting import digest_entries
from casync_py.sync.node_digests import content_digests, payload_digest
from casync_py.sync.select import select

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.archive.nodes import Payload
    from casync_py.digest import Buffer

DIRECTORY = Node(stat.S_IFDIR | 0o755)
CONTENT = bytes(range(256)) * 5000  # more than one block


class Content:
    def __init__(self, data: bytes) -> None:
        self._rest = data
        self.size = len(data)

    def read_into(self, view: memoryview) -> int:
        piece, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(piece)] = piece
        return len(piece)

    def pieces(self) -> Iterator[memoryview | bytes]:
        for at in range(0, len(self._rest), 100_001):
            yield self._rest[at : at + 100_001]


class Whole:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: Buffer) -> None:
        self.data += data

    def copy(self, payload: Payload) -> None:
        for piece in payload.pieces():
            self.data += piece


def tree() -> Iterator[Entry | Leave]:
    yield Entry(b"", b"", DIRECTORY)
    yield Entry(b"a", b"a", DIRECTORY)
    yield Entry(b"a/f", b"f", Node(stat.S_IFREG | 0o644, size=len(CONTENT)), Content(CONTENT))
    yield Entry(b"a/l", b"l", Node(stat.S_IFLNK | 0o777, target=b"x"))
    yield Leave(b"a")
    yield Entry(b"g", b"g", Node(stat.S_IFREG | 0o644), Content(b""))
    yield Leave(b"")


def encoded(entries: Iterator[Entry | Leave], features: int = 0) -> bytes:
    whole = Whole()
    encode(entries, whole, features)
    return bytes(whole.data)


@pytest.mark.parametrize("digest", DIGESTS.values(), ids=list(DIGESTS))
def test_a_tree_has_the_digest_of_its_archive(digest: Digest) -> None:
    assert digest_entries(tree(), 0, digest) == digest.of(encoded(tree()))


def test_a_directory_has_the_digest_of_entry_to_goodbye() -> None:
    archive = encoded(tree())
    start = archive.index(b"a\0") + len(b"a\0")
    end = archive.rindex(b"g\0") - 16  # where the FILENAME record of what follows begins
    assert digest_entries(select(tree(), b"a"), 0, SHA256) == hashlib.sha256(archive[start:end]).digest()


def test_a_file_has_the_digest_of_its_content() -> None:
    assert digest_entries(select(tree(), b"a/f"), 0, SHA256) == hashlib.sha256(CONTENT).digest()
    assert digest_entries(select(tree(), b"g"), 0, SHA256) == hashlib.sha256().digest()


def test_other_nodes_have_none() -> None:
    with pytest.raises(UsageError, match=r"^Path a/l does not refer to a file or directory$"):
        digest_entries(select(tree(), b"a/l"), 0, SHA256)


def test_features_are_part_of_the_archive() -> None:
    assert digest_entries(tree(), 0, SHA256) != digest_entries(tree(), SHA512_256.flag, SHA256)


def test_progress_is_counted() -> None:
    monitor = Monitor()
    digest_entries(tree(), 0, SHA256, monitor)
    assert (monitor.done, monitor.entries) == (len(encoded(tree())), 5)


def test_digest_of_a_node_covers_records_and_content() -> None:
    node = Node(stat.S_IFREG | 0o600, size=3, xattrs=((b"user.a", b"1"),))
    content, whole = content_digests(Entry(b"d/f", b"f", node, Content(b"abc")), 0, SHA256)
    assert content == hashlib.sha256(b"abc").digest()
    alone = encoded(iter([Entry(b"", b"", node, Content(b"abc"))]))
    assert alone.endswith(b"abc")
    assert whole == hashlib.sha256(alone).digest()


def test_content_in_pieces() -> None:
    assert payload_digest(Content(CONTENT), SHA512_256) == SHA512_256.of(CONTENT)
