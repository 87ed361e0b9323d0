"""Feature flags: casync's names and numbers for what an archive carries. Source: casync caformat.h, caformat-util.c."""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING

from casync_py.digest import BLAKE3_FLAG, DIGEST_FLAGS, SHA512_256_FLAG, digest_of_flags
from casync_py.errors import FormatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Feature(IntFlag):
    """One bit each; hot code takes plain ints, because operations on IntFlag cost half a microsecond."""

    UIDS_16BIT = 1 << 0
    UIDS_32BIT = 1 << 1
    USER_NAMES = 1 << 2
    SEC_TIME = 1 << 3
    USEC_TIME = 1 << 4
    NSEC_TIME = 1 << 5
    SEC2_TIME = 1 << 6
    READ_ONLY = 1 << 7
    PERMISSIONS = 1 << 8
    SYMLINKS = 1 << 9
    DEVICE_NODES = 1 << 10
    FIFOS = 1 << 11
    SOCKETS = 1 << 12
    FLAG_HIDDEN = 1 << 13
    FLAG_SYSTEM = 1 << 14
    FLAG_ARCHIVE = 1 << 15
    FLAG_APPEND = 1 << 16
    FLAG_NOATIME = 1 << 17
    FLAG_COMPR = 1 << 18
    FLAG_NOCOW = 1 << 19
    FLAG_NODUMP = 1 << 20
    FLAG_DIRSYNC = 1 << 21
    FLAG_IMMUTABLE = 1 << 22
    FLAG_SYNC = 1 << 23
    FLAG_NOCOMP = 1 << 24
    FLAG_PROJINHERIT = 1 << 25
    SUBVOLUME = 1 << 26
    SUBVOLUME_RO = 1 << 27
    XATTRS = 1 << 28
    ACL = 1 << 29
    SELINUX = 1 << 30
    FCAPS = 1 << 31
    QUOTA_PROJID = 1 << 32
    BLAKE3 = BLAKE3_FLAG
    EXCLUDE_FILE = 1 << 60
    SHA512_256 = SHA512_256_FLAG
    EXCLUDE_SUBMOUNTS = 1 << 62
    EXCLUDE_NODUMP = 1 << 63


F = Feature

NAMES: dict[str, int] = {
    "16bit-uids": F.UIDS_16BIT,
    "32bit-uids": F.UIDS_32BIT,
    "user-names": F.USER_NAMES,
    "sec-time": F.SEC_TIME,
    "usec-time": F.USEC_TIME,
    "nsec-time": F.NSEC_TIME,
    "2sec-time": F.SEC2_TIME,
    "read-only": F.READ_ONLY,
    "permissions": F.PERMISSIONS,
    "symlinks": F.SYMLINKS,
    "device-nodes": F.DEVICE_NODES,
    "fifos": F.FIFOS,
    "sockets": F.SOCKETS,
    "flag-hidden": F.FLAG_HIDDEN,
    "flag-system": F.FLAG_SYSTEM,
    "flag-archive": F.FLAG_ARCHIVE,
    "flag-append": F.FLAG_APPEND,
    "flag-noatime": F.FLAG_NOATIME,
    "flag-compr": F.FLAG_COMPR,
    "flag-nocow": F.FLAG_NOCOW,
    "flag-nodump": F.FLAG_NODUMP,
    "flag-dirsync": F.FLAG_DIRSYNC,
    "flag-immutable": F.FLAG_IMMUTABLE,
    "flag-sync": F.FLAG_SYNC,
    "flag-nocomp": F.FLAG_NOCOMP,
    "flag-projinherit": F.FLAG_PROJINHERIT,
    "subvolume": F.SUBVOLUME,
    "subvolume-ro": F.SUBVOLUME_RO,
    "xattrs": F.XATTRS,
    "acl": F.ACL,
    "selinux": F.SELINUX,
    "fcaps": F.FCAPS,
    "quota-projid": F.QUOTA_PROJID,
}

WITH_MASK = 0x1FFFFFFFF  # every bit that --with can name
EXCLUDE_MASK = int(F.EXCLUDE_FILE | F.EXCLUDE_SUBMOUNTS | F.EXCLUDE_NODUMP)
KNOWN_MASK = WITH_MASK | EXCLUDE_MASK | DIGEST_FLAGS

ANY_UIDS = int(F.UIDS_16BIT | F.UIDS_32BIT)
ANY_TIME = int(F.SEC_TIME | F.USEC_TIME | F.NSEC_TIME | F.SEC2_TIME)
CHATTR = 0x3FF0000
FAT_ATTRS = int(F.FLAG_HIDDEN | F.FLAG_SYSTEM | F.FLAG_ARCHIVE)
ANY_SUBVOLUME = int(F.SUBVOLUME | F.SUBVOLUME_RO)
_NODES = int(F.SYMLINKS | F.DEVICE_NODES | F.FIFOS | F.SOCKETS)

COMPOSITES: dict[str, int] = {
    "best": 0x1FFFFFE26,
    "unix": int(F.UIDS_16BIT | F.PERMISSIONS | F.SEC_TIME) | _NODES,
    "fat": int(F.SEC2_TIME | F.READ_ONLY) | FAT_ATTRS,
    "chattr": CHATTR,
    "fat-attrs": FAT_ATTRS,
    "privileged": ANY_UIDS
    | int(F.USER_NAMES | F.DEVICE_NODES | F.FLAG_SYSTEM | F.FLAG_APPEND | F.FLAG_IMMUTABLE)
    | ANY_SUBVOLUME
    | int(F.ACL | F.SELINUX | F.FCAPS | F.QUOTA_PROJID),
    "fuse": ANY_UIDS | ANY_TIME | int(F.READ_ONLY | F.PERMISSIONS | F.XATTRS) | _NODES | FAT_ATTRS | CHATTR,
    "all": WITH_MASK,
}

# Granularity of times by flag, in ns. casync's reader wants 10^6 for usec-time and so rejects what its own writer made.
_GRANULARITY = ((F.NSEC_TIME, 1), (F.USEC_TIME, 10**3), (F.SEC_TIME, 10**9), (F.SEC2_TIME, 2 * 10**9))


def normalize(flags: int) -> int:
    """Resolve flags that contain or exclude each other, in casync's order (spec 1.4, step 4)."""
    if flags & F.ACL and not flags & (ANY_UIDS | F.USER_NAMES):
        flags |= F.UIDS_32BIT | F.USER_NAMES
    for winner, loser in (
        (F.UIDS_32BIT, F.UIDS_16BIT),
        (F.NSEC_TIME, F.USEC_TIME | F.SEC_TIME | F.SEC2_TIME),
        (F.USEC_TIME, F.SEC_TIME | F.SEC2_TIME),
        (F.SEC_TIME, F.SEC2_TIME),
        (F.ACL, F.PERMISSIONS | F.READ_ONLY),
        (F.PERMISSIONS, F.READ_ONLY),
        (F.EXCLUDE_NODUMP, F.FLAG_NODUMP),
    ):
        if flags & winner:
            flags &= ~loser
    if flags & F.SUBVOLUME_RO:
        flags |= F.SUBVOLUME
    return int(flags)


def check(flags: int, offset: int | None = None) -> int:
    """Accept feature flags from outside.

    Raises:
        FormatError: unknown bits, two digests, or a set that `normalize` would change.
    """
    if flags & ~KNOWN_MASK:
        raise FormatError(f"Unknown feature flags {flags & ~KNOWN_MASK:#x}", offset)
    digest_of_flags(flags)
    if normalize(flags) != flags:
        raise FormatError(f"Feature flags {flags:#x} contradict each other", offset)
    return flags


def mask_for_reading(wanted: int, archive_flags: int) -> int:
    """What of an archive is restored or shown when `wanted` was asked for: both widened, intersected, normalised."""
    return normalize(_widen(wanted) & _widen(archive_flags))


def _widen(flags: int) -> int:
    for given, added in (
        (ANY_UIDS, ANY_UIDS),
        (ANY_TIME, ANY_TIME),
        (F.PERMISSIONS, F.READ_ONLY),
        (F.ACL, F.PERMISSIONS | F.READ_ONLY),
        (F.SUBVOLUME_RO, F.SUBVOLUME),
    ):
        if flags & given:
            flags |= added
    return int(flags)


def granularity_ns(flags: int) -> int:
    """Granularity of mtimes under normalised flags, in ns; 0 where no times are kept."""
    return next((ns for flag, ns in _GRANULARITY if flags & flag), 0)


def parse_feature(name: str) -> int:
    """Bits of one `--with=` or `--without=` value, a flag or a composite.

    Raises:
        UsageError: no such flag.
    """
    bits = NAMES.get(name, COMPOSITES.get(name))
    if bits is None:
        raise UsageError(f"Unknown feature flag {name!r}; --with=help lists them")
    return int(bits)


def feature_names(flags: int) -> Iterable[str]:
    """Names of the single flags that are set, in order of their bits."""
    return (name for name, bit in NAMES.items() if flags & bit)


def effective_flags(with_: Iterable[int], without: Iterable[int], default: int, extra: int) -> int:
    """Feature flags of a new archive or index: the union of `with_` (or `default` where it is empty), less `without`.

    Args:
        default: `WITH_MASK` for trees, 0 for blobs (casync's default is "all", not "best").
        extra: EXCLUDE_* bits and the digest's bit, added before the set is normalised.
    """
    return normalize(chosen_bits(with_, without, default) | extra)


def chosen_bits(with_: Iterable[int], without: Iterable[int], default: int) -> int:
    """The union of `with_` (or `default` where it is empty), less `without`, not normalised."""
    bits = 0
    for given in with_:
        bits |= given
    bits = bits or default
    for taken in without:
        bits &= ~taken
    return bits
