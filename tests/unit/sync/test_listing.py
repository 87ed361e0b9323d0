from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from casync_py.archive.nodes import Entry, Leave, Node
from casync_py.sync.listing import list_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = Node(stat.S_IFDIR | 0o755)
LINK = Node(stat.S_IFLNK | 0o777, target=b"x")


def tree(root: bytes = b"") -> Iterator[Entry | Leave]:
    prefix = root + b"/" if root else b""
    yield Entry(root, root, DIRECTORY)
    yield Entry(prefix + b"a", b"a", DIRECTORY)
    yield Entry(prefix + b"a/b\n", b"b\n", LINK)
    yield Leave(prefix + b"a")
    yield Entry(prefix + b"c", b"c", LINK)
    yield Leave(root)


def test_all_nodes_in_order() -> None:
    assert b"".join(list_lines(tree())) == (b"drwxr-xr-x .\ndrwxr-xr-x a\nlrwxrwxrwx a/b\\012\nlrwxrwxrwx c\n")


def test_not_recursive_shows_the_first_entry_and_its_children() -> None:
    assert b"".join(list_lines(tree(), recursive=False)) == b"drwxr-xr-x .\ndrwxr-xr-x a\nlrwxrwxrwx c\n"
    assert b"".join(list_lines(tree(b"s/t"), recursive=False)) == (
        b"drwxr-xr-x s/t\ndrwxr-xr-x s/t/a\nlrwxrwxrwx s/t/c\n"
    )
