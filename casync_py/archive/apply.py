"""Give an inode the metadata that an archive has for it, as far as the features that are restored include it.

Each kind of metadata has its function here; in which order they are called, and when, is the business of
`archive/place.py`. Where a file system does not have what an archive asks for, that is an error; where the archive asks
for nothing, there is nothing to be had.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from casync_py.archive.acl import ACCESS_XATTR, DEFAULT_XATTR, acl_to_xattrs
from casync_py.archive.filesystems import FAT, FUSE, fs_magic
from casync_py.archive.identity import Identities
from casync_py.archive.inode_flags import write_chattr, write_fat, write_projid
from casync_py.archive.nodes import Acl
from casync_py.archive.safe_dirs import LOCKS
from casync_py.errors import FormatError
from casync_py.format.flags import ANY_SUBVOLUME, ANY_TIME, ANY_UIDS, CHATTR, FAT_ATTRS, Feature, granularity_ns

if TYPE_CHECKING:
    from casync_py.archive.nodes import Node

# Best set, or only possible, while a file or directory is empty (casync cadecoder.c, APPLY_EARLY_FS_FL).
EARLY = int(
    Feature.FLAG_NOATIME | Feature.FLAG_COMPR | Feature.FLAG_NOCOW | Feature.FLAG_NOCOMP | Feature.FLAG_PROJINHERIT
)
_NO_ACL = Acl()
_STORED_XATTRS = ("user.", "trusted.")
_NOTHING_THERE = frozenset({errno.ENODATA, errno.EOPNOTSUPP})
_ID_LIMIT = (1 << 32) - 1  # -1 means "leave as it is" to chown
_WRAP = 1 << 64
_EXACT_MODES = int(Feature.PERMISSIONS | Feature.ACL)


PLAIN_TIMES = (1 << 31) * 10**9  # from 1970 to this, no file system in use has a range problem
_COARSEST = 2 * 10**9  # ns; FAT keeps times to two seconds, everything else finer


class Volume:
    """What has been learnt of one file system.

    Attributes:
        fat: it has FAT attributes.
        time_unit: ns; multiples of it were seen to be kept exactly, and need not be read back.
        fix_modes: a file created in a new directory that inherits nothing has other permissions than it was created
            with; None while that is unknown.
    """

    __slots__ = ("fat", "fix_modes", "time_unit")

    def __init__(self, fat: bool) -> None:
        self.fat = fat
        self.fix_modes: bool | None = None
        self.time_unit = _COARSEST


class MetadataWriter:
    """Applies the metadata that `features_mask` (normalised) lets through.

    Attributes:
        chattr, fat, subvolumes: the mask's bits of each kind, 0 for none.
        acl, xattrs, fcaps, selinux, projids, times: whether they are restored.
        granularity: of times, in ns.
        umask: the process's, all of 0777 where it cannot be told.
    """

    def __init__(self, features_mask: int) -> None:
        self.chattr = features_mask & CHATTR
        self.fat = features_mask & FAT_ATTRS
        self.subvolumes = features_mask & ANY_SUBVOLUME
        self.acl = bool(features_mask & Feature.ACL)
        self.xattrs = bool(features_mask & Feature.XATTRS)
        self.fcaps = bool(features_mask & Feature.FCAPS)
        self.selinux = bool(features_mask & Feature.SELINUX)
        self.projids = bool(features_mask & Feature.QUOTA_PROJID)
        self.times = bool(features_mask & ANY_TIME)
        self.granularity = granularity_ns(features_mask) or 1
        self.umask = current_umask()
        self._names = bool(features_mask & Feature.USER_NAMES)
        self._owners = bool(features_mask & ANY_UIDS) or self._names
        self._exact_modes = bool(features_mask & _EXACT_MODES)
        self._read_only = bool(features_mask & Feature.READ_ONLY)
        self._identities = Identities()
        self._known_owners: dict[tuple[bytes, bytes, int, int], tuple[int, int] | None] = {}

    def mode_of(self, mode: int) -> int:
        """The permissions that a new file or other node that is no directory gets; -1: those of its creation stay."""
        if self._exact_modes:
            return mode & 0o7777
        if self._read_only and not mode & 0o222:
            return mode & 0o444 & ~self.umask | 0o400
        return -1

    def directory_mode(self, mode: int, found: int, fresh: bool) -> int:
        """The permissions for a directory that has `found`; a `fresh` one has 0700, and keeps it as with casync."""
        if self._exact_modes:
            return mode & 0o7777
        if not self._read_only:
            return found
        if not mode & 0o222:
            return (0o555 & ~self.umask if fresh else found & ~0o222) | 0o500
        if found & 0o200:
            return found | 0o700
        return found | 0o700 | found >> 1 & 0o022  # who may read may write again

    def owner_of(self, node: Node) -> tuple[int, int] | None:
        """Numeric owner and group to set, None where owners are not restored.

        Raises:
            OSError: ESRCH; a user or group that this system does not have.
            FormatError: a number that is none.
        """
        key = node.user, node.group, node.uid, node.gid
        try:
            return self._known_owners[key]
        except KeyError:
            owner = (self.user_id(node.uid, node.user), self.group_id(node.gid, node.group)) if self._owners else None
            if len(self._known_owners) < 4096:
                self._known_owners[key] = owner
            return owner

    def user_id(self, uid: int, name: bytes) -> int:
        """The user's number here: the name decides, where there is one and names are restored."""
        return self._id(uid, name, self._identities.user_id(name) if name and self._names else uid, "user")

    def group_id(self, gid: int, name: bytes) -> int:
        """The group's number here, as with `user_id`."""
        return self._id(gid, name, self._identities.group_id(name) if name and self._names else gid, "group")

    def _id(self, stored: int, name: bytes, found: int | None, kind: str) -> int:
        if found is None and name.isdigit() and len(name) <= 10:
            found = int(name)  # what casync stores for a number without a name where it stores names only
        if found is None:
            shown = name.decode(errors="backslashreplace")
            raise OSError(errno.ESRCH, f"No {kind} {shown!r} on this system; --without=user-names takes numbers")
        if not 0 <= found < _ID_LIMIT:
            raise FormatError(f"Not the number of a {kind}: {stored}")
        return found

    def set_early(self, fd: int, node: Node) -> None:
        """What a new file or directory gets before anything is in it."""
        if self.chattr & EARLY:
            write_chattr(fd, node.flags, self.chattr & EARLY)
        if self.projids and node.projid:
            write_projid(fd, node.projid)

    def set_xattrs(self, fd: int, node: Node, fresh: bool) -> None:
        """Set extended attributes; remove those of `user.` and `trusted.` that the archive does not have."""
        if not self.xattrs:
            return
        if not fresh:
            wanted = {name for name, _ in node.xattrs}
            for found in _list_xattrs(fd):
                if found.startswith(_STORED_XATTRS) and os.fsencode(found) not in wanted:
                    os.removexattr(fd, found)
        for name, value in node.xattrs:
            if b"\0" in name:
                raise FormatError(f"Not the name of an extended attribute: {name[:64]!r}")
            os.setxattr(fd, name, value)

    def set_acl(self, inode: int | str, node: Node) -> None:
        """Set or remove the access ACL and a directory's default ACL; `inode` is a descriptor or /proc/self/fd path."""
        if self.acl:
            access, default = acl_to_xattrs(node.acl or _NO_ACL, node.mode, self.user_id, self.group_id)
            _set_or_remove(inode, ACCESS_XATTR, access)
            if stat.S_ISDIR(node.mode):
                _set_or_remove(inode, DEFAULT_XATTR, default)

    def set_security(self, inode: int | str, node: Node, follow_symlinks: bool = True) -> None:
        """Set file capabilities and SELinux label; where the archive has no label, the system's own stays."""
        if self.fcaps and node.fcaps is not None:
            os.setxattr(inode, b"security.capability", node.fcaps)
        if self.selinux and node.selinux is not None:
            # Labels are stored with their NUL (libselinux, setfilecon).
            os.setxattr(inode, b"security.selinux", node.selinux + b"\0", follow_symlinks=follow_symlinks)

    def set_flags(self, fd: int, node: Node, mask: int, volume: Volume) -> None:
        """Set the chattr flags among `mask` and FAT attributes."""
        if self.chattr & mask:
            write_chattr(fd, node.flags, self.chattr & mask)
        if self.fat:
            if volume.fat:
                write_fat(fd, node.flags, self.fat)
            elif node.flags & self.fat:
                raise OSError(
                    errno.EOPNOTSUPP, "The file system has no FAT attributes; --without=fat-attrs leaves them out"
                )

    def prove_flags(self, fd: int, node: Node, volume: Volume) -> None:
        """Fail now if setting the flags would fail once the file has its name.

        All flags are set, immutable and append-only too; these are cleared again, as such a file cannot be renamed.
        """
        self.set_flags(fd, node, CHATTR, volume)
        if node.flags & self.chattr & LOCKS:
            write_chattr(fd, 0, self.chattr & LOCKS)

    def set_time(self, fd: int, atime_ns: int, mtime_ns: int, volume: Volume) -> None:
        """Set the time of modification by descriptor, and read it back while the file system may lose some of it."""
        os.utime(fd, ns=(atime_ns, mtime_ns if mtime_ns < PLAIN_TIMES else signed_time(mtime_ns)))
        if mtime_ns % volume.time_unit or mtime_ns >= PLAIN_TIMES:
            self.check_time(os.fstat(fd).st_mtime_ns, mtime_ns, volume)

    def check_time(self, kept_ns: int, mtime_ns: int, volume: Volume) -> None:
        """Compare the time that a file system kept with what it was given.

        Raises:
            OSError: EOPNOTSUPP; it keeps times less exactly, or has no room for this one.
        """
        if kept_ns % _WRAP // self.granularity != mtime_ns // self.granularity:
            wanted = signed_time(mtime_ns)
            raise OSError(errno.EOPNOTSUPP, f"The file system keeps the time {wanted} ns as {kept_ns} ns")
        # A time that is no multiple of any coarser unit in use (100 ns, 10 ms, 2 s) shows that the unit is fine enough.
        if mtime_ns % min(100 * self.granularity, _COARSEST):
            volume.time_unit = 1
        elif mtime_ns % _COARSEST:
            volume.time_unit = min(volume.time_unit, 10**9)


def current_umask() -> int:
    """The process's umask, read without changing it; 0777 where /proc does not say."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o777


def volume_of(fd: int) -> Volume:
    """Look at the file system of `fd`."""
    return Volume(fs_magic(fd) in {FAT, FUSE})


def signed_time(mtime_ns: int) -> int:
    """The archive's unsigned time as what it stands for: times before 1970 are stored modulo 2^64."""
    return mtime_ns - _WRAP if mtime_ns >= _WRAP // 2 else mtime_ns


def has_default_acl(fd: int) -> bool:
    """Whether new entries of the directory `fd` get their permissions from a default ACL."""
    try:
        os.getxattr(fd, DEFAULT_XATTR)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return False
        raise
    return True


def _list_xattrs(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


def _set_or_remove(inode: int | str, name: bytes, value: bytes | None) -> None:
    if value is not None:
        os.setxattr(inode, name, value)
        return
    try:
        os.removexattr(inode, name)
    except OSError as error:
        if error.errno not in _NOTHING_THERE:
            raise
