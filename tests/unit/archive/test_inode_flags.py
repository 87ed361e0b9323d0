"""chattr flags, FAT attributes, project ids and subvolumes, on whatever file system tmp_path and /dev/shm lie."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from casync_py.archive import inode_flags
from casync_py.archive.filesystems import EXT4, KERNEL_API, fs_magic
from casync_py.format.flags import CHATTR, FAT_ATTRS, Feature

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def on_ext4(fd: int) -> None:
    if fs_magic(fd) != EXT4:
        pytest.skip("needs tmp_path on ext4")


@pytest.mark.skipif(os.uname().machine not in {"x86_64", "aarch64"}, reason="numbers of these processors")
def test_ioctl_numbers_are_those_of_the_headers() -> None:
    assert inode_flags._GETFLAGS == 0x80086601
    assert inode_flags._SETFLAGS == 0x40086602
    assert inode_flags._FSGETXATTR == 0x801C581F
    assert inode_flags._FSSETXATTR == 0x401C5820
    assert inode_flags._FAT_GET == 0x80047210
    assert inode_flags._FAT_SET == 0x40047211
    assert inode_flags._SUBVOLUME_CREATE == 0x5000940E
    assert inode_flags._SUBVOLUME_GETFLAGS == 0x80089419
    assert inode_flags._SUBVOLUME_SETFLAGS == 0x4008941A


def test_every_chattr_feature_has_one_bit() -> None:
    assert inode_flags.chattr_features(0xFFFFFFFF) == CHATTR
    assert sorted(inode_flags._CHATTR.values()) == [1 << bit for bit in range(16, 26)]


@pytest.mark.parametrize(
    ("letter", "feature"), [("d", Feature.FLAG_NODUMP), ("A", Feature.FLAG_NOATIME), ("S", Feature.FLAG_SYNC)]
)
def test_reads_what_chattr_set(tmp_path: Path, fd: int, letter: str, feature: Feature) -> None:
    on_ext4(fd)
    assert inode_flags.read_chattr(fd) == 0
    subprocess.run(["chattr", "+" + letter, tmp_path / "file"], check=True)
    assert inode_flags.read_chattr(fd) == feature


def test_writes_only_the_masked_flags(tmp_path: Path, fd: int) -> None:
    on_ext4(fd)
    inode_flags.write_chattr(fd, Feature.FLAG_NODUMP | Feature.FLAG_NOATIME, CHATTR)
    inode_flags.write_chattr(fd, Feature.FLAG_SYNC, Feature.FLAG_SYNC | Feature.FLAG_NODUMP)
    assert inode_flags.read_chattr(fd) == Feature.FLAG_NOATIME | Feature.FLAG_SYNC
    shown = subprocess.run(["lsattr", tmp_path / "file"], check=True, capture_output=True, text=True).stdout
    assert {"S", "A"} <= set(shown.split()[0])


def test_what_a_file_system_lacks_reads_as_nothing_and_cannot_be_set(fd: int) -> None:
    assert inode_flags.read_fat(fd) == 0
    assert not inode_flags.is_subvolume(fd)
    assert inode_flags.read_subvolume(fd) == 0
    inode_flags.write_fat(fd, 0, FAT_ATTRS)
    with pytest.raises(OSError, match="not supported"):
        inode_flags.write_fat(fd, Feature.FLAG_HIDDEN, FAT_ATTRS)


def test_no_flags_on_proc() -> None:
    fd = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert inode_flags.read_chattr(fd) == 0
        assert inode_flags.read_projid(fd) == 0
        inode_flags.write_chattr(fd, 0, CHATTR)
        inode_flags.write_projid(fd, 0)
        with pytest.raises(OSError, match="not supported"):
            inode_flags.write_chattr(fd, Feature.FLAG_NODUMP, CHATTR)
        with pytest.raises(OSError, match="not supported"):
            inode_flags.write_projid(fd, 1)
        assert fs_magic(fd) in KERNEL_API
    finally:
        os.close(fd)


def test_projid_absent_is_zero(fd: int) -> None:
    assert inode_flags.read_projid(fd) == 0
    inode_flags.write_projid(fd, 0)


def test_subvolume_only_on_btrfs(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match=r"."):
            inode_flags.create_subvolume(fd, b"sub")
        assert not (tmp_path / "sub").exists()
    finally:
        os.close(fd)


def test_fs_magic_of_a_bad_descriptor() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        fs_magic(sys.maxsize & 0xFFFF)
