"""Which chunks a pusher keeps, and for how long."""

from __future__ import annotations

from casync_py.digest import SHA512_256
from casync_py.ids import ChunkId
from casync_py.peer.spool import Spool
from casync_py.store.chunk import Chunk


def chunk(number: int) -> Chunk:
    plain = b"%d" % number * 100
    return Chunk(ChunkId(SHA512_256.of(plain)), plain=plain)


CHUNKS = [chunk(number) for number in range(10)]
IDS = [each.chunk_id for each in CHUNKS]


def filled(count: int) -> Spool:
    spool = Spool()
    for each in CHUNKS[:count]:
        assert not spool.put(each, 100)
        spool.append(each.chunk_id)
    return spool


def held(spool: Spool) -> list[int]:
    return [number for number, there in enumerate(spool.holds(IDS)) if there]


def test_rows_that_were_looked_at_are_let_go() -> None:
    spool = filled(4)
    assert (held(spool), spool.in_doubt) == ([0, 1, 2, 3], 400)
    spool.examined(2)
    assert (held(spool), spool.in_doubt, spool.let_go.chunks) == ([2, 3], 200, 2)
    spool.examined(1)
    assert held(spool) == [2, 3]
    spool.examined(100)
    assert (held(spool), spool.in_doubt, spool.let_go.size) == ([], 0, 400)


def test_what_is_asked_for_leaves_and_lets_earlier_ones_go() -> None:
    spool = filled(5)
    assert spool.ask([IDS[3], IDS[1]]) == [(CHUNKS[3], 100), (CHUNKS[1], 100)]
    assert (held(spool), spool.in_doubt, spool.let_go.chunks) == ([4], 100, 2)
    assert not spool.wanted


def test_what_has_no_row_yet_may_be_asked_for() -> None:
    spool = filled(2)
    spool.put(CHUNKS[2], 100)
    spool.examined(2)
    assert (held(spool), spool.in_doubt) == ([2], 0)
    assert spool.ask([IDS[2]]) == [(CHUNKS[2], 100)]
    spool.append(IDS[2])
    assert (held(spool), spool.in_doubt, spool.rows) == ([], 0, 3)


def test_the_oldest_are_dropped_and_wanted_when_asked_for() -> None:
    spool = filled(5)
    spool.drop(250)
    assert (held(spool), spool.in_doubt) == ([3, 4], 200)
    assert spool.ask([IDS[1], IDS[3]]) == [(CHUNKS[3], 100)]
    assert spool.wanted == {IDS[1]}
    assert not spool.put_again(CHUNKS[0])
    assert spool.put_again(CHUNKS[1])
    assert not spool.put_again(CHUNKS[1])
    assert (held(spool), spool.wanted) == ([4], set())


def test_a_wanted_chunk_that_comes_again_by_itself_is_sent() -> None:
    spool = filled(2)
    spool.drop(0)
    spool.ask([IDS[0]])
    assert spool.put(CHUNKS[0], 100)
    assert (held(spool), spool.wanted) == ([], set())


def test_a_repeated_chunk_stays_for_its_first_row() -> None:
    spool = filled(2)
    spool.append(IDS[0])
    spool.examined(1)
    assert held(spool) == [1]
    spool.put(CHUNKS[0], 100)  # the row that it had came before it was let go
    spool.append(IDS[0])
    spool.examined(3)
    assert (held(spool), spool.in_doubt) == ([0], 100)
    spool.examined(4)
    assert (held(spool), spool.in_doubt) == ([], 0)


def test_a_place_in_the_order_does_not_outlive_its_chunk() -> None:
    spool = filled(2)
    spool.ask([IDS[0]])
    spool.put(CHUNKS[0], 100)
    spool.append(IDS[0])
    spool.examined(2)
    assert (held(spool), spool.in_doubt) == ([0], 100)


def test_each_chunk_that_was_put_is_counted_once() -> None:
    spool = filled(3)
    spool.put(CHUNKS[0], 100)
    assert (spool.put_first.chunks, spool.put_first.size) == (4, 400)
    spool.examined(3)
    assert spool.let_go.chunks == 4
