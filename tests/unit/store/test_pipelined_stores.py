"""Stores that answer after a round trip, verified and routed: what comes, and what is asked."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from casync_py.digest import SHA512_256
from casync_py.errors import ChunkInvalid, ChunkMissing, PeerError
from casync_py.store.chunk import Chunk
from casync_py.store.memory import MemoryStore
from casync_py.store.router import RouterStore
from casync_py.store.verify import Verified
from casync_py.testing.pipelined import PipelinedStore
from casync_py.testing.recording import RecordingStore
from casync_py.testing.store_contract import StoreContract, absent, plain_of, sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from casync_py.ids import ChunkId
    from casync_py.store.base import Store


def memory(chunks: Sequence[Chunk], name: str = "near") -> MemoryStore:
    store = MemoryStore(name)
    for chunk in chunks:
        store.put(chunk)
    return store


def far(chunks: Sequence[Chunk], name: str = "far", seed: int = 0) -> PipelinedStore:
    return PipelinedStore(memory(chunks, name), seed)


def checked(store: Store) -> Verified:
    return Verified(store, [SHA512_256], jobs=2)


class TestVerifiedFar(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> Verified:
        return checked(far(chunks))


class TestNearThenFar(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> RouterStore:
        return RouterStore([checked(memory(chunks[::2])), checked(memory(chunks[3:5])), checked(far(chunks[1::2]))])


class TestFarThenNear(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> RouterStore:
        return RouterStore([checked(far(chunks[::2])), checked(memory(chunks[1::2]))])


class TestThreeFar(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> RouterStore:
        return RouterStore([checked(far(chunks[number::3], seed=number)) for number in range(3)])


SAMPLES = [sample(number, 400) for number in range(60)]
IDS = [chunk.chunk_id for chunk in SAMPLES]


def damaged(place: int = 7) -> list[Chunk]:
    """The samples, one of them with another content."""
    return [*SAMPLES[:place], Chunk(IDS[place], plain=b"something else"), *SAMPLES[place + 1 :]]


@pytest.mark.parametrize("seed", range(5))
def test_a_bad_chunk_is_raised_at_its_place(seed: int) -> None:
    store = far(damaged(), seed=seed)
    stream = checked(store).get_many(IDS)
    for chunk in SAMPLES[:7]:
        assert plain_of(next(stream)[1]) == chunk.plain()
    with pytest.raises(ChunkInvalid) as caught:
        next(stream)
    assert caught.value.chunk_id == IDS[7]
    assert caught.value.where == "far"
    assert not store.open_streams


@pytest.mark.parametrize("seed", range(5))
def test_what_came_before_a_connection_broke_is_handed_out(seed: int) -> None:
    store = far(SAMPLES, seed=seed)
    store.failure, store.fails_after = PeerError("gone", "far"), 41
    stream = checked(store).get_many(IDS)
    found: list[bytes | None] = []
    with pytest.raises(PeerError, match="far: gone"):
        found.extend(plain_of(chunk) for _, chunk in stream)
    assert found == [chunk.plain() for chunk in SAMPLES[:41]]
    assert not store.open_streams


def test_a_stream_that_nobody_reads_is_closed_too() -> None:
    first, second = far(SAMPLES), far(SAMPLES)
    stream = checked(first).get_many(IDS)
    assert first.open_streams == 1
    stream.close()
    routed = RouterStore([checked(memory(SAMPLES[:9])), checked(second)]).get_many(IDS)
    assert second.open_streams == 1
    routed.close()
    assert first.open_streams == second.open_streams == 0


def test_a_pool_is_shared_and_left_open() -> None:
    with ThreadPoolExecutor(2) as pool:
        stores = [Verified(far(SAMPLES[number::2]), [SHA512_256], jobs=2, executor=pool) for number in range(2)]
        found = RouterStore(stores, jobs=2, executor=pool).get_many(IDS)
        assert [plain_of(chunk) for _, chunk in found] == [chunk.plain() for chunk in SAMPLES]
        closed = stores[0].get_many(IDS)
        next(closed)
        closed.close()
        assert pool.submit(int).result() == 0


def test_far_stores_are_asked_only_for_what_is_not_at_hand() -> None:
    near, store = RecordingStore(memory(SAMPLES[::3])), far(SAMPLES)
    router = RouterStore([checked(near), checked(store)])
    assert [plain_of(chunk) for _, chunk in router.get_many(IDS)] == [chunk.plain() for chunk in SAMPLES]
    assert store.asked == [[chunk_id for place, chunk_id in enumerate(IDS) if place % 3]]
    assert store.gets == []
    assert near.asked == IDS


def test_what_the_first_far_store_lacks_is_asked_of_the_next_in_one_go() -> None:
    stores = far(SAMPLES[:20] + SAMPLES[30:], "one"), far(SAMPLES[25:], "two"), far(SAMPLES[:28], "three")
    router = RouterStore([checked(store) for store in stores])
    assert [plain_of(chunk) for _, chunk in router.get_many(IDS)] == [chunk.plain() for chunk in SAMPLES]
    assert [store.asked for store in stores] == [[IDS], [IDS[20:30]], [IDS[20:25]]]
    assert [store.gets for store in stores] == [[], [], []]


@pytest.mark.parametrize("near_first", [True, False])
def test_a_bad_chunk_comes_from_another_store_and_the_rest_goes_on(near_first: bool) -> None:
    stores: list[Store] = [far(damaged(), "bad"), far(SAMPLES, "good")]
    if near_first:
        stores[0] = memory(damaged(), "bad")
    found = RouterStore(list(map(checked, stores))).get_many(IDS)
    assert [plain_of(chunk) for _, chunk in found] == [chunk.plain() for chunk in SAMPLES]


@pytest.mark.parametrize("near_first", [True, False])
def test_a_chunk_that_is_bad_in_one_and_missing_in_the_other_is_invalid(near_first: bool) -> None:
    others = [*SAMPLES[:7], *SAMPLES[8:]]
    stores: list[Store] = [far(damaged(), "bad"), far(others)]
    if near_first:
        stores[0] = memory(damaged(), "bad")
    stream = RouterStore(list(map(checked, stores))).get_many(IDS)
    for chunk in SAMPLES[:7]:
        assert plain_of(next(stream)[1]) == chunk.plain()
    with pytest.raises(ChunkInvalid) as caught:
        next(stream)
    assert caught.value.where == "bad"


def test_a_chunk_missing_everywhere_names_all_stores() -> None:
    stores = [checked(memory(SAMPLES, "near")), checked(far(SAMPLES, "one")), checked(far(SAMPLES, "two"))]
    found = dict(RouterStore(stores).get_many([IDS[0], absent(), IDS[1]]))
    assert str(found[absent()]) == f"Chunk {absent()} is missing from near, one, two"
    assert isinstance(found[absent()], ChunkMissing)


def test_a_chunk_that_went_from_the_near_store_meanwhile_is_fetched() -> None:
    near, store = memory(SAMPLES[:10]), far(SAMPLES)
    stream = RouterStore([checked(near), checked(store)]).get_many(IDS)
    near.remove(IDS[4])
    assert [plain_of(chunk) for _, chunk in stream] == [chunk.plain() for chunk in SAMPLES]
    assert store.gets == [IDS[4]]


@pytest.mark.parametrize("near", [True, False])
def test_long_lists_go_in_windows_two_of_which_are_open(near: bool) -> None:
    ids: list[ChunkId] = IDS * 100
    store = far(SAMPLES[30:] if near else SAMPLES[:30])
    others = checked(memory(SAMPLES[:30])) if near else checked(far(SAMPLES[30:]))
    router = RouterStore([others, checked(store)] if near else [checked(store), others])
    stream = router.get_many(ids)
    assert len(store.asked) == 2
    most = 0
    counts: Counter[ChunkId] = Counter()
    for chunk_id, found in stream:
        assert isinstance(found, Chunk)
        counts[chunk_id] += 1
        most = max(most, store.open_streams)
    assert counts == Counter(ids)
    assert most == 2
    assert all(len(asked) <= 1024 for asked in store.asked)
    assert store.open_streams == 0


def test_whether_a_store_is_pipelined_shows_through_what_is_around_it() -> None:
    assert checked(far([])).pipelined
    assert not checked(memory([])).pipelined
    assert RouterStore([checked(memory([])), checked(far([]))]).pipelined
    assert not RouterStore([checked(memory([]))]).pipelined
