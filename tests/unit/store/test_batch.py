"""Durability: what is synced before what is renamed, in which batches, and what a failed sync means."""

from __future__ import annotations

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from casync_py import native
from casync_py.store import batch, castr, local
from casync_py.store.local import LocalStore
from casync_py.testing.store_contract import sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class SyncSpy:
    """Records at each syncfs how many files have temporary and how many have final names, and lets it happen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[tuple[int, int]] = []
        self.fail = False
        self._syncfs = native.syncfs

    def __call__(self, fd: int) -> None:
        names = [file.name for file in self.path.glob("*/*")]
        temporary = sum(name.endswith(".tmp") for name in names)
        self.seen.append((temporary, len(names) - temporary))
        if self.fail:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._syncfs(fd)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore(tmp_path / "s.castr", create=True) as store:
        yield store


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SyncSpy:
    spy = SyncSpy(tmp_path / "s.castr")
    monkeypatch.setattr(native, "syncfs", spy)
    return spy


def put(store: LocalStore, *numbers: int) -> None:
    for number in numbers:
        store.put(sample(number, 100))


def test_content_is_synced_before_the_renames_and_those_after(store: LocalStore, spy: SyncSpy) -> None:
    put(store, 1, 2, 3)
    assert spy.seen == []
    store.flush()
    assert spy.seen == [(3, 0), (0, 3)]


def test_a_flush_without_work_does_not_sync(store: LocalStore, spy: SyncSpy) -> None:
    store.flush()
    put(store, 1)
    store.flush()
    spy.seen.clear()
    store.flush()
    assert spy.seen == []


@pytest.mark.parametrize("how", ["put", "recognise"])
def test_chunks_recognised_as_there_are_synced_too(store: LocalStore, spy: SyncSpy, how: str) -> None:
    put(store, 1)
    store.flush()
    spy.seen.clear()
    if how == "put":
        put(store, 1)
    else:
        store.recognise([sample(1, 100).chunk_id])
    store.flush()
    assert spy.seen == [(0, 1)]


def test_what_is_recognised_during_a_flush_is_synced_by_the_next(
    store: LocalStore, spy: SyncSpy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer may have put it after that flush had synced what there was."""
    chunk = sample(1)
    store.put(chunk)
    store.flush()
    lstat = os.lstat

    def flush_first(*arguments: Any, **named: Any) -> os.stat_result:
        monkeypatch.setattr(os, "lstat", lstat)
        store.flush()
        return lstat(*arguments, **named)

    monkeypatch.setattr(os, "lstat", flush_first)
    assert store.recognise([chunk.chunk_id]) == [True]
    before = len(spy.seen)
    store.flush()
    assert len(spy.seen) == before + 1


def test_batches_are_bounded_by_number(store: LocalStore, spy: SyncSpy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_CHUNKS", 4)
    put(store, *range(10))
    assert spy.seen == [(4, 0), (4, 4)]
    store.flush()
    assert spy.seen == [(4, 0), (4, 4), (2, 8), (0, 10)]


def test_batches_are_bounded_by_size(store: LocalStore, spy: SyncSpy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_SIZE", 50_000)
    for number in range(4):
        store.put(sample(number, 60_000))
    assert [temporary for temporary, _ in spy.seen] == [2, 2]


def test_batches_are_bounded_by_age(store: LocalStore, spy: SyncSpy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_AGE_S", 0.05)
    put(store, 1, 2)
    time.sleep(0.06)
    put(store, 3, 4)
    assert spy.seen == [(3, 0)]


def test_a_removed_chunk_no_longer_counts(store: LocalStore, spy: SyncSpy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_SIZE", 50_000)
    for number in range(4):
        store.put(sample(number, 60_000))
        store.remove(sample(number, 60_000).chunk_id)
    assert spy.seen == []


def test_of_two_that_write_the_same_chunk_at_once_one_gives_way(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_wrote = threading.Barrier(2, timeout=60)

    def write(*arguments: Any) -> None:
        castr.write_chunk_file(*arguments)
        both_wrote.wait()

    monkeypatch.setattr(local, "write_chunk_file", write)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda _: store.put(sample(1)), range(2))) == [False, True]
    store.flush()
    assert [file.name for file in (tmp_path / "s.castr").glob("*/*")] == [f"{sample(1).chunk_id}.cacnk"]


def test_threads_do_not_commit_small_batches(store: LocalStore, spy: SyncSpy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_CHUNKS", 50)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: put(store, number), range(400)))
    assert all(temporary >= 50 for temporary, _ in spy.seen)
    assert len(spy.seen) <= 8
    store.flush()
    assert sorted(store.iter_ids()) == sorted(sample(number, 100).chunk_id for number in range(400))


def test_after_a_failed_sync_nothing_is_called_durable(store: LocalStore, spy: SyncSpy, tmp_path: Path) -> None:
    put(store, 1)
    spy.fail = True
    with pytest.raises(OSError, match="Input/output error") as caught:
        store.flush()
    assert caught.value.filename == str(tmp_path / "s.castr")
    assert list(store.iter_ids()) == []
    spy.fail = False  # as the kernel does: it reports a lost write once
    put(store, 2)
    with pytest.raises(OSError, match="Input/output error"):
        store.flush()
    store.close()
    assert list((tmp_path / "s.castr").glob("*/*")) == []


def test_a_rename_that_fails_names_the_chunk(store: LocalStore, tmp_path: Path) -> None:
    chunk = sample(1)
    store.put(chunk)
    final = tmp_path / "s.castr" / chunk.chunk_id.store_path(".cacnk")
    (final / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory") as caught:
        store.flush()
    assert str(chunk.chunk_id) in caught.value.filename
    assert caught.value.filename.startswith(str(tmp_path))
