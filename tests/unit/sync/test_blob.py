"""Files as blobs to read and as targets to write."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import SourceChanged, UsageError
from casync_py.sync import blob
from casync_py.sync.blob import FileBlob, FileTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_read_at_random_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(range(200)))
    with FileBlob(str(path)) as source:
        assert source.read_at(100, 10) == bytes(range(100, 110))
        assert source.read_at(195, 10) == bytes(range(195, 200))
        assert source.read_at(300, 10) == b""
        buffer = bytearray(120)
        assert source.read_into(memoryview(buffer)) == 120
        assert source.read_into(memoryview(buffer)) == 80
        assert buffer[:80] == bytes(range(120, 200))


@pytest.mark.parametrize("change", ["shrink", "grow", "rewrite"])
def test_a_change_while_reading_is_an_error(tmp_path: Path, change: str) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(1000))
    os.utime(path, ns=(1, 1))
    with FileBlob(str(path)) as source:
        view = memoryview(bytearray(1000))
        source.read_into(view[:500])
        if change == "shrink":
            os.truncate(path, 500)
        elif change == "grow":
            with path.open("ab") as file:
                file.write(b"x")
        else:
            path.write_bytes(bytes(1000))
        with pytest.raises(SourceChanged, match="blob"):
            source.read_into(view[:500])


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
    assert os.listdir(tmp_path) == [".out.partial"]
    target.commit()
    assert target.abort() is None
    assert path.stat().st_size == 10_000_000
    assert path.stat().st_blocks * 512 < 1_000_000
    assert os.listdir(tmp_path) == ["out"]


def test_an_aborted_file_with_nothing_in_it_goes(tmp_path: Path) -> None:
    target = FileTarget(str(tmp_path / "out"), 100)
    assert target.abort() is None
    assert os.listdir(tmp_path) == []


def test_an_aborted_file_stays_for_the_next_run(tmp_path: Path) -> None:
    target = FileTarget(str(tmp_path / "out"), 100)
    target.write_at(0, b"x" * 60)
    assert target.abort() == str(tmp_path / ".out.partial")
    again = FileTarget(str(tmp_path / "out"), 100)
    assert again.present == 60
    assert again.read_at(10, 90) == b"x" * 50
    again.keep(50)
    assert again.read_at(10, 90) == b"x" * 40
    again.write_at(50, b"y" * 50)
    again.commit()
    assert (tmp_path / "out").read_bytes() == b"x" * 50 + b"y" * 50
    assert os.listdir(tmp_path) == ["out"]


def test_zeros_replace_what_an_earlier_run_left_and_are_holes_behind_it(tmp_path: Path) -> None:
    size = 1 << 20
    target = FileTarget(str(tmp_path / "out"), 3 * size)
    target.write_at(0, b"x" * 2 * size)
    target.abort()
    target = FileTarget(str(tmp_path / "out"), 3 * size)
    target.write_at(0, bytes(2 * size))
    target.write_at(2 * size, bytes(size))
    target.commit()
    assert (tmp_path / "out").read_bytes() == bytes(3 * size)
    target = FileTarget(str(tmp_path / "new"), 3 * size)
    target.write_at(0, b"x" * 2 * size)
    target.abort()
    target = FileTarget(str(tmp_path / "new"), 3 * size)
    target.keep(size)
    target.write_at(size, bytes(2 * size))
    target.commit()
    assert (tmp_path / "new").read_bytes() == b"x" * size + bytes(2 * size)
    assert (tmp_path / "new").stat().st_blocks * 512 <= size + 65536


def test_a_shorter_file_gets_holes_behind_its_end_only(tmp_path: Path) -> None:
    size = 1 << 20
    (tmp_path / "out").write_bytes(b"x" * size)
    target = FileTarget(str(tmp_path / "out"), 3 * size)
    target.write_at(0, bytes(size))
    target.write_at(size, bytes(2 * size))
    target.commit()
    assert (tmp_path / "out").read_bytes() == bytes(3 * size)
    assert (tmp_path / "out").stat().st_blocks * 512 <= size + 65536


@pytest.mark.parametrize("exists", [True, False])
def test_two_runs_at_once_are_refused_by_name(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "out"
    if exists:
        path.write_bytes(b"old")
    target = FileTarget(str(path), 4)
    with pytest.raises(OSError, match="Another run is extracting to it") as caught:
        FileTarget(str(path), 4)
    assert caught.value.filename == str(path)
    target.write_at(0, b"data")
    target.commit()
    FileTarget(str(path), 4).abort()
    assert path.read_bytes() == b"data"


def test_in_place_keeps_the_inode_and_loses_a_longer_tail(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"y" * 20_000)
    inode = path.stat().st_ino
    target = FileTarget(str(path), 10_000)
    assert target.present == 10_000
    target.keep(5000)
    assert path.stat().st_size == 20_000
    target.write_at(0, bytes(10_000))
    target.commit()
    assert path.read_bytes() == bytes(10_000)
    assert path.stat().st_ino == inode


def test_targets_that_cannot_hold_a_blob(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        FileTarget(str(tmp_path), 1)
    with pytest.raises(UsageError, match="Neither"):
        FileTarget("/dev/null", 1)
    with pytest.raises(FileNotFoundError) as caught:
        FileTarget(str(tmp_path / "absent/out"), 1)
    assert caught.value.filename == str(tmp_path / "absent/out")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    """A block device of 1 MiB, all zeros."""
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    done = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"Cannot make a block device: {done.stderr.strip()}")
    yield done.stdout.strip()
    subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


@pytest.mark.root
def test_a_device_is_written_in_place(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob, "_DEVICE_PATIENCE_S", 0.1)
    with pytest.raises(OSError, match="1048576 bytes, the blob 1048577"):
        FileTarget(device, (1 << 20) + 1)
    target = FileTarget(device, 500_000)
    assert target.present == 500_000
    with pytest.raises(OSError, match="Another run"):
        FileTarget(device, 500_000)
    target.write_at(0, b"x" * 500_000)
    target.commit()
    with open(device, "rb") as written:
        assert written.read(500_001) == b"x" * 500_000 + b"\0"
