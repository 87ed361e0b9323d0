"""One inode of a file system to the `Node` that an archive with given feature flags has for it.

Source: spec 1.3, 1.5, and experiments with casync for what they leave open.
"""

from __future__ import annotations

import errno
import os
from stat import S_IFDIR, S_IFLNK
from typing import TYPE_CHECKING, Final

from casync_py.archive.acl import ACCESS_XATTR, DEFAULT_XATTR, acl_from_xattrs
from casync_py.archive.filesystems import BTRFS, EXT4, FAT, FUSE, KERNEL_API, XFS, fs_magic
from casync_py.archive.identity import Identities, StoredOwners
from casync_py.archive.inode_flags import chattr_features, read_chattr, read_fat, read_projid, read_subvolume
from casync_py.archive.nodes import Node
from casync_py.format.flags import ANY_SUBVOLUME, CHATTR, FAT_ATTRS, Feature, granularity_ns

if TYPE_CHECKING:
    from collections.abc import Collection

    from casync_py.archive.nodes import Acl
    from casync_py.archive.payload import Status

TYPE_MASK: Final = 0o170000
_U64 = 0xFFFFFFFFFFFFFFFF
_NOT_THERE = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS})

_ACCESS, _DEFAULT = os.fsdecode(ACCESS_XATTR), os.fsdecode(DEFAULT_XATTR)
_SELINUX = "security.selinux"
_FCAPS = "security.capability"
_PLAIN = ("user.", "trusted.")  # the namespaces that hold nothing but what somebody put there

_new = tuple.__new__  # a NamedTuple's own constructor takes twice as long


class Device:
    """What the file system with one device number means for its files.

    Attributes:
        api: made up by the kernel; casync stores no content of it.
        fat, projid, subvolumes: such things are asked for on it; `special`: any of them is.
    """

    __slots__ = ("api", "fat", "projid", "special", "subvolumes")

    def __init__(self, magic: int, features: int) -> None:
        self.api = magic in KERNEL_API
        self.fat = bool(features & FAT_ATTRS) and magic in (FAT, FUSE)
        self.projid = bool(features & Feature.QUOTA_PROJID) and magic in (EXT4, XFS, FUSE)
        self.subvolumes = bool(features & ANY_SUBVOLUME) and magic == BTRFS
        self.special = self.fat or self.projid or self.subvolumes


class NodeReader:
    """Reads nodes under one set of normalised feature flags. OSErrors come without a path: the caller knows it."""

    def __init__(self, features: int, identities: Identities) -> None:
        self._features = features
        self._owner = StoredOwners(features, identities)
        self._ids = self._owner.owner
        self._nodump = int(Feature.FLAG_NODUMP) if features & Feature.EXCLUDE_NODUMP else 0
        self.wants_flags = bool(features & (CHATTR | Feature.EXCLUDE_NODUMP))
        self._plain_xattrs = bool(features & Feature.XATTRS)
        self._acl = bool(features & Feature.ACL)
        self._selinux = bool(features & Feature.SELINUX)
        self._fcaps = bool(features & Feature.FCAPS)
        self.wants_xattrs = self._plain_xattrs or self._acl or self._selinux or self._fcaps
        self._granularity = granularity_ns(features)
        self._permissions = bool(features & (Feature.PERMISSIONS | Feature.ACL))
        self._read_only = bool(features & Feature.READ_ONLY)
        self.devices: dict[int, Device] = {}

    def device(self, fd: int, number: int) -> Device:
        """What is known of the device `number` (st_dev), on which the open `fd` lies."""
        device = self.devices.get(number)
        if device is None:
            device = self.devices[number] = Device(fs_magic(fd), self._features)
        return device

    def opened(self, fd: int, st: os.stat_result, size: int, device: Device, keep: bool = False) -> Node | None:
        """The node of an open directory; None if it is left out (nodump), which `keep` prevents."""
        flags = read_chattr(fd) if self.wants_flags else 0
        if flags & self._nodump and not keep:
            return None
        names = self._names(fd) if self.wants_xattrs else ()
        return self._decorated(fd, st, size, device, flags, names)

    def file(self, fd: int, st: Status, size: int, device: Device, raw_flags: int, has_xattrs: int) -> Node | None:
        """The node of a regular file that `open_and_examine` opened; None if it is left out (nodump)."""
        flags = chattr_features(raw_flags) if raw_flags else 0
        if flags & self._nodump:
            return None
        if has_xattrs or device.special:
            return self._decorated(fd, st, size, device, flags, self._names(fd) if has_xattrs else ())
        mode, _, _, _, owner, owning_group, _, mtime, _ = st
        uid, gid, user, group = self._ids(owner, owning_group)
        return _new(
            Node,
            (
                mode if self._permissions else self._mode(mode),
                flags & self._features,
                uid,
                gid,
                mtime if self._granularity == 1 and 0 <= mtime <= _U64 else self._mtime(mtime),
                user,
                group,
                (),
                None,
                None,
                None,
                0,
                b"",
                (0, 0),
                size,
            ),
        )

    def _decorated(
        self, fd: int, st: os.stat_result | Status, size: int, device: Device, flags: int, names: Collection[str]
    ) -> Node:
        directory = st.st_mode & TYPE_MASK == S_IFDIR
        if device.fat:
            flags |= read_fat(fd)
        if device.subvolumes and directory:
            flags |= read_subvolume(fd)
        plain = self._node(st, flags & self._features)
        projid = read_projid(fd) if device.projid else 0
        if not names:
            return plain._replace(projid=projid, size=size) if projid or size else plain
        xattrs: tuple[tuple[bytes, bytes], ...] = ()
        if self._plain_xattrs:
            xattrs = tuple(
                sorted(
                    (os.fsencode(name), value)
                    for name in names
                    if name.startswith(_PLAIN) and name not in _PLAIN and (value := _value(fd, name)) is not None
                )
            )
        return plain._replace(
            xattrs=xattrs,
            acl=self._read_acl(fd, names, directory),
            selinux=self._read_selinux(fd, names),
            fcaps=_value(fd, _FCAPS) if self._fcaps and not directory and _FCAPS in names else None,
            projid=projid,
            size=size,
        )

    def unopened(self, dir_fd: int, name: bytes, st: os.stat_result) -> Node:
        """The node of a symlink, device, fifo or socket, which is never opened."""
        node = self._node(st, 0)
        link = st.st_mode & TYPE_MASK == S_IFLNK
        if link:
            node = node._replace(target=os.readlink(name, dir_fd=dir_fd))
        elif st.st_rdev:
            node = node._replace(rdev=(os.major(st.st_rdev), os.minor(st.st_rdev)))
        if self._selinux or (self._acl and not link):
            path = b"/proc/self/fd/%d/%s" % (dir_fd, name)  # there is no lgetxattrat() before Linux 6.13
            names = self._names(path)
            if names:
                acl = None if link else self._read_acl(path, names, False)
                node = node._replace(acl=acl, selinux=self._read_selinux(path, names))
        return node

    def _names(self, at: int | bytes) -> list[str]:
        try:
            return os.listxattr(at) if isinstance(at, int) else os.listxattr(at, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return []
            raise

    def _read_acl(self, at: int | bytes, names: Collection[str], directory: bool) -> Acl | None:
        if not self._acl:
            return None
        access = _value(at, _ACCESS) if _ACCESS in names else None
        default = _value(at, _DEFAULT) if directory and _DEFAULT in names else None
        if access is None and default is None:
            return None
        return acl_from_xattrs(access, default, self._owner.user, self._owner.group)

    def _read_selinux(self, at: int | bytes, names: Collection[str]) -> bytes | None:
        if not self._selinux or _SELINUX not in names:
            return None
        label = _value(at, _SELINUX)
        return label.partition(b"\0")[0] or None if label else None

    def _node(self, st: os.stat_result | Status, flags: int) -> Node:
        uid, gid, user, group = self._ids(st.st_uid, st.st_gid)
        return Node(self._mode(st.st_mode), flags, uid, gid, self._mtime(st.st_mtime_ns), user, group)

    def _mode(self, mode: int) -> int:
        kind = mode & TYPE_MASK
        if kind == S_IFLNK:
            return kind | 0o777
        if self._permissions:
            return mode
        if self._read_only and not mode & 0o222:
            return kind | (0o555 if kind == S_IFDIR else 0o444)
        return kind | (0o777 if kind == S_IFDIR else 0o666)

    def _mtime(self, mtime_ns: int) -> int:
        if not self._granularity:
            return 0
        wrapped = mtime_ns & _U64
        return wrapped - wrapped % self._granularity


def _value(at: int | bytes, name: str) -> bytes | None:
    """An xattr's value; None if it went away meanwhile."""
    try:
        return os.getxattr(at, name) if isinstance(at, int) else os.getxattr(at, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
