"""Feature flags: casync's numbers, how a set is made from options, what a reader accepts."""

from __future__ import annotations

import pytest

from casync_py.digest import BLAKE3_FLAG, SHA512_256_FLAG
from casync_py.errors import FormatError, UsageError
from casync_py.format import flags
from casync_py.format.flags import COMPOSITES, NAMES, WITH_MASK, Feature, parse_feature

DEFAULT_EXTRA = int(Feature.EXCLUDE_NODUMP | Feature.EXCLUDE_FILE) | SHA512_256_FLAG


def effective(
    with_: list[str], without: list[str] | None = None, default: int = WITH_MASK, extra: int = DEFAULT_EXTRA
) -> int:
    return flags.effective_flags(map(parse_feature, with_), map(parse_feature, without or []), default, extra)


@pytest.mark.parametrize(
    ("with_", "without", "expected"),
    [
        ([], [], 0xB0000001FFEFFE26),
        (["best"], [], 0xB0000001FFEFFE26),
        (["all"], [], 0xB0000001FFEFFE26),
        (["unix"], [], 0xB000000000001F09),
        (["fat"], [], 0xB00000000000E0C0),
        ([], ["privileged"], 0xB000000013AEBB20),
        (["best"], ["acl"], 0xB0000001DFEFFE26),
    ],
)
def test_sets_that_casync_made(with_: list[str], without: list[str], expected: int) -> None:
    """Values observed with casync 2 (spec 1.4)."""
    assert effective(with_, without) == expected


def test_sha256_clears_the_digest_bit_and_a_blob_has_no_features() -> None:
    assert effective([], extra=DEFAULT_EXTRA & ~SHA512_256_FLAG) == 0x90000001FFEFFE26
    assert effective([], default=0) == 0xB000000000000000


def test_the_names_cover_every_bit_of_the_mask_once() -> None:
    assert sum(NAMES.values()) == WITH_MASK
    assert [bit.bit_length() for bit in NAMES.values()] == list(range(1, 34))
    assert NAMES["flag-projinherit"] == 0x2000000
    assert NAMES["quota-projid"] == 0x100000000


def test_composites_have_the_members_that_casync_documents() -> None:
    assert COMPOSITES["best"] == 0x1FFFFFE26
    assert COMPOSITES["chattr"] == 0x3FF0000
    assert set(flags.feature_names(COMPOSITES["unix"])) == {
        "16bit-uids", "permissions", "sec-time", "symlinks", "device-nodes", "fifos", "sockets",
    }  # fmt: skip
    assert set(flags.feature_names(COMPOSITES["privileged"])) == {
        "16bit-uids", "32bit-uids", "user-names", "device-nodes", "flag-system", "flag-append", "flag-immutable",
        "subvolume", "subvolume-ro", "acl", "selinux", "fcaps", "quota-projid",
    }  # fmt: skip
    assert not COMPOSITES["fuse"] & (Feature.USER_NAMES | Feature.ACL | Feature.FCAPS)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Feature.ACL, Feature.ACL | Feature.UIDS_32BIT | Feature.USER_NAMES),
        (Feature.ACL | Feature.UIDS_16BIT | Feature.PERMISSIONS, Feature.ACL | Feature.UIDS_16BIT),
        (Feature.UIDS_16BIT | Feature.UIDS_32BIT, Feature.UIDS_32BIT),
        (Feature.NSEC_TIME | Feature.USEC_TIME | Feature.SEC_TIME | Feature.SEC2_TIME, Feature.NSEC_TIME),
        (Feature.USEC_TIME | Feature.SEC_TIME | Feature.SEC2_TIME, Feature.USEC_TIME),
        (Feature.SEC_TIME | Feature.SEC2_TIME, Feature.SEC_TIME),
        (Feature.PERMISSIONS | Feature.READ_ONLY, Feature.PERMISSIONS),
        (Feature.EXCLUDE_NODUMP | Feature.FLAG_NODUMP, Feature.EXCLUDE_NODUMP),
        (Feature.SUBVOLUME_RO, Feature.SUBVOLUME_RO | Feature.SUBVOLUME),
    ],
)
def test_normalize(given: Feature, expected: Feature) -> None:
    assert flags.normalize(given) == expected
    assert flags.normalize(expected) == expected
    with pytest.raises(FormatError, match="contradict"):
        flags.check(int(given))


@pytest.mark.parametrize("bad", [1 << 33, 1 << 58, 0xFFFFFFFFFFFFFFFF, SHA512_256_FLAG | BLAKE3_FLAG])
def test_check_refuses_unknown_bits_and_two_digests(bad: int) -> None:
    with pytest.raises(FormatError):
        flags.check(bad, 16)


def test_check_hands_back_what_it_accepts() -> None:
    for good in (0, 0xB0000001FFEFFE26, BLAKE3_FLAG, SHA512_256_FLAG):
        assert flags.check(good) == good


@pytest.mark.parametrize(
    ("wanted", "archive", "expected"),
    [
        (WITH_MASK, Feature.UIDS_16BIT | Feature.SEC_TIME, Feature.UIDS_32BIT | Feature.NSEC_TIME),
        (Feature.UIDS_16BIT | Feature.PERMISSIONS, 0xB0000001FFEFFE26, Feature.UIDS_32BIT | Feature.PERMISSIONS),
        (Feature.ACL, Feature.PERMISSIONS, Feature.PERMISSIONS),
        (Feature.READ_ONLY, Feature.PERMISSIONS, Feature.READ_ONLY),
        (Feature.SUBVOLUME, Feature.SUBVOLUME_RO, Feature.SUBVOLUME),
    ],
)
def test_mask_for_reading_widens_before_it_intersects(wanted: int, archive: int, expected: int) -> None:
    assert flags.mask_for_reading(int(wanted), int(archive)) == expected


def test_granularity() -> None:
    table = {Feature.NSEC_TIME: 1, Feature.USEC_TIME: 1000, Feature.SEC_TIME: 10**9, Feature.SEC2_TIME: 2 * 10**9}
    for flag, granularity in table.items():
        assert flags.granularity_ns(int(flag | Feature.XATTRS)) == granularity
    assert flags.granularity_ns(int(Feature.XATTRS)) == 0


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="'nosuch'"):
        parse_feature("nosuch")
