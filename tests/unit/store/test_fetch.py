"""Fetching ahead: order, bounds, errors at their place, and ends that leave no thread at work."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.ids import ChunkId
from casync_py.store.chunk import Chunk
from casync_py.store.fetch import fetch_ahead

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future


def make_ids(count: int) -> list[ChunkId]:
    return [ChunkId(hashlib.sha256(b"%d" % number).digest()) for number in range(count)]


class Source:
    """Chunks of given sizes; knows how many bytes were fetched, and can be told to fail or to wait at an id."""

    def __init__(self, size: Callable[[int], int] = lambda _: 1000, count: int = 300) -> None:
        self.ids = make_ids(count)
        self._place = {chunk_id: place for place, chunk_id in enumerate(self.ids)}
        self._size = size
        self._lock = threading.Lock()
        self.errors: dict[int, Exception] = {}
        self.fetched = 0
        self.calls = 0
        self.busy = 0
        self.most_busy = 0

    def get(self, chunk_id: ChunkId) -> Chunk:
        place = self._place[chunk_id]
        with self._lock:
            self.calls += 1
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        try:
            if place in self.errors:
                raise self.errors[place]
            size = self._size(place)
            with self._lock:
                self.fetched += size
            return Chunk(chunk_id, plain=bytes(size))
        finally:
            with self._lock:
                self.busy -= 1


@pytest.mark.parametrize("jobs", [1, 2, 5])
@pytest.mark.parametrize("budget", [1, 5000, 1 << 20])
def test_order(jobs: int, budget: int) -> None:
    source = Source(lambda place: 1 + place * 37 % 3000)
    found = list(fetch_ahead(source.get, source.ids, budget, jobs=jobs))
    assert [chunk_id for chunk_id, _ in found] == source.ids
    assert [len(chunk.plain()) for _, chunk in found if isinstance(chunk, Chunk)] == [
        1 + place * 37 % 3000 for place in range(300)
    ]
    assert source.calls == 300


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize(
    "size",
    [lambda _: 1000, lambda place: 10 if place < 150 else 20_000, lambda place: 20_000 if place % 50 == 49 else 10],
    ids=["even", "small then large", "a large one now and then"],
)
def test_the_budget_is_exceeded_by_a_chunk_for_each_thread_at_most(size: Callable[[int], int], jobs: int) -> None:
    source = Source(size)
    budget = 50_000
    largest = max(size(place) for place in range(300))
    consumed = 0
    for place, (_, chunk) in enumerate(fetch_ahead(source.get, source.ids, budget, jobs=jobs)):
        assert isinstance(chunk, Chunk)
        consumed += size(place)
        assert source.fetched - consumed <= budget + jobs * largest


def test_nothing_is_fetched_before_it_is_asked_for_and_little_when_little_is_taken() -> None:
    source = Source(count=5000)
    stream = fetch_ahead(source.get, source.ids, 1 << 20, jobs=2)
    assert source.calls == 0
    next(stream)
    stream.close()
    assert 0 < source.calls < 500


def test_work_runs_in_several_threads_at_once() -> None:
    both = threading.Barrier(2, timeout=60)

    def get(chunk_id: ChunkId) -> Chunk:
        both.wait()
        return Chunk(chunk_id, plain=b"x")

    ids = make_ids(2)
    # A chunk fills the budget's share of a thread, so that each is a batch of its own.
    assert [chunk_id for chunk_id, _ in fetch_ahead(get, ids, 1 << 20, jobs=2)] == ids


def test_errors_are_raised_in_their_place_and_end_the_stream() -> None:
    source = Source()
    source.errors = {
        5: ChunkMissing(source.ids[5], "here"),
        20: ChunkInvalid(source.ids[20], "bad"),
        30: OSError("never reached"),
    }
    stream = fetch_ahead(source.get, source.ids, 1 << 20, jobs=2)
    found = [next(stream) for _ in range(20)]
    assert [type(chunk) for _, chunk in found] == [Chunk] * 5 + [ChunkMissing] + [Chunk] * 14
    assert found[5][1] is source.errors[5]
    with pytest.raises(ChunkInvalid) as caught:
        next(stream)
    assert caught.value is source.errors[20]
    assert list(stream) == []


def test_only_missing_chunks() -> None:
    source = Source(count=50)
    source.errors = {place: ChunkMissing(chunk_id) for place, chunk_id in enumerate(source.ids)}
    found = list(fetch_ahead(source.get, source.ids, 100, jobs=2))
    assert all(isinstance(chunk, ChunkMissing) for _, chunk in found)
    assert len(found) == 50


class _NotingExecutor(ThreadPoolExecutor):
    """Sets an event when one of its futures is asked to be cancelled."""

    def __init__(self, cancelled: threading.Event) -> None:
        super().__init__(1)
        self._cancelled = cancelled

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        future = super().submit(*arguments, **named)
        cancel = future.cancel

        def note_and_cancel() -> bool:
            self._cancelled.set()
            return cancel()

        setattr(future, "cancel", note_and_cancel)  # noqa: B010 - mypy knows methods as read-only
        return future


def test_close_stops_between_two_chunks_and_waits_for_the_one_under_way() -> None:
    source = Source(lambda _: 10)
    started, cancelled, finished = threading.Event(), threading.Event(), threading.Event()

    def get(chunk_id: ChunkId) -> Chunk:
        chunk = source.get(chunk_id)
        if source.calls == 6:  # in the middle of the second batch
            started.set()
            assert cancelled.wait(60)
            hashlib.sha512(bytes(16 << 20)).digest()  # long enough for a close() that would not wait
            finished.set()
        return chunk

    with _NotingExecutor(cancelled) as pool:
        stream = fetch_ahead(get, source.ids, 1 << 24, jobs=1, executor=pool)
        next(stream)
        assert started.wait(60)
        stream.close()
        assert finished.is_set()
        assert source.calls == 6
        assert pool.submit(int).result() == 0  # a shared pool goes on working


def test_a_shared_pool_serves_several_streams() -> None:
    with ThreadPoolExecutor(2) as pool:
        sources = [Source(count=100) for _ in range(3)]
        streams = [fetch_ahead(source.get, source.ids, 5000, jobs=2, executor=pool) for source in sources]
        for items in zip(*streams, strict=True):
            assert len({chunk_id for chunk_id, _ in items}) == 1
        assert max(source.most_busy for source in sources) <= 2


def test_own_threads_end_with_the_stream() -> None:
    source = Source()
    list(fetch_ahead(source.get, source.ids, 1 << 20, jobs=3))
    stream = fetch_ahead(source.get, source.ids, 1 << 20, jobs=3)
    next(stream)
    stream.close()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("fetch")] == []


@pytest.mark.parametrize("size", [10, 1000, 40_000])
def test_the_pool_does_the_work_as_long_as_sizes_are_even(size: int) -> None:
    """Only where sizes jump, the consumer's thread fetches what the budget kept the pool from."""
    source = Source(lambda _: size)
    here = threading.get_ident()
    mine = []

    def get(chunk_id: ChunkId) -> Chunk:
        if threading.get_ident() == here:
            mine.append(chunk_id)
        return source.get(chunk_id)

    assert len(list(fetch_ahead(get, source.ids, 100_000, jobs=3))) == 300
    assert len(mine) < 30
