from __future__ import annotations

import stat

import pytest

from casync_py.archive.nodes import Node
from casync_py.format.flags import ANY_TIME, ANY_UIDS, EXCLUDE_MASK, WITH_MASK, F, normalize
from casync_py.sync.shown import escape, group_name, mode_string, shown_mask, shown_path, user_name


def test_every_byte_is_shown_as_itself_or_as_three_octal_digits() -> None:
    for value in range(256):
        plain = 0x20 < value < 0x7F and value not in b"\\#"
        assert escape(bytes([value])) == (bytes([value]) if plain else b"\\%03o" % value)


def test_a_name_with_one_odd_byte_keeps_the_others() -> None:
    assert escape("é \\n~'\"*".encode()) == rb"\303\251\040\134n~'" + b'"*'
    assert escape(b"") == b""


def test_the_root_is_a_dot() -> None:
    assert shown_path(b"") == b"."
    assert shown_path(b"a b/c") == rb"a\040b/c"


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (stat.S_IFREG | 0o644, b"-rw-r--r--"),
        (stat.S_IFREG | 0o7777, b"-rwsrwsrwx"),
        (stat.S_IFREG | 0o7000, b"---S--S---"),
        (stat.S_IFDIR | 0o1777, b"drwxrwxrwt"),
        (stat.S_IFDIR | 0o7000, b"d--S--S--T"),
        (stat.S_IFDIR | 0o2750, b"drwxr-s---"),
        (stat.S_IFLNK | 0o777, b"lrwxrwxrwx"),
        (stat.S_IFSOCK | 0o111, b"s--x--x--x"),
        (stat.S_IFCHR | 0o222, b"c-w--w--w-"),
        (stat.S_IFBLK, b"b---------"),
        (stat.S_IFIFO | 0o444, b"pr--r--r--"),
    ],
)
def test_mode_as_ls_shows_it(mode: int, text: bytes) -> None:
    assert mode_string(mode) == text


def test_root_needs_no_record() -> None:
    assert (user_name(Node(0)), group_name(Node(0))) == (b"root", b"root")
    assert (user_name(Node(0, uid=1, gid=1)), group_name(Node(0, uid=1, gid=1))) == (b"", b"")
    assert (user_name(Node(0, user=b"u")), group_name(Node(0, gid=3, group=b"g"))) == (b"u", b"g")


def test_mask_shows_everything_by_default() -> None:
    archive = normalize(WITH_MASK | EXCLUDE_MASK)
    assert shown_mask((), (), archive) == archive & WITH_MASK


def test_mask_keeps_nodump_of_an_archive_that_has_it() -> None:
    archive = normalize(WITH_MASK)
    assert archive & F.FLAG_NODUMP
    assert shown_mask((), (), archive) & F.FLAG_NODUMP
    assert not shown_mask((), (int(F.FLAG_NODUMP),), archive) & F.FLAG_NODUMP


def test_mask_takes_any_time_and_any_uid_for_another() -> None:
    archive = int(F.UIDS_32BIT | F.NSEC_TIME | F.USER_NAMES)
    mask = shown_mask((int(F.UIDS_16BIT), int(F.SEC2_TIME)), (), archive)
    assert mask & ANY_UIDS
    assert mask & ANY_TIME
    assert not mask & F.USER_NAMES


def test_acl_brings_owners_only_where_the_archive_has_acls() -> None:
    acl = (int(F.ACL),)
    assert shown_mask(acl, (), normalize(WITH_MASK)) & F.USER_NAMES
    assert not shown_mask(acl, (), normalize(WITH_MASK & ~int(F.ACL))) & (F.USER_NAMES | ANY_UIDS)
