"""Scans across mounts and of file systems with properties of their own, beside casync."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.archive import inode_flags
from casync_py.archive.nodes import Entry
from casync_py.archive.scan import scan
from casync_py.format.flags import Feature
from casync_py.testing.archives import casync_archive, features_of, scanned_archive
from casync_py.testing.trees import build_reference_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from casync_py.archive.nodes import Node

pytestmark = [pytest.mark.root, pytest.mark.peer("casync")]


def nodes(tree: Path | str, options: str = "") -> dict[bytes, Node]:
    return {item.path: item.node for item in scan(os.fsencode(tree), features_of(options)) if isinstance(item, Entry)}


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A tree with other file systems in it: directories, and single nodes bound over others."""
    tree, aside = tmp_path / "tree", tmp_path / "aside"
    for directory in (tree / "proc", tree / "tmpfs", tree / "bound", tree / "plain", aside):
        directory.mkdir(parents=True)
    for path in (tree / "version", tree / "file", tree / "plain/file", aside / "file"):
        path.write_bytes(b"content of a file")
    for path in (tree / "fifo", aside / "fifo"):
        os.mkfifo(path)
    mounts: list[tuple[str | Path, ...]] = [
        ("--bind", "/proc/sys", tree / "proc"),
        ("-t", "tmpfs", "none", tree / "tmpfs"),
        ("--bind", tree / "plain", tree / "bound"),
        ("--bind", "/proc/version", tree / "version"),
        ("--bind", aside / "file", tree / "file"),
        ("--bind", aside / "fifo", tree / "fifo"),
    ]
    done = []
    try:
        for arguments in mounts:
            if subprocess.run(["mount", *arguments], capture_output=True).returncode != 0:
                pytest.skip("Mounting is not permitted here")
            done.append(arguments[-1])
        (tree / "tmpfs/file").write_bytes(b"elsewhere")
        yield tree
    finally:
        for target in reversed(done):
            subprocess.run(["umount", target], check=True)


@pytest.mark.parametrize("options", ["", "--exclude-submounts=yes", "--without=chattr --without=xattrs"])
def test_mounts(mounted: Path, options: str) -> None:
    assert scanned_archive(mounted, options) == casync_archive(mounted, options)
    found = nodes(mounted, options)
    if "submounts" in options:  # nodes that are not opened are not asked for their mount
        assert set(found) == {b"", b"plain", b"plain/file", b"fifo"}
    else:
        assert {b"proc", b"tmpfs/file", b"bound/file", b"version", b"file"} <= set(found)
        assert not any(path.startswith(b"proc/") for path in found)
        assert found[b"version"].size == 0


def test_a_kernel_file_system_alone() -> None:
    assert scanned_archive("/proc/sys") == casync_archive("/proc/sys")
    assert set(nodes("/proc/sys")) == {b""}


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A fresh file system of the kind that the test asks for; the programs are rarely there, so this skips a lot."""
    program, size_mib = request.param
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    with open(image, "wb") as file:
        file.truncate(size_mib << 20)
    subprocess.run([program, "-q", "-f", image], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True).returncode != 0:
        pytest.skip("Mounting a loop device is not permitted here, or the kernel lacks the file system")
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


XFS = ("mkfs.xfs", 320)
BTRFS = ("mkfs.btrfs", 128)


@pytest.mark.parametrize("disk", [XFS], indirect=True)
def test_project_ids(disk: Path) -> None:
    ids = {b"none": 0, b"small": 7, b"large": 2**32 - 2, b"directory": 9}
    for name, projid in ids.items():
        path = disk / os.fsdecode(name)
        path.mkdir() if name == b"directory" else path.touch()
        fd = os.open(path, os.O_RDONLY)
        inode_flags.write_projid(fd, projid)
        if name == b"directory":
            inode_flags.write_chattr(fd, Feature.FLAG_PROJINHERIT, Feature.FLAG_PROJINHERIT)
        os.close(fd)
    (disk / "directory/inherits").touch()
    assert scanned_archive(disk) == casync_archive(disk)
    found = nodes(disk)
    assert {path: node.projid for path, node in found.items() if path} == {**ids, b"directory/inherits": 9}
    assert found[b"directory"].flags == Feature.FLAG_PROJINHERIT
    assert scanned_archive(disk, "--without=quota-projid") == casync_archive(disk, "--without=quota-projid")


@pytest.mark.parametrize("disk", [BTRFS], indirect=True)
def test_subvolumes(disk: Path) -> None:
    top = os.open(disk, os.O_RDONLY)
    for name in (b"writable", b"read-only"):
        inode_flags.create_subvolume(top, name)
    os.close(top)
    (disk / "writable/file").write_bytes(b"below")
    (disk / "plain").mkdir()
    fd = os.open(disk / "read-only", os.O_RDONLY)
    inode_flags.set_subvolume_read_only(fd)
    os.close(fd)
    for options in ("", "--without=subvolume-ro", "--exclude-submounts=yes", "--without=subvolume"):
        assert scanned_archive(disk, options) == casync_archive(disk, options)
    found = nodes(disk)
    assert found[b""].flags == found[b"writable"].flags == Feature.SUBVOLUME
    assert found[b"read-only"].flags == Feature.SUBVOLUME | Feature.SUBVOLUME_RO
    assert found[b"plain"].flags == found[b"writable/file"].flags == 0


@pytest.mark.parametrize("disk", [XFS, BTRFS], indirect=True)
def test_reference_tree(disk: Path) -> None:
    build_reference_tree(disk / "tree", excludes=True, unremovable=True)
    assert scanned_archive(disk) == casync_archive(disk)
