"""The partial file: one fixed name, one run at a time, nothing of anybody else's."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import UsageError
from casync_py.sync.partial import PartialFile, partial_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_names_are_fixed_short_enough_and_different() -> None:
    assert partial_name(b"disk.img") == b".disk.img.partial"
    assert partial_name(b"n" * 246) == b"." + b"n" * 246 + b".partial"
    long = [b"n" * 247, b"n" * 254 + b"a", b"n" * 254 + b"b"]
    names = [partial_name(name) for name in long]
    assert names == [partial_name(name) for name in long]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) == 255


def opened(path: Path) -> PartialFile:
    file = PartialFile.open(str(path))
    assert file is not None
    return file


@pytest.mark.parametrize("name", ["out", "n" * 255, "caf\udce9"])
def test_it_takes_its_name_when_it_is_committed(tmp_path: Path, name: str) -> None:
    file = opened(tmp_path / name)
    os.write(file.fd, b"content")
    file.commit()
    assert file.abort() is False
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"content"
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_one_run_at_a_time(tmp_path: Path) -> None:
    first = opened(tmp_path / "out")
    with pytest.raises(OSError, match="Another run"):
        PartialFile.open(str(tmp_path / "out"))
    os.write(first.fd, b"x")
    assert first.abort()
    second = opened(tmp_path / "out")
    assert os.read(second.fd, 9) == b"x"
    os.ftruncate(second.fd, 0)
    assert second.abort() is False
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
@pytest.mark.parametrize("ending", ["commit", "abort"])
def test_a_run_that_ends_while_another_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, ending: str
) -> None:
    first = opened(tmp_path / "out")
    step = "open" if moment == "before it is opened" else "fstat"
    real = getattr(os, step)

    def end_first(*arguments: object, **options: object) -> object:
        creating = step == "open" and int(str(arguments[1])) & os.O_CREAT
        if not creating and first.fd >= 0:
            monkeypatch.setattr(os, step, real)
            first.commit() if ending == "commit" else first.abort()
        return real(*arguments, **options)

    monkeypatch.setattr(os, step, end_first)
    assert PartialFile.open(str(tmp_path / "out")) is None
    assert os.listdir(tmp_path) == (["out"] if ending == "commit" else [])


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_removed_meanwhile_takes_nobody_elses_place(tmp_path: Path, replaced: bool) -> None:
    first = opened(tmp_path / "out")
    os.write(first.fd, b"x")
    os.unlink(first.name)
    second = opened(tmp_path / "out") if replaced else None
    with pytest.raises(OSError, match="removed or replaced") as caught:
        first.commit()
    assert caught.value.filename == str(tmp_path / "out")
    first.abort()
    assert not (tmp_path / "out").exists()
    if second is not None:
        second.commit()
        assert (tmp_path / "out").exists()


def _link(path: Path) -> None:
    path.with_name("precious").write_bytes(b"precious")
    path.symlink_to("precious")


def _dangling(path: Path) -> None:
    path.symlink_to("absent")


def _hard_link(path: Path) -> None:
    path.with_name("precious").write_bytes(b"precious")
    path.hardlink_to(path.with_name("precious"))


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def _foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("Needs root")
    path.write_bytes(b"foreign")
    os.chown(path, 65534, 65534)


OBSTACLES = [_link, _dangling, _hard_link, os.mkfifo, os.mkdir, _socket, _foreign]


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle.__name__)
def test_what_no_earlier_run_left_is_refused_and_left_alone(tmp_path: Path, obstacle: Callable[[Path], None]) -> None:
    path = tmp_path / ".out.partial"
    obstacle(path)
    before = os.lstat(path)
    with pytest.raises(UsageError, match=r"\.out\.partial: In the way"):
        PartialFile.open(str(tmp_path / "out"))
    assert os.lstat(path) == before
    assert not (tmp_path / "absent").exists()
    if (tmp_path / "precious").exists():
        assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.root
def test_what_another_user_left_and_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".out.partial").write_bytes(b"root's")
    (tmp_path / ".out.partial").chmod(0o600)
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)  # those above it are closed to others
    os.seteuid(65534)
    try:
        with pytest.raises(UsageError, match=r"^\.out\.partial: In the way"):
            PartialFile.open("out")
    finally:
        os.seteuid(0)
