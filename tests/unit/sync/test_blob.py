"""Files as blobs to read and as targets to write."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import SourceChanged, UsageError
from casync_py.sync.blob import FileBlob, FileTarget

if TYPE_CHECKING:
    from pathlib import Path


def test_read_at_random_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(range(200)))
    with FileBlob(str(path)) as blob:
        assert blob.read_at(100, 10) == bytes(range(100, 110))
        assert blob.read_at(195, 10) == bytes(range(195, 200))
        assert blob.read_at(300, 10) == b""
        buffer = bytearray(120)
        assert blob.read_into(memoryview(buffer)) == 120
        assert blob.read_into(memoryview(buffer)) == 80
        assert buffer[:80] == bytes(range(120, 200))


@pytest.mark.parametrize("change", ["shrink", "grow", "rewrite"])
def test_a_change_while_reading_is_an_error(tmp_path: Path, change: str) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(1000))
    os.utime(path, ns=(1, 1))
    with FileBlob(str(path)) as blob:
        view = memoryview(bytearray(1000))
        blob.read_into(view[:500])
        if change == "shrink":
            os.truncate(path, 500)
        elif change == "grow":
            with path.open("ab") as file:
                file.write(b"x")
        else:
            path.write_bytes(bytes(1000))
        with pytest.raises(SourceChanged, match="blob"):
            blob.read_into(view[:500])


def test_only_files_and_devices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Neither"):
        FileBlob(str(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="Neither"):
        FileBlob(str(tmp_path / "fifo"))


def test_a_new_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out"
    target = FileTarget(str(path), 10_000_000)
    target.write_at(5_000_000, b"x" * 100)
    assert not path.exists()
    target.commit()
    target.abort()
    assert path.stat().st_size == 10_000_000
    assert path.stat().st_blocks * 512 < 1_000_000
    assert os.listdir(tmp_path) == ["out"]


def test_an_aborted_file_leaves_nothing(tmp_path: Path) -> None:
    target = FileTarget(str(tmp_path / "out"), 100)
    target.write_at(0, b"x" * 100)
    target.abort()
    assert os.listdir(tmp_path) == []


def test_in_place_keeps_the_inode_and_loses_a_longer_tail(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"y" * 20_000)
    inode = path.stat().st_ino
    target = FileTarget(str(path), 10_000)
    target.write_at(0, bytes(10_000))
    target.commit()
    assert path.read_bytes() == bytes(10_000)
    assert path.stat().st_ino == inode


def test_targets_that_cannot_hold_a_blob(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        FileTarget(str(tmp_path), 1)
    with pytest.raises(UsageError, match="Neither"):
        FileTarget("/dev/null", 1)
