"""Extracting blobs: what is in place is not fetched, what arrived stays, and a notice says so."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from casync_py.digest import SHA512_256
from casync_py.errors import ChunkInvalid, ChunkMissing, FormatError
from casync_py.format.flags import F
from casync_py.format.index import Index, IndexWriter
from casync_py.ids import ChunkId
from casync_py.monitor import Monitor
from casync_py.options import Resources
from casync_py.store.chunk import Chunk
from casync_py.store.memory import MemoryStore
from casync_py.store.verify import Verified
from casync_py.sync import in_place
from casync_py.sync.blob import FileTarget
from casync_py.sync.extract import extract_blob
from casync_py.sync.stream import IndexStream
from casync_py.testing.recording import RecordingStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 1000
ROWS = 60
DATA = random.Random(4).randbytes(SIZE * 20) + bytes(SIZE * 20) + random.Random(5).randbytes(SIZE * 20 - 77)
PIECES = [DATA[start : start + SIZE] for start in range(0, len(DATA), SIZE)]


class Blob:
    """An index of chunks of `size` bytes with a store, and the place where the blob is extracted to."""

    def __init__(self, folder: Path, data: bytes = DATA, size: int = SIZE) -> None:
        self.data = data
        self.store = RecordingStore(MemoryStore())
        self.index, self.out, self.partial = folder / "x.caibx", folder / "out", folder / ".out.partial"
        self.monitor = Monitor(stage="Extracting")
        with self.index.open("wb") as file:
            writer = IndexWriter(file.write, int(F.SHA512_256), (1, size, size))
            self.ids: list[ChunkId] = []
            for start in range(0, len(data), size):
                plain = data[start : start + size]
                self.ids.append(ChunkId(SHA512_256.of(plain)))
                self.store.store.put(Chunk(self.ids[-1], plain=plain))
                writer.append(start + len(plain), self.ids[-1])
            writer.finish()

    def extract(self) -> list[ChunkId]:
        """Extract; which chunks were fetched, in order."""
        self.store.gets.clear()
        self.monitor = Monitor(stage="Extracting")
        with Index.open(self.index) as index:
            store = Verified(self.store, [SHA512_256], jobs=1)
            target = FileTarget(str(self.out), index.size)
            try:
                extract_blob(IndexStream(index, store, 1 << 20, self.monitor), target, Resources(2, 1 << 20))
            finally:
                assert target.abort() is None
                assert self.monitor.stage == "Extracting"
        assert self.out.read_bytes() == self.data
        assert not self.partial.exists()
        return self.store.gets


@pytest.fixture
def blob(tmp_path: Path) -> Blob:
    return Blob(tmp_path)


def test_a_new_file(blob: Blob) -> None:
    assert blob.extract() == blob.ids
    assert (blob.monitor.done, blob.monitor.chunks_new, blob.monitor.bytes_new) == (len(DATA), ROWS, len(DATA))
    assert blob.monitor.notices == []


@pytest.mark.parametrize("place", ["partial", "out"])
@pytest.mark.parametrize("present", [0, 1, SIZE, 20 * SIZE + 17, 45 * SIZE, len(DATA)])
def test_what_is_in_place_is_not_fetched(blob: Blob, place: str, present: int) -> None:
    getattr(blob, place).write_bytes(DATA[:present])
    rows = present // SIZE if present < len(DATA) else ROWS
    assert blob.extract() == blob.ids[rows:]
    monitor = blob.monitor
    assert (monitor.chunks_reused, monitor.chunks_new, monitor.done) == (rows, ROWS - rows, len(DATA))
    reused = sum(map(len, PIECES[:rows]))
    assert (monitor.bytes_reused, monitor.bytes_new) == (reused, len(DATA) - reused)
    assert blob.monitor.notices == []


@pytest.mark.parametrize("place", ["partial", "out"])
@pytest.mark.parametrize("rows", [1, 3, 256])
def test_what_is_damaged_there_is_fetched_again(
    blob: Blob, place: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_place, "_BATCH_ROWS", rows)
    there = bytearray(DATA[: 50 * SIZE])
    for row in (0, 7, 8, 30, 49):
        there[row * SIZE + 500] ^= 16
    getattr(blob, place).write_bytes(there)
    assert blob.extract() == [blob.ids[row] for row in (0, 7, 8, 30, *range(49, ROWS))]
    assert blob.monitor.done == len(DATA)


@pytest.mark.parametrize("place", ["partial", "out"])
@pytest.mark.parametrize("longer", [1, 100_000])
def test_what_is_too_long_there_is_cut(blob: Blob, place: str, longer: int) -> None:
    getattr(blob, place).write_bytes(DATA + b"x" * longer)
    assert blob.extract() == []


def test_a_partial_file_of_another_index_leaves_nothing(tmp_path: Path) -> None:
    size = 65536
    blob = Blob(tmp_path, b"x" * size + bytes(10 * size) + b"x" * size, size)
    blob.partial.write_bytes(random.Random(6).randbytes(20 * size))
    assert blob.extract() == blob.ids
    assert blob.out.stat().st_blocks * 512 <= 4 * size  # the zeros are holes


def test_more_pieces_than_are_remembered_are_fetched(blob: Blob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_place, "_MAX_SPANS", 3)
    there = bytearray(DATA)
    for row in range(1, 20, 2):
        there[row * SIZE] ^= 1
    blob.partial.write_bytes(there)
    assert blob.extract() == [blob.ids[row] for row in (1, 3, *range(5, ROWS))]


def failing(row: int, error: Exception, store: RecordingStore) -> Callable[..., Chunk]:
    """A `get` that fails at the chunk of one row."""
    real = store.store.get
    wanted = SHA512_256.of(PIECES[row])

    def get(chunk_id: ChunkId, limit: int = 0) -> Chunk:
        if chunk_id == wanted:
            raise error
        return real(chunk_id, limit)

    return get


STAYS = [OSError(5, "Input/output error", "store/x"), ChunkMissing(ChunkId(bytes(32)), "store")]


@pytest.mark.parametrize("error", STAYS, ids=lambda error: type(error).__name__)
def test_what_arrived_stays_and_is_not_fetched_again(
    blob: Blob, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(blob.store, "get", failing(45, error, blob.store))
        with pytest.raises(type(error)):
            blob.extract()
    assert blob.monitor.notices == [
        f"{blob.out}: What arrived is kept in {blob.partial}, and the same command goes on from there"
    ]
    assert not blob.out.exists()
    assert blob.partial.read_bytes() == DATA[: 45 * SIZE]
    assert blob.extract() == blob.ids[45:]


def test_what_arrived_before_an_interruption_stays(blob: Blob, monkeypatch: pytest.MonkeyPatch) -> None:
    real = FileTarget.write_at

    def write_at(target: FileTarget, offset: int, data: bytes | memoryview) -> None:
        if offset == 45 * SIZE:
            raise KeyboardInterrupt
        real(target, offset, data)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(FileTarget, "write_at", write_at)
        with pytest.raises(KeyboardInterrupt):
            blob.extract()
    assert len(blob.monitor.notices) == 1
    assert blob.extract() == blob.ids[45:]


LEAVES = [ChunkInvalid(ChunkId(bytes(32)), "Damaged"), FormatError("Damaged")]


@pytest.mark.parametrize("left_before", [False, True])
@pytest.mark.parametrize("error", LEAVES, ids=lambda error: type(error).__name__)
def test_what_arrived_before_damage_stays(
    blob: Blob, monkeypatch: pytest.MonkeyPatch, error: Exception, left_before: bool
) -> None:
    if left_before:
        blob.partial.write_bytes(DATA[: 30 * SIZE])
    with monkeypatch.context() as damaged:
        damaged.setattr(blob.store, "get", failing(45, error, blob.store))
        with pytest.raises(type(error)):
            blob.extract()
    assert not blob.out.exists()
    assert len(blob.monitor.notices) == 1
    assert blob.extract() == blob.ids[45:]


def test_nothing_stays_of_nothing(blob: Blob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob.store, "get", failing(0, LEAVES[0], blob.store))
    with pytest.raises(ChunkInvalid):
        blob.extract()
    assert os.listdir(blob.out.parent) == ["x.caibx"]
    assert blob.monitor.notices == []


def test_in_place_nothing_is_kept_elsewhere(blob: Blob, monkeypatch: pytest.MonkeyPatch) -> None:
    blob.out.write_bytes(b"old")
    with monkeypatch.context() as broken:
        broken.setattr(blob.store, "get", failing(45, OSError(5, "Input/output error"), blob.store))
        with pytest.raises(OSError, match="Input/output"):
            blob.extract()
    assert blob.monitor.notices == []
    assert not blob.partial.exists()
    assert blob.extract() == blob.ids[45:]


def test_a_chunk_larger_than_the_memory_is_checked_alone(blob: Blob) -> None:
    blob.partial.write_bytes(DATA)
    with Index.open(blob.index) as index:
        target = FileTarget(str(blob.out), index.size)
        found = in_place.rows_in_place(index, target, Resources(8, 1), Monitor())
        target.abort()
    assert len(found) == ROWS
