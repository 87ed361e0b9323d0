"""The server's read-ahead: order, urgency, one answer for each id, bounded memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import ChunkInvalid
from casync_py.peer.chunk_reader import ChunkReader
from casync_py.protocol.messages import ChunkData, Missing
from casync_py.store.chunk import Chunk
from casync_py.store.memory import MemoryStore
from casync_py.testing.store_contract import absent, sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.ids import ChunkId

SAMPLES = [sample(number, 100) for number in range(300)]
IDS = [chunk.chunk_id for chunk in SAMPLES]


class GatedStore(MemoryStore):
    """Reading waits until `gate` is open."""

    def __init__(self, size: int = 100) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.began = threading.Semaphore(0)
        self.gets: list[ChunkId] = []
        self._size = size

    def get(self, chunk_id: ChunkId, limit: int = 0) -> Chunk:
        self.gets.append(chunk_id)
        self.began.release()
        self.gate.wait()
        return Chunk(chunk_id, plain=bytes(self._size)) if chunk_id in IDS else super().get(chunk_id)


class Reading:
    """A reader, and whoever takes its answers."""

    def __init__(self, store: MemoryStore) -> None:
        self.notices: list[str] = []
        self._woken = threading.Semaphore(0)
        self.reader = ChunkReader(store, self._woken.release, self.notices.append)

    def take(self, count: int) -> list[ChunkData | Missing]:
        answers: list[ChunkData | Missing] = []
        while len(answers) < count:
            answer = self.reader.next_answer()
            if answer is not None:
                answers.append(answer)
            else:
                assert self._woken.acquire(timeout=20)
        return answers


@pytest.fixture
def gated() -> Iterator[tuple[GatedStore, Reading]]:
    store = GatedStore()
    reading = Reading(store)
    yield store, reading
    store.gate.set()
    reading.reader.close()


def test_answers_come_in_the_order_of_the_requests(gated: tuple[GatedStore, Reading]) -> None:
    store, reading = gated
    store.gate.set()
    for start in range(0, 300, 30):
        reading.reader.request(IDS[start : start + 30], urgent=False)
    assert [answer.chunk_id for answer in reading.take(300)] == IDS
    assert reading.reader.next_answer() is None


def test_what_is_urgent_overtakes_what_waits(gated: tuple[GatedStore, Reading]) -> None:
    store, reading = gated
    reading.reader.request(IDS, urgent=False)
    for _ in range(2):  # both threads have begun
        assert store.began.acquire(timeout=20)
    begun = set(store.gets)
    reading.reader.request([IDS[250], absent()], urgent=True)
    store.gate.set()
    order = [answer.chunk_id for answer in reading.take(301)]
    assert sorted(order) == sorted([*IDS, absent()])
    assert len(set(order)) == 301
    assert order.index(IDS[250]) <= 32  # behind the two batches that were begun, before 268 others
    assert len(begun) == 2


def test_an_id_that_waits_is_answered_once_and_later_again(gated: tuple[GatedStore, Reading]) -> None:
    store, reading = gated
    reading.reader.request(IDS[:3], urgent=False)
    reading.reader.request(IDS[:3], urgent=False)
    reading.reader.request(IDS[:2], urgent=True)
    store.gate.set()
    assert sorted(answer.chunk_id for answer in reading.take(3)) == sorted(IDS[:3])
    reading.reader.request(IDS[:1], urgent=False)
    assert [answer.chunk_id for answer in reading.take(1)] == IDS[:1]
    assert reading.reader.next_answer() is None


def test_what_nobody_sends_is_not_read_without_end() -> None:
    store = GatedStore(1 << 20)
    store.gate.set()
    reading = Reading(store)
    reading.reader.request(IDS, urgent=False)
    while store.began.acquire(timeout=0.3):
        pass
    assert 8 <= len(store.gets) <= 8 + 2
    reading.take(4)
    while store.began.acquire(timeout=0.3):
        pass
    assert 12 <= len(store.gets) <= 12 + 2
    reading.reader.close()


def test_a_failure_is_raised_behind_what_was_read() -> None:
    class Failing(MemoryStore):
        def get(self, chunk_id: ChunkId, limit: int = 0) -> Chunk:
            if chunk_id == IDS[5]:
                raise PermissionError(13, "Permission denied", "x")
            return Chunk(chunk_id, plain=b"x")

    reading = Reading(Failing())
    reading.reader.request(IDS[:10], urgent=False)
    assert [answer.chunk_id for answer in reading.take(5)] == IDS[:5]
    with pytest.raises(PermissionError):
        reading.take(1)
    reading.reader.close()


def test_a_chunk_in_an_unusable_form_is_missing_and_noticed() -> None:
    class Broken(MemoryStore):
        def get(self, chunk_id: ChunkId, limit: int = 0) -> Chunk:
            raise ChunkInvalid(chunk_id, "It is no regular file", "/srv/s/1")

    reading = Reading(Broken())
    reading.reader.request(IDS[:1], urgent=False)
    assert reading.take(1) == [Missing(IDS[0])]
    reading.reader.close()
    assert reading.notices == [f"Chunk {IDS[0]} in /srv/s/1 is invalid: It is no regular file"]
