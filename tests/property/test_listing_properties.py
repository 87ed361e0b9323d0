from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from casync_py.archive.nodes import Entry, Leave, Node
from casync_py.errors import UsageError
from casync_py.sync.listing import list_lines
from casync_py.sync.select import select
from casync_py.sync.shown import escape, mode_string

if TYPE_CHECKING:
    from collections.abc import Iterator

    Tree = dict[bytes, "Tree"] | None  # None: a file

NAMES = st.sampled_from([b"a", b"b", b"a-", b"aa", b"\xff", b"."])
TREES = st.recursive(st.none(), lambda below: st.dictionaries(NAMES, below, max_size=4), max_leaves=12)
DIRECTORY, FILE = Node(stat.S_IFDIR | 0o755), Node(stat.S_IFREG | 0o644)


def walk(tree: Tree, path: bytes = b"") -> Iterator[Entry | Leave]:
    name = path.rpartition(b"/")[2]
    yield Entry(path, name, FILE if tree is None else DIRECTORY)
    if tree is not None:
        for child in sorted(tree):
            yield from walk(tree[child], path + b"/" + child if path else child)
        yield Leave(path)


@given(st.binary())
def test_escaping_can_be_undone_and_leaves_only_visible_ascii(text: bytes) -> None:
    shown = escape(text)
    assert all(0x20 < byte < 0x7F and byte != 0x23 for byte in shown)
    assert re.sub(rb"\\(\d{3})", lambda match: bytes([int(match[1], 8)]), shown) == text


@given(st.dictionaries(NAMES, TREES, max_size=4), st.lists(NAMES, min_size=1, max_size=4))
def test_selection_is_what_stands_at_and_below_the_path(tree: dict[bytes, Tree], names: list[bytes]) -> None:
    target = b"/".join(names)
    expected = [item for item in walk(tree) if item.path == target or item.path.startswith(target + b"/")]
    try:
        assert list(select(walk(tree), target)) == expected
    except UsageError:
        assert not expected


@given(st.dictionaries(NAMES, TREES, max_size=4))
def test_not_recursive_is_the_part_of_the_full_list_without_a_slash(tree: dict[bytes, Tree]) -> None:
    full = list(list_lines(walk(tree)))
    assert list(list_lines(walk(tree), recursive=False)) == [line for line in full if b"/" not in line]


@given(st.integers(0, 0o7777))
def test_mode_is_what_the_standard_library_says_but_for_sticky_files(permissions: int) -> None:
    assert mode_string(stat.S_IFDIR | permissions).decode() == stat.filemode(stat.S_IFDIR | permissions)
    plain = permissions & ~stat.S_ISVTX
    assert mode_string(stat.S_IFREG | permissions).decode() == stat.filemode(stat.S_IFREG | plain)
