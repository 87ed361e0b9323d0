"""The directory's layout, what counts as a chunk, ages, and errors of the local store."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from casync_py.compression import parse_compression
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.options import StoreOptions
from casync_py.store import local
from casync_py.store.castr import read_chunk_file
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.testing.castr import store_faults
from casync_py.testing.store_contract import absent, sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAIN = StoreOptions(compression=parse_compression("none"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.castr"


@pytest.fixture
def store(path: Path) -> Iterator[LocalStore]:
    with LocalStore(path, create=True) as store:
        yield store


def fill(store: LocalStore, *numbers: int) -> list[Chunk]:
    chunks = [sample(number) for number in numbers]
    for chunk in chunks:
        store.put(chunk)
    store.flush()
    return chunks


def file_of(path: Path, chunk: Chunk, suffix: str = ".cacnk") -> Path:
    return path / chunk.chunk_id.store_path(suffix)


def age(file: Path) -> None:
    os.utime(file, (1_000_000_000, 1_000_000_000))


def is_fresh(file: Path) -> bool:
    return abs(file.stat().st_mtime - time.time()) < 120


def test_layout_and_modes(path: Path) -> None:
    previous = os.umask(0o027)
    try:
        with LocalStore(path, create=True) as store:
            (chunk,) = fill(store, 1)
        with LocalStore(path, PLAIN) as store:
            (plain_chunk,) = fill(store, 2)
    finally:
        os.umask(previous)
    file = file_of(path, chunk)
    assert file.stat().st_mode == 0o100440
    assert file.parent.stat().st_mode == path.stat().st_mode == 0o040750
    assert file.read_bytes().startswith(b"\x28\xb5\x2f\xfd")
    assert file_of(path, plain_chunk, "").read_bytes() == plain_chunk.plain()
    assert store_faults(path) == []


def test_the_root_appears_with_the_first_chunk(path: Path) -> None:
    with LocalStore(path, create=True) as store:
        assert store.has_many([absent()]) == store.recognise([absent()]) == [False]
        assert list(store.iter_ids()) == []
        assert store.remove(absent()) == 0
        store.flush()
        with pytest.raises(ChunkMissing):
            store.get(absent())
        assert not path.exists()
        fill(store, 1)
    assert len(list(path.iterdir())) == 1


def test_the_root_is_made_one_level_only(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "a/b.castr", create=True) as store, pytest.raises(FileNotFoundError) as caught:
        store.put(sample(1))
    assert caught.value.filename == str(tmp_path / "a/b.castr")


def test_an_absent_store_is_an_error_unless_it_may_be_made(path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        LocalStore(path)
    assert caught.value.filename == str(path)


def test_a_file_is_no_store(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(NotADirectoryError) as caught:
        LocalStore(path, create=True)
    assert caught.value.filename == str(path)


def test_a_path_may_be_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.castr"
    with LocalStore(path, create=True) as store:
        fill(store, 1)
        assert os.fsencode(store.name) == path
    assert os.path.isdir(path)


def test_both_forms_are_read_and_the_compressed_one_is_preferred(store: LocalStore, path: Path) -> None:
    both, plain_only = fill(store, 1, 2)
    file_of(path, both, "").write_bytes(both.plain())
    file_of(path, plain_only).unlink()
    file_of(path, plain_only, "").write_bytes(plain_only.plain())
    assert store.get(both.chunk_id).stored(StoreOptions().compression) == file_of(path, both).read_bytes()
    assert store.get(plain_only.chunk_id).plain() == plain_only.plain()
    assert store.has_many([both.chunk_id, plain_only.chunk_id]) == [True, True]
    assert store.put(plain_only) is False


def test_iter_ids_passes_over_what_is_no_chunk(store: LocalStore, path: Path) -> None:
    (both,) = fill(store, 1)
    file_of(path, both, "").write_bytes(both.plain())
    folder = file_of(path, both).parent
    for name in (f"{both.chunk_id}.0123456789abcdef.tmp", f"{both.chunk_id}.xz", "0" * 64, "A" * 64, "x"):
        (folder / name).write_bytes(b"x")
    (path / "README").write_bytes(b"x")
    (path / "ABCD").mkdir()
    (path / "abc").write_bytes(b"x")
    (path / "0000").write_bytes(b"x")
    empty = path / absent().store_path()
    empty.parent.mkdir()
    empty.write_bytes(b"")
    assert list(store.iter_ids()) == [both.chunk_id]


def test_an_empty_file_counts_as_absent_and_is_replaced(store: LocalStore, path: Path) -> None:
    (chunk,) = fill(store, 1)
    file = file_of(path, chunk)
    file.unlink()
    file.write_bytes(b"")
    assert store.has_many([chunk.chunk_id]) == store.recognise([chunk.chunk_id]) == [False]
    with pytest.raises(ChunkMissing):
        store.get(chunk.chunk_id)
    assert store.put(chunk) is True
    store.flush()
    assert store.get(chunk.chunk_id).plain() == chunk.plain()


def test_an_empty_compressed_file_does_not_hide_the_plain_one(store: LocalStore, path: Path) -> None:
    (chunk,) = fill(store, 1)
    file_of(path, chunk).unlink()
    file_of(path, chunk).write_bytes(b"")
    file_of(path, chunk, "").write_bytes(chunk.plain())
    assert store.has_many([chunk.chunk_id]) == [True]
    assert store.get(chunk.chunk_id).plain() == chunk.plain()


@pytest.mark.parametrize("how", ["put", "recognise"])
def test_a_known_chunk_gets_a_fresh_mtime(store: LocalStore, path: Path, how: str) -> None:
    known, other = fill(store, 1, 2)
    files = [file_of(path, chunk) for chunk in (known, other)]
    for file in files:
        age(file)
    assert store.has_many([known.chunk_id]) == [True]
    assert not is_fresh(files[0])
    if how == "put":
        assert store.put(known) is False
    else:
        assert store.recognise([known.chunk_id]) == [True]
    assert [is_fresh(file) for file in files] == [True, False]


@pytest.mark.root
def test_a_chunk_of_another_user_that_cannot_be_refreshed_is_put_again(path: Path) -> None:
    with LocalStore(path, create=True) as store:
        (chunk,) = fill(store, 1)
    file = file_of(path, chunk)
    age(file)
    file.parent.chmod(0o777)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            path_fd = os.open(path, os.O_RDONLY)
            os.setuid(65534)
            with LocalStore(f"/proc/self/fd/{path_fd}") as store:
                ok = store.recognise([chunk.chunk_id]) == [False] and store.put(chunk)
                store.flush()
                status = 0 if ok else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert is_fresh(file)
    assert file.stat().st_uid == 65534
    assert store_faults(path) == []


def test_put_keeps_the_stored_form_it_gets(store: LocalStore, path: Path) -> None:
    chunk = sample(1)
    stream = b"\x1f\x8b whatever"
    store.put(Chunk(chunk.chunk_id, plain=chunk.plain(), stored=stream))
    store.flush()
    assert file_of(path, chunk).read_bytes() == stream


def test_an_empty_chunk_cannot_be_put(path: Path) -> None:
    with LocalStore(path, PLAIN, create=True) as store, pytest.raises(ValueError, match="is empty"):
        store.put(Chunk(absent(), plain=b""))


def test_nothing_has_its_final_name_before_the_flush(store: LocalStore, path: Path) -> None:
    chunk = sample(1)
    store.put(chunk)
    (name,) = [file.name for file in path.glob("*/*")]
    assert name.startswith(f"{chunk.chunk_id}.")
    assert name.endswith(".tmp")
    assert list(store.iter_ids()) == []
    store.flush()
    assert [file.name for file in path.glob("*/*")] == [f"{chunk.chunk_id}.cacnk"]


def test_what_gets_its_final_name_while_it_is_looked_for_is_found(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another thread, just after its final name was looked at."""
    read = read_chunk_file

    def read_and_flush(*arguments: Any) -> bytes | None:
        data = read(*arguments)
        store.flush()
        return data

    store.put(sample(1))
    monkeypatch.setattr(local, "read_chunk_file", read_and_flush)
    assert store.get(sample(1).chunk_id).plain() == sample(1).plain()


def test_close_removes_what_was_not_flushed(path: Path) -> None:
    with LocalStore(path, create=True) as store:
        fill(store, 1)
        store.put(sample(2))
    assert [file.name for file in path.glob("*/*")] == [f"{sample(1).chunk_id}.cacnk"]
    with pytest.raises(ValueError, match="is closed"):
        store.get(absent())


def test_remove_frees_both_forms_and_the_empty_directory(store: LocalStore, path: Path) -> None:
    (chunk,) = fill(store, 1)
    file_of(path, chunk, "").write_bytes(b"12345")
    size = file_of(path, chunk).stat().st_size
    assert store.remove(chunk.chunk_id) == size + 5
    assert list(path.iterdir()) == []


def test_a_form_larger_than_allowed_is_refused_before_it_is_read(store: LocalStore, path: Path) -> None:
    (chunk,) = fill(store, 1)
    with file_of(path, chunk, "").open("wb") as file:
        file.truncate(1 << 40)
    file_of(path, chunk).unlink()
    with pytest.raises(ChunkInvalid, match="1099511627776 bytes") as caught:
        store.get(chunk.chunk_id)
    assert caught.value.where == str(file_of(path, chunk, ""))
    os.truncate(file_of(path, chunk, ""), 100_000)
    with pytest.raises(ChunkInvalid, match="100000 bytes"):
        store.get(chunk.chunk_id, 65536)
    assert len(store.get(chunk.chunk_id).plain()) == 100_000


def test_has_many_and_get_name_what_they_cannot_reach(store: LocalStore, path: Path) -> None:
    (chunk,) = fill(store, 1)
    shutil.rmtree(file_of(path, chunk).parent)
    file_of(path, chunk).parent.write_bytes(b"")
    for operation in (store.get, lambda chunk_id: store.has_many([chunk_id]), store.remove):
        with pytest.raises(NotADirectoryError) as caught:
            operation(chunk.chunk_id)
        assert caught.value.filename == str(file_of(path, chunk))
    with pytest.raises(NotADirectoryError) as caught:
        store.put(chunk)
    assert caught.value.filename == str(file_of(path, chunk))


def test_a_short_write_leaves_nothing(store: LocalStore, path: Path) -> None:
    fill(store, 1)
    chunk = sample(2, 300_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            store.put(chunk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename.startswith(str(path / str(chunk.chunk_id)[:4] / str(chunk.chunk_id)))
    assert store.has_many([chunk.chunk_id]) == [False]
    assert [file.name for file in path.glob("*/*")] == [f"{sample(1).chunk_id}.cacnk"]
    assert store.put(chunk) is True
    store.flush()
    assert store_faults(path) == []


@pytest.mark.root
def test_a_full_disk_leaves_whole_chunks_only(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    script = (
        "import sys\n"
        "from casync_py.store.local import LocalStore\n"
        "from casync_py.testing.castr import store_faults\n"
        "from casync_py.testing.store_contract import sample\n"
        "import os\n"
        "path = sys.argv[1]\n"
        "store = LocalStore(path, create=True)\n"
        "put = 0\n"
        "try:\n"
        "    while True:\n"
        "        store.put(sample(put, 40_000))\n"
        "        put += 1\n"
        "except OSError as error:\n"
        "    print(error.errno, error.filename.startswith(path))\n"
        "temporaries = sum(name.endswith('.tmp') for _, _, names in os.walk(path) for name in names)\n"
        "store.flush()\n"
        "print(temporaries == put, len(list(store.iter_ids())) == put, put > 3, store_faults(path))\n"
    )
    shell = 'mount -t tmpfs -o size=256k none "$1" && exec "$2" -c "$3" "$1/s.castr"'
    command = ["unshare", "--mount", "sh", "-c", shell, "sh", str(mount), sys.executable, script]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode and "denied" in ran.stderr:
        pytest.skip("Mounting is not allowed here")
    assert ran.stdout.splitlines() == [f"{errno.ENOSPC} True", "True True True []"], ran.stderr
