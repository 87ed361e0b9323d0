from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.inode_flags import write_chattr
from casync_py.format.flags import Feature
from casync_py.testing.compare import tree_differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def build(top: Path) -> Path:
    (top / "d" / "e").mkdir(parents=True)
    (top / "d" / "f").write_bytes(b"content")
    (top / "link").symlink_to("nowhere")
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(top / "sock"))
    for path in (top / "d" / "f", top / "link", top / "pipe", top / "sock", top / "d" / "e", top / "d", top):
        os.utime(path, ns=(1, 1_000_000_001), follow_symlinks=False)
    return top


def utime(path: Path) -> None:
    os.utime(path, ns=(1, 1_000_000_001), follow_symlinks=False)


def test_equal_trees_do_not_differ(tmp_path: Path) -> None:
    assert tree_differences(build(tmp_path / "a"), build(tmp_path / "b")) == []


def nodump(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        write_chattr(fd, int(Feature.FLAG_NODUMP), int(Feature.FLAG_NODUMP))
    except OSError:
        pytest.skip("No chattr flags on this file system")
    finally:
        os.close(fd)


def new_target(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def new_type(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"")


CHANGES: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("d/f", lambda p: p.write_bytes(b"conTent"), ["d/f: content: differs from offset 3"]),
    ("d/f", lambda p: p.write_bytes(b"content!"), ["d/f: content: differs from offset 7"]),
    ("d/f", lambda p: p.chmod(0o4711), ["d/f: mode: 0644 != 4711"]),
    ("d/e", lambda p: p.chmod(0o700), ["d/e: mode: 0755 != 0700"]),
    ("d/f", lambda p: os.utime(p, ns=(1, 1_000_000_002)), ["d/f: mtime: 1000000001 != 1000000002"]),
    (".", lambda p: os.utime(p, ns=(1, 5)), [".: mtime: 1000000001 != 5"]),
    ("link", new_target, ["link: target: b'nowhere' != b'elsewhere'"]),
    ("pipe", new_type, ["pipe: type: fifo != file"]),
    ("d/f", lambda p: os.setxattr(p, "user.x", b"1"), ["d/f: xattrs: {} != {'user.x': '31'}"]),
    ("d/f", nodump, ["d/f: flags: [] != ['flag-nodump']"]),
    ("d/e", lambda p: (p / "more").touch(), ["d/e/more: only in B"]),
    ("sock", lambda p: p.unlink(), ["sock: only in A"]),
]


@pytest.mark.parametrize(("name", "change", "expected"), CHANGES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CHANGES)])
def test_one_change_is_one_line(
    tmp_path: Path, name: str, change: Callable[[Path], object], expected: list[str]
) -> None:
    a, b = build(tmp_path / "a"), build(tmp_path / "b")
    change(b / name)
    if not expected[0].split(": ")[1].startswith("mtime"):
        for path in (b / name, (b / name).parent):
            if path.exists() or path.is_symlink():
                utime(path)
    texts = [
        line.replace(f"only in {a}", "only in A").replace(f"only in {b}", "only in B")
        for line in tree_differences(a, b)
    ]
    assert texts == expected


@pytest.mark.root
def test_owners_and_devices_are_compared(tmp_path: Path) -> None:
    for name, minor in (("a", 3), ("b", 5)):
        build(tmp_path / name)
        os.mknod(tmp_path / name / "null", 0o20600, os.makedev(1, minor))
        utime(tmp_path / name / "null")
        utime(tmp_path / name)
    os.chown(tmp_path / "b" / "link", 7, 8, follow_symlinks=False)
    assert tree_differences(tmp_path / "a", tmp_path / "b") == [
        "link: gid: 0 != 8",
        "link: uid: 0 != 7",
        "null: rdev: (1, 3) != (1, 5)",
    ]
    assert tree_differences(tmp_path / "a", tmp_path / "b", ignore=("uid", "gid", "rdev")) == []
