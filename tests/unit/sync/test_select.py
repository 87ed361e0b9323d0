from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.nodes import Entry, Leave, Node
from casync_py.errors import UsageError
from casync_py.sync.select import select

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = Node(stat.S_IFDIR | 0o755)
FILE = Node(stat.S_IFREG | 0o644)


def tree() -> Iterator[Entry | Leave]:
    yield Entry(b"", b"", DIRECTORY)
    yield Entry(b"a", b"a", DIRECTORY)
    yield Entry(b"a/b", b"b", DIRECTORY)
    yield Entry(b"a/b/f", b"f", FILE)
    yield Leave(b"a/b")
    yield Leave(b"a")
    yield Entry(b"a-", b"a-", FILE)
    yield Entry(b"c", b"c", FILE)
    yield Leave(b"")


def paths(subpath: bytes, entries: Iterator[Entry | Leave]) -> list[tuple[str, bytes]]:
    return [(type(item).__name__, item.path) for item in select(entries, subpath)]


@pytest.mark.parametrize("subpath", [b"", b"/", b"//"])
def test_the_root_is_everything(subpath: bytes) -> None:
    assert list(select(tree(), subpath)) == list(tree())


@pytest.mark.parametrize("subpath", [b"a", b"/a", b"a//"])
def test_a_directory_with_what_is_below_it(subpath: bytes) -> None:
    assert paths(subpath, tree()) == [
        ("Entry", b"a"),
        ("Entry", b"a/b"),
        ("Entry", b"a/b/f"),
        ("Leave", b"a/b"),
        ("Leave", b"a"),
    ]


@pytest.mark.parametrize("subpath", [b"a/b/f", b"a//b///f/"])
def test_a_single_file(subpath: bytes) -> None:
    assert paths(subpath, tree()) == [("Entry", b"a/b/f")]


def test_nothing_is_taken_after_the_selection() -> None:
    entries = tree()
    assert len(paths(b"a/b", entries)) == 3
    assert next(entries) == Leave(b"a")


@pytest.mark.parametrize("subpath", [b".", b"..", b"./a", b"a/.", b"a/x", b"a/b/f/x", b"c/x", b"zz", b"a\xff"])
def test_what_is_not_there(subpath: bytes) -> None:
    with pytest.raises(UsageError, match=r"^Seek path not available in archive"):
        list(select(tree(), subpath))


@pytest.mark.parametrize(("subpath", "rest"), [(b"a/b/x", Leave(b"a")), (b"a/b/f/x", Leave(b"a/b"))])
def test_what_is_not_there_is_known_where_it_would_stand(subpath: bytes, rest: Leave) -> None:
    entries = tree()
    with pytest.raises(UsageError):
        list(select(entries, subpath))
    assert next(entries) == rest


def test_the_message_shows_odd_bytes_escaped() -> None:
    with pytest.raises(UsageError, match=r"Seek path not available in archive: x\\012\\377$"):
        list(select(tree(), b"x\n\xff"))
