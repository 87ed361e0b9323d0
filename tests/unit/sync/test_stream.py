"""Sources of archive bytes: files, and indexes with a store."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from casync_py.digest import SHA512_256
from casync_py.errors import ChunkInvalid, ChunkMissing, FormatError, UsageError
from casync_py.format.flags import F
from casync_py.format.index import Index, IndexWriter
from casync_py.ids import ChunkId
from casync_py.monitor import Monitor
from casync_py.store.cache import CacheStore
from casync_py.store.chunk import Chunk
from casync_py.store.memory import MemoryStore
from casync_py.store.router import RouterStore
from casync_py.sync import stream as stream_module
from casync_py.sync.stream import ArchiveStart, FileStream, IndexStream
from casync_py.testing.recording import RecordingStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 100
DATA = random.Random(3).randbytes(12_345)


class Pieces:
    """A source of given pieces."""

    name = "x.catar"

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def skip(self, size: int, /) -> None:
        raise AssertionError(f"nobody asked to skip {size}")

    def close(self) -> None:
        self.pieces.clear()


def build_index(path: Path, data: bytes, store: MemoryStore, lie: int = 0) -> None:
    with path.open("wb") as file:
        writer = IndexWriter(file.write, int(F.SHA512_256), (1, CHUNK, CHUNK))
        for start in range(0, len(data), CHUNK):
            plain = data[start : start + CHUNK]
            chunk_id = ChunkId(SHA512_256.of(plain))
            store.put(Chunk(chunk_id, plain=plain))
            writer.append(start + len(plain) - lie, chunk_id)
        writer.finish()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def index(tmp_path: Path, store: MemoryStore) -> Iterator[Index]:
    build_index(tmp_path / "x.caibx", DATA, store)
    with Index.open(tmp_path / "x.caibx") as opened:
        yield opened


def rest(stream: IndexStream) -> bytes:
    return b"".join(bytes(piece) for piece in iter(stream.read, b""))


def test_the_whole_stream(index: Index, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_FIRST_WINDOW", 3)
    monitor = Monitor()
    assert rest(IndexStream(index, store, 1000, monitor)) == DATA
    assert (monitor.done, monitor.chunks_new) == (len(DATA), len(index))


def test_chunks_out_of_a_store_cache_count_as_reused(index: Index, store: MemoryStore) -> None:
    cache = CacheStore(MemoryStore("cache"), [SHA512_256], 1000, Monitor())
    for row in index.rows(0, 20):
        cache.keep(store.get(row.chunk_id))
    monitor = Monitor()
    assert rest(IndexStream(index, RouterStore([cache, store]), 1 << 20, monitor)) == DATA
    assert (monitor.chunks_reused, monitor.bytes_reused) == (20, 20 * CHUNK)
    assert (monitor.chunks_new, monitor.bytes_new) == (len(index) - 20, len(DATA) - 20 * CHUNK)


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("skipped", [0, 1, 50, 100, 101, 999, 5000, 11_000])
def test_skipping(index: Index, store: MemoryStore, before: int, skipped: int) -> None:
    stream = IndexStream(index, store, 1000, Monitor())
    for _ in range(before):
        stream.read()
    stream.skip(skipped)
    stream.skip(17)
    assert rest(stream) == DATA[before * CHUNK + skipped + 17 :]


def test_skipping_beyond_the_end(index: Index, store: MemoryStore) -> None:
    stream = IndexStream(index, store, 1000, Monitor())
    stream.read()
    stream.skip(1 << 40)
    assert rest(stream) == b""


def test_skipped_chunks_are_not_fetched(index: Index, store: MemoryStore) -> None:
    recording = RecordingStore(store)
    stream = IndexStream(index, recording, 2 * CHUNK, Monitor())
    stream.read()
    stream.skip(10_000)
    stream.read()
    stream.close()
    assert len(recording.gets) < len(index) // 2


def test_a_missing_chunk(index: Index, store: MemoryStore) -> None:
    store.remove(index[50].chunk_id)
    with pytest.raises(ChunkMissing):
        rest(IndexStream(index, store, 1000, Monitor()))


def test_a_chunk_of_another_length_than_the_index_says(tmp_path: Path, store: MemoryStore) -> None:
    build_index(tmp_path / "lie.caibx", DATA, store, lie=1)
    with Index.open(tmp_path / "lie.caibx") as index, pytest.raises(ChunkInvalid, match="99"):
        rest(IndexStream(index, store, 1000, Monitor()))


def test_files_are_read_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    stream = FileStream(str(path))
    stream.skip(5000)
    assert stream.read() == DATA[5000:]
    stream.skip(1)
    assert stream.read() == b""
    stream.close()
    with pytest.raises(UsageError, match="directory"):
        FileStream(str(tmp_path))


def test_a_pipe_is_read_and_skipped() -> None:
    reading, writing = os.pipe()
    os.write(writing, DATA)
    os.close(writing)
    stream = FileStream(f"/dev/fd/{reading}")
    stream.skip(5000)
    assert b"".join(iter(stream.read, b"")) == DATA[5000:]
    stream.close()
    os.close(reading)


def test_an_archive_start_tells_the_flags_and_loses_nothing() -> None:
    entry = b"".join(
        value.to_bytes(8, "little")
        for value in (64, 0x1396FABCEA5BBB51, int(F.NSEC_TIME | F.SHA512_256), 0o40755, 0, 0, 0, 0)
    )
    start = ArchiveStart(Pieces(entry[:10], entry[10:20], entry[20:] + b"more", b"and more"), Monitor())
    assert start.features == F.NSEC_TIME | F.SHA512_256
    assert b"".join(iter(start.read, b"")) == entry + b"moreand more"


@pytest.mark.parametrize("start", [b"", b"short", bytes(64), b"x" * 100])
def test_what_is_no_archive_is_named(start: bytes) -> None:
    with pytest.raises(FormatError, match=r"x\.catar"):
        ArchiveStart(Pieces(start), Monitor())
