"""What an inode carries beyond stat and xattrs, by ioctl: chattr flags, FAT attributes, project id, btrfs subvolumes.

All take descriptors and feature bits (format/flags). What a file system does not know reads as nothing set, and
writing nothing to it is no error; writing something is. Sources: Linux include/uapi/linux/fs.h, msdos_fs.h, btrfs.h;
the mapping to feature bits: casync caformat-util.c.
"""

from __future__ import annotations

import errno
import os
import struct
from fcntl import ioctl
from functools import lru_cache

from casync_py.archive.filesystems import BTRFS, fs_magic
from casync_py.format.flags import Feature
from casync_py.native.ioctl import ioctl_number

_LONG = struct.calcsize("l")  # declared with a long, read and written as 32 bits
_GETFLAGS = ioctl_number(False, "f", 1, _LONG)
_SETFLAGS = ioctl_number(True, "f", 2, _LONG)
_FSGETXATTR = ioctl_number(False, "X", 31, 28)
_FSSETXATTR = ioctl_number(True, "X", 32, 28)
_FAT_GET = ioctl_number(False, "r", 0x10, 4)
_FAT_SET = ioctl_number(True, "r", 0x11, 4)
_SUBVOLUME_CREATE = ioctl_number(True, "\x94", 14, 4096)
_SUBVOLUME_GETFLAGS = ioctl_number(False, "\x94", 25, 8)
_SUBVOLUME_SETFLAGS = ioctl_number(True, "\x94", 26, 8)

_NONE_SET = bytes(8)
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_FSXATTR = struct.Struct("=IIIII8s")  # xflags, extsize, nextents, projid, cowextsize, padding
_VOLUME_ARGS = struct.Struct("=q4088s")  # fd (unused here), name with its NUL
_SUBVOLUME_READ_ONLY = 1 << 1
_SUBVOLUME_INODE = 256  # BTRFS_FIRST_FREE_OBJECTID: the top directory of each subvolume

_CHATTR = {
    0x20: int(Feature.FLAG_APPEND),
    0x80: int(Feature.FLAG_NOATIME),
    0x4: int(Feature.FLAG_COMPR),
    0x800000: int(Feature.FLAG_NOCOW),
    0x40: int(Feature.FLAG_NODUMP),
    0x10000: int(Feature.FLAG_DIRSYNC),
    0x10: int(Feature.FLAG_IMMUTABLE),
    0x8: int(Feature.FLAG_SYNC),
    0x400: int(Feature.FLAG_NOCOMP),
    0x20000000: int(Feature.FLAG_PROJINHERIT),
}
_FAT = {2: int(Feature.FLAG_HIDDEN), 4: int(Feature.FLAG_SYSTEM), 0x20: int(Feature.FLAG_ARCHIVE)}

# What an ioctl says that a file system does not have.
_UNSUPPORTED = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


def _translate(value: int, table: dict[int, int]) -> int:
    return sum(feature for bit, feature in table.items() if value & bit)


def _translate_back(features: int, table: dict[int, int]) -> int:
    return sum(bit for bit, feature in table.items() if features & feature)


def _read_u32(fd: int, request: int) -> int | None:
    try:
        return int(_U32.unpack_from(ioctl(fd, request, _NONE_SET))[0])
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise


def read_chattr(fd: int) -> int:
    """The FLAG_* feature bits that chattr sets. A scan asks for each file, so this is short."""
    try:
        answer = ioctl(fd, _GETFLAGS, _NONE_SET)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return 0
        raise
    return 0 if answer == _NONE_SET else chattr_features(_U32.unpack_from(answer)[0])


@lru_cache(maxsize=1024)
def chattr_features(flags: int) -> int:
    """The FLAG_* feature bits of what FS_IOC_GETFLAGS answered."""
    return _translate(flags, _CHATTR)


def write_chattr(fd: int, feature_bits: int, mask: int) -> None:
    """Make the chattr flags among `mask` what `feature_bits` says and leave the others.

    Raises:
        OSError: the file system does not have or refuses a flag that is to be changed.
    """
    _write_masked(fd, (_GETFLAGS, _SETFLAGS), _CHATTR, feature_bits, mask)


def read_fat(fd: int) -> int:
    """The feature bits of the FAT attributes hidden, system and archive."""
    return _translate(_read_u32(fd, _FAT_GET) or 0, _FAT)


def write_fat(fd: int, feature_bits: int, mask: int) -> None:
    """Make the FAT attributes among `mask` what `feature_bits` says and leave the others.

    Raises:
        OSError: the file system does not have or refuses an attribute that is to be changed.
    """
    _write_masked(fd, (_FAT_GET, _FAT_SET), _FAT, feature_bits, mask)


def _write_masked(fd: int, requests: tuple[int, int], table: dict[int, int], feature_bits: int, mask: int) -> None:
    get, set_ = requests
    wanted = _translate_back(feature_bits & mask, table)
    old = _read_u32(fd, get)
    if old is None:
        if wanted:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return
    new = old & ~_translate_back(mask, table) | wanted
    if new != old:
        ioctl(fd, set_, _U32.pack(new) + bytes(4))


def read_projid(fd: int) -> int:
    """The project id that quotas count for, 0 for none."""
    fields = _read_fsxattr(fd)
    return fields[3] if fields else 0


def write_projid(fd: int, projid: int) -> None:
    """Set the project id.

    Raises:
        OSError: the file system does not have project ids (and `projid` is not 0) or refuses this one.
    """
    fields = _read_fsxattr(fd)
    if fields is None:
        if projid:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return
    if fields[3] != projid:
        ioctl(fd, _FSSETXATTR, _FSXATTR.pack(*fields[:3], projid, *fields[4:]))


def _read_fsxattr(fd: int) -> tuple[int, int, int, int, int, bytes] | None:
    try:
        value = ioctl(fd, _FSGETXATTR, bytes(_FSXATTR.size))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    xflags, extsize, nextents, projid, cowextsize, padding = _FSXATTR.unpack(value)
    return xflags, extsize, nextents, projid, cowextsize, padding


def read_subvolume(fd: int) -> int:
    """SUBVOLUME, with SUBVOLUME_RO where it is read-only, if the directory `fd` is the top of one; else 0."""
    if not is_subvolume(fd):
        return 0
    (flags,) = _U64.unpack(ioctl(fd, _SUBVOLUME_GETFLAGS, bytes(8)))
    return int(Feature.SUBVOLUME | (Feature.SUBVOLUME_RO if flags & _SUBVOLUME_READ_ONLY else 0))


def is_subvolume(fd: int) -> bool:
    """Whether the directory `fd` is the top of a btrfs subvolume."""
    return os.fstat(fd).st_ino == _SUBVOLUME_INODE and fs_magic(fd) == BTRFS


def create_subvolume(dir_fd: int, name: bytes) -> None:
    """Create the btrfs subvolume `name` in the directory `dir_fd`.

    Raises:
        OSError: exists, or not on btrfs.
    """
    arguments = bytearray(_VOLUME_ARGS.pack(0, name))  # ioctl takes more than 1024 bytes only as a mutable buffer
    ioctl(dir_fd, _SUBVOLUME_CREATE, arguments)


def set_subvolume_read_only(fd: int) -> None:
    """Make the btrfs subvolume whose top is `fd` read-only.

    Raises:
        OSError: no subvolume, or not permitted.
    """
    (flags,) = _U64.unpack(ioctl(fd, _SUBVOLUME_GETFLAGS, bytes(8)))
    ioctl(fd, _SUBVOLUME_SETFLAGS, _U64.pack(flags | _SUBVOLUME_READ_ONLY))
