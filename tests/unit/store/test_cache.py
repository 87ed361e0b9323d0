"""The store cache: asked first, given what others deliver, and never the reason why something fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import COMPRESSORS, MAX_CHUNK_SIZE, Compression
from casync_py.digest import SHA256, SHA512_256
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.monitor import Monitor
from casync_py.options import StoreOptions
from casync_py.store.base import DEFAULT_BUDGET
from casync_py.store.cache import CacheStore
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.store.memory import MemoryStore
from casync_py.store.router import RouterStore
from casync_py.store.verify import Verified
from casync_py.testing.castr import store_faults
from casync_py.testing.recording import RecordingStore
from casync_py.testing.store_contract import StoreContract, sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from casync_py.ids import ChunkId
    from casync_py.store.base import Store

PLAIN = StoreOptions(Compression(None))
SAMPLES = [sample(number) for number in range(40)]
IDS = [chunk.chunk_id for chunk in SAMPLES]


class Stream:
    """A pipelined stream over chunks that are all there at once."""

    def __init__(self, store: FarStore, ids: Sequence[ChunkId]) -> None:
        self._store = store
        self._ids = list(reversed(ids))

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> tuple[ChunkId, Chunk | ChunkMissing]:
        if not self._ids:
            raise StopIteration
        chunk_id = self._ids.pop()
        try:
            return chunk_id, self._store.get(chunk_id)
        except ChunkMissing as missing:
            return chunk_id, missing

    def ready(self, count: int) -> list[tuple[ChunkId, Chunk | ChunkMissing]]:
        return [next(self) for _ in range(min(count, len(self._ids)))]

    def close(self) -> None:
        self._ids.clear()


class FarStore(RecordingStore):
    """A recording store whose questions cost round trips."""

    pipelined = True

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.questions: list[list[ChunkId]] = []  # ids of each `get_many`

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET, limit: int = MAX_CHUNK_SIZE) -> Stream:
        self.questions.append(list(ids))
        return Stream(self, ids)


def memory(chunks: Sequence[Chunk]) -> MemoryStore:
    store = MemoryStore()
    for chunk in chunks:
        store.put(chunk)
    return store


class Front:
    """A store cache in a directory before a store."""

    def __init__(self, folder: Path, source: Store, options: StoreOptions = PLAIN) -> None:
        self.monitor = Monitor()
        self.cache = CacheStore(
            LocalStore(folder, options, create=True), [SHA512_256], MAX_CHUNK_SIZE, self.monitor, jobs=2
        )
        self.store = RouterStore([self.cache, Verified(source, [SHA512_256], jobs=2, keep=self.cache.keep)], jobs=2)

    def read(self, ids: Sequence[ChunkId] = IDS) -> list[bool]:
        """Read chunks, check them, and close; which of them were reused."""
        reused = []
        try:
            for chunk_id, found in self.store.get_many(ids):
                assert not isinstance(found, ChunkMissing)
                assert SHA512_256.of(found.plain()) == chunk_id
                reused.append(found.reused)
        finally:
            self.store.close()
        return reused


class TestBeforeAStore(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> RouterStore:
        return Front(tmp_path / "cache", memory(chunks)).store


class TestBeforeAFarStore(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> RouterStore:
        return Front(tmp_path / "cache", FarStore(memory(chunks))).store


class TestCacheWithHalfOfIt(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> RouterStore:
        with LocalStore(tmp_path / "cache", create=True) as store:
            for chunk in chunks[::2]:
                store.put(chunk)
            store.flush()
        return Front(tmp_path / "cache", memory(chunks)).store


@pytest.fixture(params=["near", "far"])
def source(request: pytest.FixtureRequest) -> RecordingStore:
    store = memory(SAMPLES)
    return RecordingStore(store) if request.param == "near" else FarStore(store)


def test_what_was_fetched_is_not_fetched_again(tmp_path: Path, source: RecordingStore) -> None:
    assert Front(tmp_path / "cache", source).read(IDS[:30]) == [False] * 30
    assert sorted(source.gets) == sorted(IDS[:30])
    assert Front(tmp_path / "cache", source).read() == [True] * 30 + [False] * 10
    assert sorted(source.gets) == sorted(IDS)
    assert store_faults(tmp_path / "cache") == []


def test_a_far_store_is_asked_for_all_that_is_lacking_at_once(tmp_path: Path) -> None:
    source = FarStore(memory(SAMPLES))
    Front(tmp_path / "cache", source).read(IDS[::2])
    Front(tmp_path / "cache", source).read()
    assert source.questions == [IDS[::2], IDS[1::2]]


@pytest.mark.parametrize("form", ["plain", "stored", "both"])
def test_chunks_are_kept_in_the_form_in_which_they_come(tmp_path: Path, form: str) -> None:
    chunk = sample(1)
    plain, stored = bytes(chunk.plain()), COMPRESSORS["zstd"].compress(chunk.plain(), 19)
    came = Chunk(chunk.chunk_id, plain=None if form == "stored" else plain, stored=None if form == "plain" else stored)
    Front(tmp_path / "cache", memory([came])).read([came.chunk_id])
    (file,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert file.suffix == ("" if form == "plain" else ".cacnk")
    assert file.read_bytes() == (plain if form == "plain" else stored)
    assert Front(tmp_path / "cache", MemoryStore()).read([came.chunk_id]) == [True]


def test_nothing_unverified_is_kept(tmp_path: Path, source: RecordingStore) -> None:
    lie = Chunk(IDS[7], plain=b"something else")
    source.store.remove(IDS[7])
    source.store.put(lie)
    with pytest.raises(ChunkInvalid):
        Front(tmp_path / "cache", source).read()
    assert store_faults(tmp_path / "cache") == []
    assert not LocalStore(tmp_path / "cache").has_many([IDS[7]])[0]


def test_what_came_before_the_end_is_kept(tmp_path: Path, source: RecordingStore) -> None:
    front = Front(tmp_path / "cache", source)
    stream = front.store.get_many(IDS)
    for _ in range(20):
        next(stream)
    stream.close()
    front.store.close()
    assert all(LocalStore(tmp_path / "cache").has_many(IDS[:20]))
    assert store_faults(tmp_path / "cache") == []


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with LocalStore(tmp_path / "cache", create=True) as store:
        for chunk in SAMPLES:
            store.put(chunk)
        store.flush()
    return tmp_path / "cache"


def place(folder: Path, chunk_id: ChunkId) -> Path:
    return folder / chunk_id.hex()[:4] / f"{chunk_id.hex()}.cacnk"


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_damaged_chunks_are_fetched_and_replaced(filled: Path, source: RecordingStore) -> None:
    for chunk_id in IDS[3], IDS[4], IDS[39]:
        damage(place(filled, chunk_id))
    front = Front(filled, source)
    assert [at for at, reused in enumerate(front.read()) if not reused] == [3, 4, 39]
    assert front.monitor.notices == [f"{filled}: Has damaged chunks, which are replaced by good ones"]
    assert store_faults(filled) == []
    assert sorted(source.gets) == sorted([IDS[3], IDS[4], IDS[39]])


@pytest.mark.parametrize("lie", ["digest", "limit"])
def test_an_index_that_lies_removes_nothing(filled: Path, lie: str) -> None:
    digests, limit = ([SHA256], MAX_CHUNK_SIZE) if lie == "digest" else ([SHA512_256], 100)
    monitor = Monitor()
    cache = CacheStore(LocalStore(filled), digests, limit, monitor)
    with pytest.raises(ChunkMissing):
        cache.get(IDS[0])
    cache.close()
    assert place(filled, IDS[0]).exists()
    assert monitor.notices == []


def test_a_link_in_place_of_a_chunk_is_left_alone(filled: Path, source: RecordingStore) -> None:
    path = place(filled, IDS[0])
    path.rename(filled.parent / "elsewhere")
    path.symlink_to(filled.parent / "elsewhere")
    assert Front(filled, source).read(IDS[:1]) == [False]
    assert path.is_symlink()


class Broken(MemoryStore):
    """A store on a disk that fails: each listed operation raises."""

    def __init__(self, *fails: str) -> None:
        super().__init__("broken")
        self.fails = fails
        self.calls = 0

    def _try(self, operation: str) -> None:
        if operation in self.fails:
            self.calls += 1
            raise OSError(5, "Input/output error", "broken/file")

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        self._try("get")
        return super().get(chunk_id, limit)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        self._try("has_many")
        return super().has_many(ids)

    def put(self, chunk: Chunk) -> bool:
        self._try("put")
        return super().put(chunk)

    def flush(self) -> None:
        self._try("flush")


@pytest.mark.parametrize("operation", ["get", "has_many", "put", "flush"])
def test_a_cache_that_fails_says_so_once_and_is_done_without(operation: str, source: RecordingStore) -> None:
    monitor = Monitor()
    broken = Broken(operation)
    if operation == "get":
        for chunk in SAMPLES:
            broken.put(chunk)
    cache = CacheStore(broken, [SHA512_256], MAX_CHUNK_SIZE, monitor, jobs=1)
    with ThreadPoolExecutor(1) as pool:
        verified = Verified(source, [SHA512_256], jobs=1, executor=pool, keep=cache.keep)
        store = RouterStore([cache, verified], jobs=1, executor=pool)
        assert [chunk_id for chunk_id, _ in store.get_many(IDS)] == IDS
        assert store.has_many(IDS) == [True] * len(IDS)
        store.close()
    assert broken.calls == 1
    reading = operation in ("get", "has_many")
    assert monitor.notices == [
        "broken: Cannot be read (Input/output error), going on without this store cache"
        if reading
        else "broken: Nothing more is kept in this store cache (Input/output error)"
    ]
