"""Counting the names that become copies, in bounded memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casync_py.archive import hard_links
from casync_py.archive.hard_links import LinkCounter

if TYPE_CHECKING:
    import pytest


def stat_of(inode: int, links: int) -> os.stat_result:
    return os.stat_result((0o100644, inode, 1, links, 0, 0, 0, 0, 0, 0))


def test_an_inode_is_forgotten_with_its_last_name() -> None:
    links = LinkCounter()
    for _ in range(3):
        links.see(stat_of(5, 3))
    assert links.copies == 2
    links.see(stat_of(5, 3))  # a name that came to be meanwhile
    assert links.copies == 2


def test_names_outside_of_the_tree_do_not_count() -> None:
    links = LinkCounter()
    for inode in range(10):
        links.see(stat_of(inode, 2))
    assert links.copies == 0


def test_beyond_what_is_remembered_the_number_is_a_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hard_links, "_REMEMBERED", 2)
    links = LinkCounter()
    for _ in range(2):
        for inode in range(4):
            links.see(stat_of(inode, 2))
    assert str(links) == "At least 2 hard links are stored as independent copies"


def test_text() -> None:
    links = LinkCounter()
    links.see(stat_of(1, 2))
    links.see(stat_of(1, 2))
    assert str(links) == "1 hard link is stored as independent copies"
