"""What a proxy fetches, keeps and hands out: once each, verified, whoever else asks and whatever fails."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import MAX_CHUNK_SIZE, Compression
from casync_py.digest import SHA512_256
from casync_py.errors import ChunkInvalid, ChunkMissing, PeerError
from casync_py.monitor import Monitor
from casync_py.options import StoreOptions
from casync_py.store.chunk import Chunk
from casync_py.store.limited import LimitedStore
from casync_py.store.local import LocalStore
from casync_py.store.memory import MemoryStore
from casync_py.store.near import Near
from casync_py.store.proxied import ProxiedStore
from casync_py.store.verify import Verified
from casync_py.testing.castr import store_faults
from casync_py.testing.pipelined import PipelinedStore
from casync_py.testing.store_contract import StoreContract, absent, plain_of, sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from casync_py.ids import ChunkId
    from casync_py.store.single_flight import Flight

PLAIN = StoreOptions(Compression(None))
SAMPLES = [sample(number, 1000) for number in range(600)]
IDS = [chunk.chunk_id for chunk in SAMPLES]


class Origin(MemoryStore):
    """The store that is far away.

    Attributes:
        fetched: how often each chunk was.
        gate: nothing is given while it is closed.
        down: raised by everything, while it is set.
        large: has what is not given in the usual way.
    """

    def __init__(self, chunks: Sequence[Chunk] = SAMPLES) -> None:
        super().__init__("origin")
        for chunk in chunks:
            self.put(chunk)
        self.fetched: Counter[ChunkId] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.down: Exception | None = None
        self.large = MemoryStore()
        self.reached = threading.Semaphore(0)  # how many fetches have come to the gate

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        self.reached.release()
        self.gate.wait()
        if self.down is not None:
            raise self.down
        self.fetched[chunk_id] += 1
        return super().get(chunk_id, limit)


class Proxy:
    """An origin, a folder, and the store that is made of them."""

    def __init__(self, folder: Path, origin: Origin, limit: int | None = None, *, far: bool = True) -> None:
        self.monitor = Monitor()
        self.folder = folder
        self.opened = 0
        self.now = 0.0

        def open_near(make: bool) -> LocalStore | LimitedStore:
            self.opened += 1
            local = LocalStore(folder, PLAIN, create=True, kept=True)
            return local if limit is None else LimitedStore(local, limit, spared=self.store.flights)

        near = Near(str(folder), open_near, self.monitor, clock=lambda: self.now)
        source = Verified(PipelinedStore(origin) if far else origin, [SHA512_256], jobs=2)
        self.store = ProxiedStore(near, source, second=Verified(origin.large, [SHA512_256]))

    def read(self, ids: Sequence[ChunkId] = IDS) -> bool:
        found = list(self.store.get_many(ids))
        wanted = {chunk.chunk_id: chunk.plain() for chunk in SAMPLES}
        return [(chunk_id, plain_of(chunk)) for chunk_id, chunk in found] == [
            (chunk_id, wanted[chunk_id]) for chunk_id in ids
        ]


class TestProxied(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> ProxiedStore:
        return Proxy(tmp_path / "cache", Origin(chunks)).store


class TestProxiedHalf(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> ProxiedStore:
        with LocalStore(tmp_path / "cache", create=True) as local:
            for chunk in chunks[::2]:
                local.put(chunk)
            local.flush()
        return Proxy(tmp_path / "cache", Origin(chunks), far=False).store


class TestProxiedTiny(StoreContract):
    """Hardly anything can be kept."""

    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> ProxiedStore:
        return Proxy(tmp_path / "cache", Origin(chunks), limit=1).store


class TestProxiedNowhere(StoreContract):
    """Nothing can be kept."""

    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> ProxiedStore:
        return Proxy(tmp_path / "no" / "cache", Origin(chunks)).store


@pytest.mark.parametrize("far", [False, True])
def test_what_was_fetched_is_here_from_then_on(tmp_path: Path, far: bool) -> None:
    origin = Origin()
    proxy = Proxy(tmp_path / "c", origin, far=far)
    assert proxy.read()
    assert proxy.read([*reversed(IDS)])
    assert bytes(proxy.store.get(IDS[5]).plain()) == SAMPLES[5].plain()
    proxy.store.close()
    assert store_faults(tmp_path / "c") == []
    again = Proxy(tmp_path / "c", origin, far=far)
    assert again.read()
    again.store.close()
    assert origin.fetched == Counter(IDS)


def test_many_who_ask_for_one_chunk_fetch_it_once(tmp_path: Path) -> None:
    origin = Origin()
    origin.gate.clear()
    proxy = Proxy(tmp_path / "c", origin)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(proxy.store.get, IDS[0]) for _ in range(16)]
        origin.reached.acquire()
        origin.gate.set()
        assert {bytes(future.result().plain()) for future in asked} == {bytes(SAMPLES[0].plain())}
    assert origin.fetched == Counter([IDS[0]])
    proxy.store.close()


def test_what_was_brought_since_somebody_looked_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Origin()
    proxy = Proxy(tmp_path / "c", origin)
    assert proxy.read(IDS[:5])
    monkeypatch.setattr(proxy.store, "has_near", lambda ids: [False] * len(ids))  # as it was a moment ago
    assert proxy.read(IDS[:5])
    assert origin.fetched == Counter(IDS[:5])
    proxy.store.close()


def test_many_streams_over_the_same_chunks_fetch_each_once(tmp_path: Path) -> None:
    origin = Origin()
    proxy = Proxy(tmp_path / "c", origin, limit=100_000_000)

    def read(seed: int) -> bool:
        start = random.Random(seed).randrange(300)
        return proxy.read(IDS[start:] + IDS[:start] + IDS[:7])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(24)))
    assert origin.fetched == Counter(IDS)
    proxy.store.close()


def test_with_a_limit_what_somebody_reads_is_spared(tmp_path: Path) -> None:
    """A cache that is far too small: each chunk stays until it has been read."""
    origin = Origin()
    proxy = Proxy(tmp_path / "c", origin, limit=100_000)
    assert proxy.read()
    assert origin.fetched == Counter(IDS)
    proxy.store.close()
    assert sum(path.stat().st_size for path in (tmp_path / "c").glob("*/*")) <= 100_000


def test_one_who_takes_nothing_holds_up_nobody(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path / "c", Origin())
    slow = [proxy.store.get_many(IDS) for _ in range(20)]
    for stream in slow:
        next(stream)
    assert proxy.read()
    for stream in slow:
        stream.close()
    proxy.store.close()


def test_what_nobody_waits_for_any_more_is_not_fetched_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Origin()
    origin.gate.clear()
    proxy = Proxy(tmp_path / "c", origin, far=False)
    ahead = proxy.store.ahead(IDS)
    wait, waits = proxy.store.flights.wait, threading.Event()

    def wait_noticeably(flight: Flight) -> Chunk | None:
        waits.set()
        return wait(flight)

    monkeypatch.setattr(proxy.store.flights, "wait", wait_noticeably)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ahead.get, IDS[0])
        assert waits.wait(30)
        origin.reached.acquire()
        ahead.close()
        origin.gate.set()
        first.result()
    assert proxy.read(IDS[:10])
    proxy.store.close()
    assert sum(origin.fetched.values()) < 200
    assert max(origin.fetched.values()) <= 2


def test_missing_and_damaged_are_told_and_not_kept(tmp_path: Path) -> None:
    origin = Origin(SAMPLES[:20])
    origin.remove(IDS[3])
    origin.put(Chunk(IDS[3], plain=b"something else"))
    proxy = Proxy(tmp_path / "c", origin)
    with pytest.raises(ChunkMissing):
        proxy.store.get(absent())
    with pytest.raises(ChunkInvalid):
        proxy.store.get(IDS[3])
    stream = proxy.store.get_many(IDS[:20])
    assert [plain_of(next(stream)[1]) for _ in range(3)] == [chunk.plain() for chunk in SAMPLES[:3]]
    with pytest.raises(ChunkInvalid):
        next(stream)
    found = list(proxy.store.get_many([IDS[0], absent(), IDS[1]]))
    assert [plain_of(chunk) for _, chunk in found] == [SAMPLES[0].plain(), None, SAMPLES[1].plain()]
    assert proxy.store.has_many([IDS[0], absent()]) == [True, False]
    proxy.store.close()
    assert store_faults(tmp_path / "c") == []
    assert not LocalStore(tmp_path / "c").has_many([IDS[3]])[0]


def test_what_the_usual_way_refuses_is_got_in_the_other_one(tmp_path: Path) -> None:
    large = sample(1, 100_000)
    origin = Origin(SAMPLES[:10])
    origin.large.put(large)
    proxy = Proxy(tmp_path / "c", origin)
    assert bytes(proxy.store.get(large.chunk_id).plain()) == large.plain()
    ids = [IDS[0], large.chunk_id, absent(), IDS[1]]
    assert [plain_of(chunk) for _, chunk in proxy.store.get_many(ids)] == [
        SAMPLES[0].plain(),
        large.plain(),
        None,
        SAMPLES[1].plain(),
    ]
    proxy.store.close()


def test_trouble_is_raised_and_forgotten(tmp_path: Path) -> None:
    origin = Origin()
    proxy = Proxy(tmp_path / "c", origin)
    assert proxy.read(IDS[:10])
    origin.down = PeerError("Connection refused", "origin")
    assert proxy.read(IDS[:10])
    for _ in range(2):
        with pytest.raises(PeerError, match="refused"):
            proxy.store.get(IDS[50])
        with pytest.raises(PeerError, match="refused"):
            list(proxy.store.get_many(IDS))
    origin.down = None
    assert proxy.read()
    assert proxy.store.has_many([IDS[0], absent()]) == [True, False]
    proxy.store.close()


def test_closing_ends_those_who_wait(tmp_path: Path) -> None:
    origin = Origin()
    origin.gate.clear()
    proxy = Proxy(tmp_path / "c", origin)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(proxy.read, IDS[at:]) for at in range(7)]
        origin.reached.acquire()
        closing = pool.submit(proxy.store.close)
        origin.gate.set()
        closing.result()
        for future in waiting:
            assert isinstance(future.exception(), PeerError | None)
    with pytest.raises(PeerError, match="closed"):
        proxy.store.get(IDS[0])


def test_a_disk_that_fails_is_told_once_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = Origin()
    proxy = Proxy(tmp_path / "c", origin)
    put = LocalStore.put

    def full(_store: LocalStore, _chunk: Chunk) -> bool:
        raise OSError(28, "No space left on device")

    assert proxy.read(IDS[:5])
    monkeypatch.setattr(LocalStore, "put", full)
    assert proxy.read()
    assert proxy.read()
    assert proxy.monitor.notices == [
        f"{tmp_path}/c: What is fetched cannot be kept (No space left on device), trying again later"
    ]
    assert max(origin.fetched[chunk_id] for chunk_id in IDS[:5]) == 1
    monkeypatch.setattr(LocalStore, "put", put)
    assert proxy.read(IDS[:10])
    before = origin.fetched.copy()
    proxy.now += 60
    assert proxy.read(IDS[:10])
    assert proxy.read(IDS[:10])
    assert sum((origin.fetched - before).values()) == 5
    assert proxy.opened == 2
    proxy.store.close()
    assert all(LocalStore(tmp_path / "c").has_many(IDS[:10]))


@pytest.mark.parametrize("kept", [True, False])
def test_a_chunk_as_a_file(tmp_path: Path, kept: bool) -> None:
    proxy = Proxy(tmp_path / ("c" if kept else "no/c"), Origin())
    for _ in range(2):
        fd, size, compressed = proxy.store.open_chunk(IDS[0])
        assert (os.pread(fd, size + 1, 0), compressed) == (SAMPLES[0].plain(), False)
        os.close(fd)
    with pytest.raises(ChunkMissing):
        proxy.store.open_chunk(absent())
    proxy.store.close()


def test_a_limit_is_for_chunks_in_memory_too(tmp_path: Path) -> None:
    for folder in ("c", "no/c"):
        proxy = Proxy(tmp_path / folder, Origin())
        with pytest.raises(ChunkInvalid):
            bytes(proxy.store.get(IDS[0], 900).plain(900))
        proxy.store.close()


def test_what_a_writer_has_put_is_not_made_a_thing_that_may_go(tmp_path: Path) -> None:
    """One writes to the store that is a cache for others."""
    proxy = Proxy(tmp_path / "c", Origin(), limit=40_000)
    assert proxy.read(IDS[:5])
    proxy.store.near.close()
    with LocalStore(tmp_path / "c", PLAIN) as writer:
        for chunk in SAMPLES[:100]:
            writer.put(chunk)
        writer.flush()
    proxy = Proxy(tmp_path / "c", Origin(), limit=40_000)
    assert proxy.read()
    proxy.store.close()
    assert all(LocalStore(tmp_path / "c").has_many(IDS[:100]))
    assert sum(LocalStore(tmp_path / "c").has_many(IDS[100:])) <= 40
