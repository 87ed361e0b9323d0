"""Exclusion rules; tests/interop compares the rest with casync."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.exclude import NO_RULES, parse_patterns, read_patterns

if TYPE_CHECKING:
    from pathlib import Path


def test_no_rules_exclude_nothing() -> None:
    assert not NO_RULES
    assert not NO_RULES.exclude(b"a", True)
    assert NO_RULES.enter(b"a") is NO_RULES


def test_rules_of_parents_hold_below() -> None:
    rules = NO_RULES.extended(parse_patterns(b"*.o\nbuild/\n/src/*.c\n"))
    assert rules.exclude(b"x.o", False)
    assert rules.exclude(b"build", True)
    assert not rules.exclude(b"build", False)
    assert not rules.exclude(b"x.c", False)
    below = rules.enter(b"src")
    assert below.exclude(b"x.o", False)
    assert below.exclude(b"x.c", False)
    assert not below.exclude(b"build", True)
    further = below.enter(b"more")
    assert further.exclude(b"x.o", False)
    assert not further.exclude(b"x.c", False)
    assert further.enter(b"y") is further


def test_errors_name_the_line() -> None:
    with pytest.raises(OSError, match="Line 3 has an empty component"):
        parse_patterns(b"a\n\n/\n")


def test_a_file_too_large_to_keep(tmp_path: Path) -> None:
    with open(tmp_path / ".caexclude", "wb") as file:
        file.truncate((16 << 20) + 1)
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="16777216 bytes at most"):
        read_patterns(fd)
    os.close(fd)
