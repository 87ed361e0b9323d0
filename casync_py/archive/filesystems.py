"""Which file system a descriptor lies on, as far as an archive depends on it. Source: Linux uapi/linux/magic.h."""

from __future__ import annotations

import ctypes
import os
from typing import Final

BTRFS: Final = 0x9123683E
EXT4: Final = 0xEF53  # ext2 and ext3 too
XFS: Final = 0x58465342
FUSE: Final = 0x65735546
FAT: Final = 0x4D44

# What the kernel makes up as one looks: casync stores no content of these (spec 1.5).
KERNEL_API: Final = frozenset(
    {
        0x42494E4D,  # binfmt_misc
        0x27E0EB,  # cgroup
        0x63677270,  # cgroup2
        0x62656570,  # configfs
        0x64626720,  # debugfs
        0x1CD1,  # devpts
        0xDE5E81E4,  # efivarfs
        0x65735543,  # fusectl
        0x958458F6,  # hugetlbfs
        0x19800202,  # mqueue
        0x6E667364,  # nfsd
        0x9FA0,  # proc
        0x6165676C,  # pstore
        0x67596969,  # rpc_pipefs
        0x73636673,  # securityfs
        0xF97CFF8C,  # selinuxfs
        0x43415D53,  # smackfs
        0x62656572,  # sysfs
    }
)

_libc = ctypes.CDLL(None, use_errno=True)
_STATFS_SIZE = 256  # 120 bytes on 64-bit processors, less elsewhere; f_type comes first everywhere


def fs_magic(fd: int) -> int:
    """The magic number of the file system that the descriptor `fd` (O_PATH is enough) lies on.

    Raises:
        OSError: fstatfs failed.
    """
    buffer = (ctypes.c_ulong * (_STATFS_SIZE // ctypes.sizeof(ctypes.c_ulong)))()
    if _libc.fstatfs(fd, buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer[0] & 0xFFFFFFFF
