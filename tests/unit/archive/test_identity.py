"""Names and numbers of users and groups."""

from __future__ import annotations

import grp
import os
import pwd

from casync_py.archive.identity import Identities


def unused(taken: set[int]) -> int:
    return next(id_ for id_ in range(61234, 65000) if id_ not in taken)


def test_root_and_back() -> None:
    known = Identities()
    assert known.user_name(0) == b"root"
    assert known.user_id(b"root") == 0
    name = os.fsencode(grp.getgrgid(0).gr_name)
    assert known.group_name(0) == name
    assert known.group_id(name) == 0


def test_unknown_is_empty_or_none() -> None:
    known = Identities()
    assert known.user_name(unused({entry.pw_uid for entry in pwd.getpwall()})) == b""
    assert known.group_name(unused({entry.gr_gid for entry in grp.getgrall()})) == b""
    for name in (b"no-such-name", b"\xff\xfe", b"nul\0nul", b""):
        assert known.user_id(name) is None
        assert known.group_id(name) is None


def test_asks_once() -> None:
    known = Identities()
    for _ in range(3):
        known.user_name(0)
    assert known.user_name.cache_info().misses == 1
