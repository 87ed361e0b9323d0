"""How much of a block device its file system uses: casync packs no more than that (casync fssize.c)."""

from __future__ import annotations

import os
import struct

_EXT_SUPERBLOCK = 1024  # offset of an ext2/3/4 superblock
_ANDROID_HEADER = 608
_SQUASHFS_BLOCK = 4096  # casync rounds squashfs up to it
_FAT_BOOT_SECTOR = 512


def device_size(fd: int, whole: bool = False) -> int:
    """Bytes of a block device, or of the file system on it when that is recognised and smaller.

    Args:
        whole: the device's own size, whatever is on it.
    """
    size = os.lseek(fd, 0, os.SEEK_END)
    os.lseek(fd, 0, os.SEEK_SET)
    if whole:
        return size
    return min(size, file_system_size(os.pread(fd, 2 * _EXT_SUPERBLOCK, 0)) or size)


def file_system_size(head: bytes) -> int | None:
    """Size that a superblock in a device's first 2 KiB claims; None where no known one is there."""
    if len(head) < 2 * _EXT_SUPERBLOCK:
        return None
    if head.startswith(b"hsqs"):
        (used,) = struct.unpack_from("<Q", head, 40)
        return _round_up(used, _SQUASHFS_BLOCK)
    if head.startswith(b"ANDROID!"):
        return _android_size(head)
    (magic,) = struct.unpack_from("<H", head, _EXT_SUPERBLOCK + 56)
    if magic == 0xEF53:
        blocks, shift = struct.unpack_from("<I16xI", head, _EXT_SUPERBLOCK + 4)
        return blocks << (10 + shift) if shift <= 6 else None  # 6: blocks of 64 KiB, the largest that ext4 knows
    return _fat_size(head)


def _android_size(head: bytes) -> int | None:
    kernel, initrd, second, page, dtb = struct.unpack_from("<8xI4xI4xI8xII", head)
    if page.bit_count() != 1:
        return None
    return sum(_round_up(part, page) for part in (_ANDROID_HEADER, kernel, initrd, second, dtb))


def _fat_size(head: bytes) -> int | None:
    if head[510:512] != b"\x55\xaa" or (head[54:57] != b"FAT" and head[82:87] != b"FAT32"):
        return None
    sector, small = struct.unpack_from("<H6xH", head, 11)
    (large,) = struct.unpack_from("<I", head, 32)
    return (small or large) * sector if sector >= _FAT_BOOT_SECTOR else None


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
