"""Names and numbers of users and groups."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from casync_py.archive.identity import Identities, StoredOwners
from casync_py.format.flags import Feature


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


WIDE = int(Feature.UIDS_32BIT)
NARROW = int(Feature.UIDS_16BIT)
NAMES = int(Feature.USER_NAMES)


def test_what_of_an_owner_is_stored() -> None:
    known = Identities()
    nobody = unused({entry.pw_uid for entry in pwd.getpwall()})
    named = next(entry for entry in pwd.getpwall() if entry.pw_uid not in {0, 0xFFFF})
    name = os.fsencode(pwd.getpwuid(named.pw_uid).pw_name)
    assert StoredOwners(0, known).user(named.pw_uid) == (0, b"")
    assert StoredOwners(0, known).user(0xFFFF) == (0, b"")
    assert StoredOwners(WIDE, known).user(named.pw_uid) == (named.pw_uid, b"")
    assert StoredOwners(NAMES, known).user(named.pw_uid) == (0, name)
    assert StoredOwners(WIDE | NAMES, known).user(named.pw_uid) == (named.pw_uid, name)
    assert StoredOwners(WIDE | NAMES, known).user(0) == (0, b"")
    assert StoredOwners(WIDE | NAMES, known).user(nobody) == (nobody, b"")
    assert StoredOwners(NAMES, known).user(nobody) == (0, b"%d" % nobody)
    assert StoredOwners(WIDE | NAMES, known).owner(named.pw_uid, 0) == (named.pw_uid, 0, name, b"")


@pytest.mark.parametrize("features", [WIDE, NARROW, NAMES, WIDE | NAMES])
@pytest.mark.parametrize("number", [0xFFFF, 0xFFFFFFFF])
def test_numbers_that_mean_nobody_are_refused(features: int, number: int) -> None:
    with pytest.raises(OSError, match="cannot be archived"):
        StoredOwners(features, Identities()).group(number)


def test_16_bits() -> None:
    owners = StoredOwners(NARROW, Identities())
    assert owners.owner(65534, 1) == (65534, 1, b"", b"")
    with pytest.raises(OSError, match="65536 is too large for 16bit-uids"):
        owners.user(65536)
