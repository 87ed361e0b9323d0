from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.delete import NotRemoved, remove_others, remove_tree
from casync_py.archive.inode_flags import read_chattr, write_chattr
from casync_py.format.flags import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMMUTABLE, APPEND = int(Feature.FLAG_IMMUTABLE), int(Feature.FLAG_APPEND)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def build(top: Path) -> None:
    (top / "keep" / "inner").mkdir(parents=True)
    (top / "keep" / "file").touch()
    (top / "gone" / "a" / "b").mkdir(parents=True)
    (top / "gone" / "a" / "c").mkdir()
    (top / "gone" / "a" / "f").touch()
    (top / "gone" / "out").symlink_to("../keep")
    (top / "link").symlink_to("keep")
    (top / "stale.#leftover").touch()


def names(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


def test_all_but_what_is_kept_goes_and_links_are_not_followed(tmp_path: Path) -> None:
    build(tmp_path)
    with opened(tmp_path) as fd:
        assert remove_others(fd, {b"keep"}) == 8
        assert remove_others(fd, {b"keep"}) == 0
    assert names(tmp_path) == {"keep", "keep/inner", "keep/file"}


def test_a_file_and_an_absent_name(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with opened(tmp_path) as fd:
        assert remove_tree(fd, b"f") == 1
        with pytest.raises(NotRemoved) as caught:
            remove_tree(fd, b"f")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "f")


def test_no_depth_is_too_much(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with opened(tmp_path) as top:
        fd = os.dup(top)
        for _ in range(2000):
            os.mkdir(b"deeper", dir_fd=fd)
            os.close(os.open(b"file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            child = os.open(b"deeper", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = child
        os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        try:
            assert remove_tree(top, b"deeper") == 1999 + 2000
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert names(tmp_path) == {"file"}


def lock(path: Path, flag: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        write_chattr(fd, flag, flag)
        if read_chattr(fd) & flag != flag:
            pytest.skip("No chattr flags on this file system")
    except OSError:
        pytest.skip("No chattr flags on this file system")
    finally:
        os.close(fd)


@pytest.mark.root
@pytest.mark.parametrize("locked", ["gone/a/f", "gone/a/b", "gone/a", "gone", "stale.#leftover"])
@pytest.mark.parametrize("flag", [IMMUTABLE, APPEND])
def test_locked_nodes_stay_unless_they_may_be_unlocked(tmp_path: Path, locked: str, flag: int) -> None:
    build(tmp_path)
    lock(tmp_path / locked, flag)
    try:
        with opened(tmp_path) as fd:
            with pytest.raises(NotRemoved) as caught:
                remove_others(fd, {b"keep"})
            assert caught.value.errno == errno.EPERM
            assert caught.value.filename.startswith(locked)
    finally:
        with opened(tmp_path) as fd:
            remove_others(fd, {b"keep"}, undo_immutable=True)
    assert names(tmp_path) == {"keep", "keep/inner", "keep/file"}


@pytest.mark.root
def test_a_directory_that_its_owner_may_not_read_goes_too(open_tmp_path: Path) -> None:
    tmp_path = open_tmp_path
    build(tmp_path)
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    (tmp_path / "gone" / "a").chmod(0)
    (tmp_path / "gone").chmod(0o555)
    with opened(tmp_path) as fd:
        os.seteuid(65534)
        try:
            remove_others(fd, {b"keep"})
        finally:
            os.seteuid(0)
    assert names(tmp_path) == {"keep", "keep/inner", "keep/file"}
