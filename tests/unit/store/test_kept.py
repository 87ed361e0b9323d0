"""Chunks that are only kept: who may remove them, and who makes them his own."""

from __future__ import annotations

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import parse_compression
from casync_py.options import StoreOptions
from casync_py.store.kept import drop, is_kept, make_own
from casync_py.store.local import LocalStore
from casync_py.testing.castr import store_faults
from casync_py.testing.store_contract import PrunableStoreContract, sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.ids import ChunkId
    from casync_py.store.base import WritableStore

NEVER = 1 << 62
CHUNK = sample(1)


class TestKeptStore(PrunableStoreContract):
    def build_empty(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "kept", create=True, kept=True)

    def reopen(self, store: WritableStore, tmp_path: Path) -> LocalStore:
        store.close()
        return LocalStore(tmp_path / "kept", kept=True)


def put(folder: Path, *, kept: bool, compression: str = "zstd") -> None:
    with LocalStore(folder, StoreOptions(parse_compression(compression)), create=True, kept=kept) as store:
        store.put(sample(1))
        store.flush()


def path_of(chunk_id: ChunkId, suffix: str = ".cacnk") -> str:
    return f"{chunk_id.hex()[:4]}/{chunk_id.hex()}{suffix}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store.castr"


@pytest.fixture
def root(folder: Path) -> Iterator[int]:
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def mode(folder: Path, suffix: str = ".cacnk") -> int:
    return stat.S_IMODE((folder / path_of(CHUNK.chunk_id, suffix)).lstat().st_mode)


def test_what_is_kept_is_marked_and_can_be_dropped(folder: Path, root: int) -> None:
    put(folder, kept=True)
    path = path_of(CHUNK.chunk_id)
    status = os.stat(path, dir_fd=root)
    assert is_kept(status)
    assert drop(root, path, status.st_mtime_ns - 1) == 0
    assert drop(root, path, status.st_mtime_ns) == status.st_size
    assert drop(root, path, NEVER) == 0
    assert not (folder / path).exists()


def test_what_is_not_marked_is_never_dropped(folder: Path, root: int) -> None:
    put(folder, kept=False)
    assert mode(folder) == 0o444
    assert drop(root, path_of(CHUNK.chunk_id), NEVER) == 0
    assert store_faults(folder) == []


@pytest.mark.parametrize("form", ["zstd", "none"])
def test_a_writer_makes_it_his_own_by_recognising_it(folder: Path, root: int, form: str) -> None:
    put(folder, kept=True, compression=form)
    suffix = "" if form == "none" else ".cacnk"
    assert mode(folder, suffix) == 0o1444
    with LocalStore(folder, kept=True) as cache:
        assert cache.recognise([CHUNK.chunk_id]) == [True]
        assert cache.put(sample(1)) is False
    assert mode(folder, suffix) == 0o1444
    with LocalStore(folder) as store:
        assert store.has_many([CHUNK.chunk_id]) == [True]
        assert mode(folder, suffix) == 0o1444
        assert store.recognise([CHUNK.chunk_id]) == [True]
        assert store.put(sample(1)) is False
    assert mode(folder, suffix) == 0o444
    assert drop(root, path_of(CHUNK.chunk_id, suffix), NEVER) == 0


def test_what_is_gone_or_no_file_cannot_be_made_own(folder: Path, root: int) -> None:
    assert make_own(root, path_of(CHUNK.chunk_id)) is False
    (folder / "abcd").symlink_to("/etc/passwd")
    assert make_own(root, "abcd") is False


def test_one_that_is_dropped_under_a_writer_is_not_relied_on(folder: Path, root: int) -> None:
    """The writer has opened the file, and waits for the lock that the remover holds."""
    put(folder, kept=True)
    path = folder / path_of(CHUNK.chunk_id)
    with ThreadPoolExecutor(1) as pool, LocalStore(folder) as store:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            there = pool.submit(store.recognise, [CHUNK.chunk_id])
            while not somebody_waits(file.fileno()):
                assert not there.done()
            path.unlink()
        assert there.result() == [False]
        assert store.put(sample(1)) is True
        store.flush()
    assert mode(folder) == 0o444


def somebody_waits(fd: int) -> bool:
    """Whether somebody waits for a lock on the file, as the kernel's list of locks has it."""
    inode = f":{os.fstat(fd).st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_who_comes_first_wins(folder: Path, root: int) -> None:
    with ThreadPoolExecutor(1) as pool:
        for _ in range(30):
            put(folder, kept=True)
            dropped = pool.submit(drop, root, path_of(CHUNK.chunk_id), NEVER)
            with LocalStore(folder) as store:
                there = store.recognise([CHUNK.chunk_id])[0]
            assert there is not bool(dropped.result())
            assert (folder / path_of(CHUNK.chunk_id)).exists() is there
            if there:
                (folder / path_of(CHUNK.chunk_id)).unlink()


@pytest.mark.parametrize("empty", [False, True])
def test_keeping_does_not_replace_what_another_put_meanwhile(folder: Path, empty: bool) -> None:
    with LocalStore(folder, create=True, kept=True) as cache:
        assert cache.put(sample(1)) is True  # under a temporary name so far
        put(folder, kept=False)
        if empty:
            (folder / path_of(CHUNK.chunk_id)).unlink()
            (folder / path_of(CHUNK.chunk_id)).touch()
        cache.flush()
    assert mode(folder) == (0o1444 if empty else 0o444)
    assert store_faults(folder) == []
    assert len(list(folder.glob("*/*"))) == 1


def test_without_links_what_is_kept_gets_its_name_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_args: object, **_named: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    put(folder, kept=True)
    assert store_faults(folder) == []
    assert len(list(folder.glob("*/*"))) == 1


def test_a_put_replaces_what_was_kept_meanwhile(folder: Path) -> None:
    with LocalStore(folder, create=True) as store:
        store.put(sample(1))
        put(folder, kept=True)
        store.flush()
    assert mode(folder) == 0o444
