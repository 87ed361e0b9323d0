"""Damaged and hostile files in a local store: what is said about each, and that other stores and chunks still serve."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import COMPRESSORS, parse_compression
from casync_py.digest import SHA512_256
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.ids import ChunkId
from casync_py.options import StoreOptions
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.store.memory import MemoryStore
from casync_py.store.router import RouterStore
from casync_py.store.verify import Verified
from casync_py.testing.store_contract import sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORMATS = ["none", *COMPRESSORS]
CHUNK = sample(7, 120)


@pytest.fixture(params=FORMATS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The file of a chunk that was put in one of the formats."""
    compression = parse_compression(request.param)
    with LocalStore(tmp_path / "s.castr", StoreOptions(compression=compression), create=True) as store:
        store.put(Chunk(CHUNK.chunk_id, plain=CHUNK.plain()))
        store.flush()
    (file,) = (tmp_path / "s.castr").glob("*/*")
    file.chmod(0o644)
    return file


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Verified]:
    store = Verified(LocalStore(tmp_path / "s.castr", create=True), [SHA512_256], 1 << 16)
    yield store
    store.close()


def get(store: Verified) -> bytes | type[Exception]:
    try:
        return bytes(store.get(CHUNK.chunk_id).plain())
    except (ChunkInvalid, ChunkMissing) as error:
        named = str(CHUNK.chunk_id) in str(error) and store.name in str(error)
        return type(error) if named else AssertionError


def test_every_flipped_bit_is_noticed_or_harmless(stored: Path, reader: Verified) -> None:
    data = stored.read_bytes()
    harmless = 0
    for place in range(len(data)):
        stored.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        found = get(reader)
        assert found in (ChunkInvalid, CHUNK.plain())
        harmless += found == CHUNK.plain()
    assert harmless < 12  # gzip's header has fields without meaning, such as its time


def test_every_truncation_is_noticed(stored: Path, reader: Verified) -> None:
    data = stored.read_bytes()
    for length in range(len(data)):
        stored.write_bytes(data[:length])
        assert get(reader) is (ChunkInvalid if length else ChunkMissing)


def test_trailing_bytes_are_noticed(stored: Path, reader: Verified) -> None:
    data = stored.read_bytes()
    for trailing in (b"\0", b"\n", data):
        stored.write_bytes(data + trailing)
        assert get(reader) is ChunkInvalid


def _socket(file: Path) -> None:
    folder = os.open(file.parent, os.O_RDONLY)  # the path itself is too long for an address
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{folder}/s")
    os.close(folder)
    (file.parent / "s").rename(file)


NO_FILES: dict[str, Callable[[Path], object]] = {
    "directory": lambda file: file.mkdir(),
    "fifo": os.mkfifo,
    "socket": _socket,
    "link to a chunk": lambda file: file.symlink_to(file.with_name("good")),
    "link to nothing": lambda file: file.symlink_to("/dev/null"),
    "broken link": lambda file: file.symlink_to("nowhere"),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("suffix", [".cacnk", ""])
def test_what_is_no_regular_file_is_named(tmp_path: Path, reader: Verified, kind: str, suffix: str) -> None:
    file = tmp_path / "s.castr" / CHUNK.chunk_id.store_path(suffix)
    file.parent.mkdir(parents=True)
    file.with_name("good").write_bytes(CHUNK.plain())
    NO_FILES[kind](file)
    with pytest.raises(ChunkInvalid, match="It is no regular file") as caught:
        reader.get(CHUNK.chunk_id)
    assert str(file) in str(caught.value)
    assert reader.has_many([CHUNK.chunk_id]) == [False]
    with LocalStore(tmp_path / "s.castr") as writer:
        for operation in (lambda: writer.put(CHUNK), lambda: writer.recognise([CHUNK.chunk_id])):
            with pytest.raises(ChunkInvalid, match="It is no regular file"):
                operation()
    assert not list(file.parent.glob("*.tmp"))


def test_another_store_replaces_a_damaged_chunk(stored: Path, reader: Verified) -> None:
    stored.write_bytes(stored.read_bytes()[:-3])
    second = MemoryStore()
    second.put(CHUNK)
    router = RouterStore([reader, Verified(second, [SHA512_256])])
    assert router.get(CHUNK.chunk_id).plain() == CHUNK.plain()


def test_mixed_formats_in_one_store(tmp_path: Path, reader: Verified) -> None:
    chunks = [sample(number) for number in range(4 * len(FORMATS))]
    for number, chunk in enumerate(chunks):
        compression = parse_compression(FORMATS[number % len(FORMATS)])
        with LocalStore(tmp_path / "s.castr", StoreOptions(compression=compression), create=True) as store:
            store.put(chunk)
            store.flush()
    found = [
        bytes(chunk.plain()) for _, chunk in reader.get_many([c.chunk_id for c in chunks]) if isinstance(chunk, Chunk)
    ]
    assert found == [chunk.plain() for chunk in chunks]


BOMB = """
import sys, resource
from casync_py.digest import SHA512_256
from casync_py.errors import ChunkInvalid
from casync_py.ids import ChunkId
from casync_py.store.local import LocalStore
from casync_py.store.verify import Verified
store = Verified(LocalStore(sys.argv[1]), [SHA512_256], 1 << 20, jobs=2)
ids = list(store.store.iter_ids())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for chunk_id in ids:
    try:
        store.get(chunk_id)
    except ChunkInvalid as error:
        print("invalid")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_bomb_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    """Streams of a few KB that would give 64 MiB; with and without their size in the header; and a 64 MiB file."""
    import zstandard

    size = 64 << 20
    zeros = bytes(size)
    sized = zstandard.ZstdCompressor(level=1).compress(zeros)
    unsized = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(zeros)
    bombs = [sized, unsized, *(COMPRESSORS[name].compress(zeros, 1) for name in ("xz", "gzip"))]
    for number, bomb in enumerate(bombs):
        assert len(bomb) < 1 << 20
        file = tmp_path / ChunkId(bytes([number]) * 32).store_path(".cacnk")
        file.parent.mkdir()
        file.write_bytes(bomb)
    file = tmp_path / ChunkId(b"\xff" * 32).store_path("")
    file.parent.mkdir()
    with file.open("wb") as plain:
        plain.truncate(size)
    ran = subprocess.run([sys.executable, "-c", BOMB, tmp_path], capture_output=True, text=True, check=True)
    *answers, grown = ran.stdout.split()
    assert answers == ["invalid"] * 5
    assert int(grown) < 16  # MiB: the limit of 1 MiB, windows of the decompressors, imports
