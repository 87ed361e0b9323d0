"""Which record may stand where: the order of a node's records, what feature flags allow. Source: spec 1.2 to 1.5."""

from __future__ import annotations

from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK
from typing import NamedTuple

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format.flags import CHATTR, FAT_ATTRS, Feature, granularity_ns

TYPE_MASK = 0o170000

_ANY = frozenset((S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK))
_FILES = frozenset((S_IFREG,))
_DIRECTORIES = frozenset((S_IFDIR,))
_FILES_AND_DIRECTORIES = _FILES | _DIRECTORIES
_NOT_LINKS = _ANY - {S_IFLNK}


class Place(NamedTuple):
    """A metadata record's place in a node: ranks ascend, `feature` must be on, the node must be of one of `kinds`."""

    rank: int
    repeats: bool
    feature: int
    kinds: frozenset[int]


METADATA: dict[int, Place] = {
    c.USER: Place(1, False, int(Feature.USER_NAMES), _ANY),
    c.GROUP: Place(2, False, int(Feature.USER_NAMES), _ANY),
    c.XATTR: Place(3, True, int(Feature.XATTRS), _NOT_LINKS),
    c.ACL_USER: Place(4, True, int(Feature.ACL), _NOT_LINKS),
    c.ACL_GROUP: Place(5, True, int(Feature.ACL), _NOT_LINKS),
    c.ACL_GROUP_OBJ: Place(6, False, int(Feature.ACL), _NOT_LINKS),
    c.ACL_DEFAULT: Place(7, False, int(Feature.ACL), _DIRECTORIES),
    c.ACL_DEFAULT_USER: Place(8, True, int(Feature.ACL), _DIRECTORIES),
    c.ACL_DEFAULT_GROUP: Place(9, True, int(Feature.ACL), _DIRECTORIES),
    c.SELINUX: Place(10, False, int(Feature.SELINUX), _ANY),
    c.FCAPS: Place(11, False, int(Feature.FCAPS), _FILES),
    c.QUOTA_PROJID: Place(12, False, int(Feature.QUOTA_PROJID), _FILES_AND_DIRECTORIES),
}

# What follows a node's metadata. A directory's children and GOODBYE come from the loop over directories.
CONTENT: dict[int, int | None] = {
    S_IFREG: c.PAYLOAD,
    S_IFLNK: c.SYMLINK,
    S_IFCHR: c.DEVICE,
    S_IFBLK: c.DEVICE,
    S_IFIFO: None,
    S_IFSOCK: None,
    S_IFDIR: None,
}

# The feature flag that a type of node needs; files and directories need none.
_KIND_FEATURE: dict[int, int | None] = {
    S_IFREG: None,
    S_IFDIR: None,
    S_IFLNK: int(Feature.SYMLINKS),
    S_IFCHR: int(Feature.DEVICE_NODES),
    S_IFBLK: int(Feature.DEVICE_NODES),
    S_IFIFO: int(Feature.FIFOS),
    S_IFSOCK: int(Feature.SOCKETS),
}

_SUBVOLUME = int(Feature.SUBVOLUME | Feature.SUBVOLUME_RO)
_INODE_FLAGS = FAT_ATTRS | CHATTR | _SUBVOLUME
_KNOWN_MAX = 4096


class EntryRules:
    """What the fields of an ENTRY may be under given feature flags.

    Attributes:
        features: the feature flags.
        known: (mode, flags, uid, gid) of nodes that were found valid; a tree has few, and looking one up is cheaper
            than checking it again.
        granularity, mtime_max: a valid mtime is a multiple of one and at most the other.
    """

    def __init__(self, features: int) -> None:
        """`features` are valid feature flags."""
        self.features = features
        self.known: set[tuple[int, int, int, int]] = set()
        granularity = granularity_ns(features)
        self.granularity = granularity or 1
        self.mtime_max = c.U64_MAX - 1 if granularity else 0

    def check(self, mode: int, flags: int, uid: int, gid: int, mtime: int, offset: int) -> None:
        """Accept an ENTRY's fields.

        Raises:
            FormatError: a field that casync never writes under these feature flags.
        """
        if mtime > self.mtime_max or mtime % self.granularity:
            raise FormatError(f"ENTRY with time {mtime} against its feature flags", offset)
        key = (mode, flags, uid, gid)
        if key in self.known:
            return
        self._check_mode(mode, offset)
        self._check_flags(mode & TYPE_MASK, flags, offset)
        for number in (uid, gid):
            self.check_id(number, offset)
        if len(self.known) >= _KNOWN_MAX:
            self.known.clear()
        self.known.add(key)

    def check_id(self, number: int, offset: int) -> None:
        """Accept a numeric user or group id."""
        features = self.features
        if features & Feature.UIDS_32BIT:
            valid = number <= c.ID_MAX and number != c.ID16_MAX + 1
        else:
            valid = number <= (c.ID16_MAX if features & Feature.UIDS_16BIT else 0)
        if not valid:
            raise FormatError(f"Numeric id {number} against the feature flags", offset)

    def check_acl_entry(self, number: int, name: bytes, offset: int) -> None:
        """Accept whom an ACL entry is about."""
        self.check_id(number, offset)
        if name and not self.features & Feature.USER_NAMES:
            raise FormatError("ACL entry with a name against the feature flags", offset)

    def _check_mode(self, mode: int, offset: int) -> None:
        kind = mode & TYPE_MASK
        permissions = mode & ~TYPE_MASK
        feature = _KIND_FEATURE.get(kind, 0)
        if feature is not None and not self.features & feature:
            raise FormatError(f"ENTRY with mode {mode:#o}, whose type is unknown or not in the feature flags", offset)
        if permissions not in self._permissions(kind):
            raise FormatError(f"ENTRY with mode {mode:#o} against its feature flags", offset)

    def _permissions(self, kind: int) -> range | tuple[int, ...]:
        if kind == S_IFLNK:
            return (0o777,)
        if self.features & (Feature.PERMISSIONS | Feature.ACL):
            return range(0o10000)
        widest = 0o777 if kind == S_IFDIR else 0o666
        return (widest, widest & 0o555) if self.features & Feature.READ_ONLY else (widest,)

    def _check_flags(self, kind: int, flags: int, offset: int) -> None:
        allowed = self.features & _INODE_FLAGS
        if kind != S_IFDIR:
            allowed &= ~_SUBVOLUME
        if kind not in _FILES_AND_DIRECTORIES:
            allowed = 0
        if flags & ~allowed:
            raise FormatError(f"ENTRY with flags {flags:#x} against its type or feature flags", offset)
