"""Which store of several answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from casync_py.digest import SHA512_256
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.store.memory import MemoryStore
from casync_py.store.router import RouterStore
from casync_py.store.verify import Verified
from casync_py.testing.recording import RecordingStore
from casync_py.testing.store_contract import absent, sample

if TYPE_CHECKING:
    from pathlib import Path

GOOD = sample(1)
BAD = Chunk(GOOD.chunk_id, plain=b"something else")


def holding(*chunks: Chunk, name: str = "memory") -> RecordingStore:
    store = MemoryStore(name)
    for chunk in chunks:
        store.put(chunk)
    return RecordingStore(store)


def routed(*stores: RecordingStore) -> RouterStore:
    return RouterStore([Verified(store, [SHA512_256]) for store in stores])


def test_the_first_that_has_it_answers_and_later_ones_are_not_asked() -> None:
    stores = [holding(), holding(GOOD), holding(GOOD)]
    assert routed(*stores).get(GOOD.chunk_id).plain() == GOOD.plain()
    assert [len(store.gets) for store in stores] == [1, 1, 0]


def test_a_bad_chunk_is_fetched_from_the_next_store() -> None:
    assert routed(holding(BAD), holding(), holding(GOOD)).get(GOOD.chunk_id).plain() == GOOD.plain()


def test_a_chunk_that_is_bad_wherever_it_is_there_is_invalid() -> None:
    with pytest.raises(ChunkInvalid) as caught:
        routed(holding(name="one"), holding(BAD, name="two"), holding(BAD, name="three")).get(GOOD.chunk_id)
    assert caught.value.where == "two"


def test_a_chunk_missing_everywhere_names_all_stores() -> None:
    with pytest.raises(ChunkMissing) as caught:
        routed(holding(name="one"), holding(name="two")).get(absent())
    assert str(caught.value) == f"Chunk {absent()} is missing from one, two"


def test_trouble_on_the_way_is_not_taken_for_missing(tmp_path: Path) -> None:
    path = tmp_path / "s.castr"
    with LocalStore(path, create=True) as store:
        store.put(GOOD)
        store.flush()
        (path / str(GOOD.chunk_id)[:4]).rename(path / "away")
        (path / str(GOOD.chunk_id)[:4]).write_bytes(b"")
        router = RouterStore([store, holding(GOOD)])
        with pytest.raises(NotADirectoryError):
            router.get(GOOD.chunk_id)
        stream = router.get_many([GOOD.chunk_id])
        with pytest.raises(NotADirectoryError):
            next(stream)


def test_has_many_asks_each_store_only_for_what_those_before_lack() -> None:
    other = sample(2)
    stores = [holding(GOOD), holding(GOOD, other), holding(GOOD, other)]
    ids = [absent(), GOOD.chunk_id, other.chunk_id]
    assert routed(*stores).has_many(ids) == [False, True, True]
    assert [store.asked for store in stores] == [ids, [absent(), other.chunk_id], [absent()]]
    assert routed(*stores).has_many([GOOD.chunk_id]) == [True]


def test_get_many_routes_each_chunk() -> None:
    other = sample(2)
    router = routed(holding(BAD, other), holding(GOOD))
    found = dict(router.get_many([GOOD.chunk_id, absent(), other.chunk_id]))
    assert isinstance(found[absent()], ChunkMissing)
    for chunk in (GOOD, other):
        answer = found[chunk.chunk_id]
        assert isinstance(answer, Chunk)
        assert answer.plain() == chunk.plain()


def test_close_closes_all() -> None:
    stores = [holding(), holding()]
    routed(*stores).close()
    assert all(store.closed for store in stores)
