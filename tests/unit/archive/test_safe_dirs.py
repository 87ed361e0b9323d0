from __future__ import annotations

import ctypes
import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.safe_dirs import Chain, Level, check_name, exchange, open_directory
from casync_py.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", [b"a", b"...", b".a", b"a..", b" ", b"\n", b"\xff", b"x" * 255])
def test_names(name: bytes) -> None:
    check_name(name)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"/", b"a/", b"/a", b"a/b", b"a\0", b"\0", b"x" * 256])
def test_names_that_are_none(name: bytes) -> None:
    with pytest.raises(FormatError, match="Not a file name"):
        check_name(name)


def test_only_directories_are_opened(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("d")
    (tmp_path / "f").touch()
    with opened(tmp_path) as top:
        os.close(open_directory(top, b"d")[0])
        for name in (b"l", b"f"):
            with pytest.raises(OSError, match=r"Not a directory|symbolic links") as caught:
                open_directory(top, name)
            assert caught.value.errno in {errno.ENOTDIR, errno.ELOOP}


def kinds(top: Path) -> dict[str, str]:
    return {p.name: "link" if p.is_symlink() else "directory" if p.is_dir() else "file" for p in top.iterdir()}


@pytest.mark.parametrize("capable", [True, False])
def test_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capable: bool) -> None:
    if not capable:
        # What a C library older than renameat2 is: only the fallback remains.
        monkeypatch.setattr(ctypes, "CDLL", lambda *_arguments, **_options: object())
    (tmp_path / "d" / "below").mkdir(parents=True)
    (tmp_path / "f").touch()
    with opened(tmp_path) as top:
        exchange(top, b"f", b"d")
        assert kinds(tmp_path) == {"d": "file", "f": "directory"}
        exchange(top, b"f", b"d")
        assert kinds(tmp_path) == {"f": "file", "d": "directory"}
        with pytest.raises(FileNotFoundError):
            exchange(top, b"f", b"absent")
    assert kinds(tmp_path) == {"f": "file", "d": "directory"}


def level(fd: int) -> Level:
    return Level(fd, os.fstat(fd))


def test_a_chain_keeps_few_open_and_finds_its_way_back(tmp_path: Path) -> None:
    chain: Chain[Level] = Chain()
    fd = os.open(tmp_path, os.O_RDONLY)
    chain.push(level(fd))
    for _ in range(200):
        os.mkdir(b"d", dir_fd=fd)
        fd, _ = open_directory(fd, b"d")
        chain.push(level(fd))
    assert 0 < sum(one.fd >= 0 for one in chain.levels) <= 64
    expected = [one.identity for one in chain.levels]
    while len(chain.levels) > 1:
        parent = chain.open_parent()
        status = os.fstat(parent.fd)
        os.close(chain.pop().fd)
        expected.pop()
        assert (status.st_dev, status.st_ino) == expected[-1]
    chain.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(parent.fd)
