"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING

import pytest

from casync_py.files import NAME_MAX, AtomicFile, sync_directory, temporary_name, write_all

if TYPE_CHECKING:
    from pathlib import Path


def test_it_appears_with_commit(tmp_path: Path) -> None:
    target = tmp_path / "new"
    with AtomicFile(str(target)) as file:
        os.write(file.fd, b"content")
        (name,) = os.listdir(tmp_path)
        assert re.fullmatch(r"\.#new[0-9a-f]{16}", name)
        file.commit()
        assert target.read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.parametrize("fails", [False, True])
def test_without_commit_nothing_changes(tmp_path: Path, fails: bool) -> None:
    target = tmp_path / "old"
    target.write_bytes(b"old")

    def write() -> None:
        with AtomicFile(os.fsencode(target)) as file:
            os.write(file.fd, b"new")
            if fails:
                raise KeyError

    if fails:
        with pytest.raises(KeyError):
            write()
    else:
        write()
    assert os.listdir(tmp_path) == ["old"]
    assert target.read_bytes() == b"old"


def test_commit_replaces_and_abort_after_it_is_harmless(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old and longer")
    file = AtomicFile(str(target))
    os.write(file.fd, b"new")
    file.commit()
    file.abort()
    assert target.read_bytes() == b"new"
    other = AtomicFile(str(target))
    other.abort()
    other.abort()
    assert os.listdir(tmp_path) == ["file"]


def test_modes_are_subject_to_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        for name, mode in (("default", 0o666), ("narrow", 0o600)):
            with AtomicFile(str(tmp_path / name), mode) as file:
                file.commit()
    finally:
        os.umask(previous)
    assert (tmp_path / "default").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "narrow").stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_way_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("victim")
    with AtomicFile(str(tmp_path / "link")) as file:
        file.commit()
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"kept"


def test_the_error_names_what_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        AtomicFile(str(tmp_path / "absent/file"))
    assert caught.value.filename == str(tmp_path / "absent/file")


def test_a_directory_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with AtomicFile(str(tmp_path / "taken")) as file, pytest.raises(IsADirectoryError):
        file.commit()
    assert os.listdir(tmp_path) == ["taken"]


def test_a_name_without_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with AtomicFile("here") as file:
        file.commit()
    assert os.listdir(tmp_path) == ["here"]


@pytest.mark.parametrize("length", [1, NAME_MAX - 18, NAME_MAX])
def test_temporary_names_fit(tmp_path: Path, length: int) -> None:
    name = b"\xff" * length
    assert len(temporary_name(name)) == min(length + 18, NAME_MAX)
    assert temporary_name(name) != temporary_name(name)
    with AtomicFile(os.path.join(os.fsencode(tmp_path), name)) as file:
        file.commit()
    assert os.listdir(os.fsencode(tmp_path)) == [name]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_write_all_through_a_pipe_that_takes_little(kind: type) -> None:
    data = os.urandom(300_000)
    reader, writer = os.pipe()
    os.set_blocking(writer, True)
    received = bytearray()

    def drain() -> None:
        while piece := os.read(reader, 10_000):
            received.extend(piece)

    thread = threading.Thread(target=drain)
    thread.start()
    write_all(writer, kind(data))
    write_all(writer, kind(b""))
    os.close(writer)
    thread.join()
    os.close(reader)
    assert received == data


def test_sync_directory(tmp_path: Path) -> None:
    sync_directory(str(tmp_path))
    sync_directory(os.fsencode(tmp_path))
    with pytest.raises(FileNotFoundError):
        sync_directory(str(tmp_path / "absent"))
