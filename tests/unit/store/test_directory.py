"""The store's directory: the lock that gc respects, and directories that go away."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING

import pytest

from casync_py.store.directory import StoreDirectory
from casync_py.store.local import LocalStore
from casync_py.testing.store_contract import absent, sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "s.castr"
    path.mkdir()
    return path


@pytest.fixture
def other(path: Path) -> Iterator[int]:
    """A descriptor of the store's directory as gc would have it."""
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


def can_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def test_readers_take_no_lock(path: Path, other: int) -> None:
    with LocalStore(path) as store:
        store.has_many([absent()])
        assert can_lock(other)


@pytest.mark.parametrize("how", ["put", "recognise"])
def test_a_writer_keeps_gc_out_until_it_is_closed(path: Path, other: int, how: str) -> None:
    with LocalStore(path) as store:
        if how == "put":
            store.put(sample(1))
        else:
            store.recognise([absent()])
        assert not can_lock(other)
        store.flush()
        assert not can_lock(other)
    assert can_lock(other)


def test_writers_share_the_lock(path: Path) -> None:
    with LocalStore(path) as one, LocalStore(path) as two:
        assert one.put(sample(1))
        assert two.put(sample(2))
        one.flush()
        two.flush()
        assert one.has_many([sample(2).chunk_id]) == [True]


def test_release_lets_gc_in_and_flushes(path: Path, other: int) -> None:
    with LocalStore(path) as store:
        store.put(sample(1))
        store.release()
        assert can_lock(other)
        assert list(store.iter_ids()) == [sample(1).chunk_id]
        store.put(sample(2))
        assert not can_lock(other)


def test_a_writer_waits_for_gc(path: Path, other: int) -> None:
    fcntl.flock(other, fcntl.LOCK_EX)
    done = threading.Event()
    with LocalStore(path) as store:

        def write() -> None:
            store.put(sample(1))
            done.set()

        thread = threading.Thread(target=write)
        thread.start()
        assert not done.wait(0.05)
        assert list(path.iterdir()) == []
        fcntl.flock(other, fcntl.LOCK_UN)
        thread.join()
        assert done.is_set()


def test_a_store_removed_before_writing_is_an_error(path: Path) -> None:
    with LocalStore(path) as store:
        path.rmdir()
        with pytest.raises(OSError, match="removed while it was in use") as caught:
            store.put(sample(1))
        assert caught.value.filename == str(path)


def test_a_store_replaced_while_writing_is_an_error(path: Path, tmp_path: Path) -> None:
    with LocalStore(path) as store:
        store.put(sample(1))
        path.rename(tmp_path / "old.castr")
        path.mkdir()
        with pytest.raises(OSError, match="replaced by another directory") as caught:
            store.flush()
        assert caught.value.errno == errno.ESTALE
    assert list(path.iterdir()) == []


def test_reading_goes_on_in_the_directory_that_was_opened(path: Path, tmp_path: Path) -> None:
    with LocalStore(path) as store:
        store.put(sample(1))
        store.flush()
        path.rename(tmp_path / "moved.castr")
        assert store.has_many([sample(1).chunk_id]) == [True]


def test_a_directory_that_appears_later_is_found(tmp_path: Path) -> None:
    directory = StoreDirectory(str(tmp_path / "late"), create=True)
    assert directory.open() is None
    (tmp_path / "late").mkdir()
    assert directory.open() is not None
    directory.close()
    directory.close()
    with pytest.raises(ValueError, match="is closed"):
        directory.open_to_write()


def test_two_writers_may_make_the_directory_at_once(tmp_path: Path) -> None:
    stores = [LocalStore(tmp_path / "new.castr", create=True) for _ in range(2)]
    for number, store in enumerate(stores):
        assert store.put(sample(number))
    for store in stores:
        store.flush()
        store.close()
    with LocalStore(tmp_path / "new.castr") as store:
        assert len(list(store.iter_ids())) == 2
