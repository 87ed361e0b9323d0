"""The other end of a pull as a store: many chunks are asked for at once and come in the order of need."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.protocol.messages import ChunkData, Missing
from casync_py.store.base import DEFAULT_BUDGET
from casync_py.store.chunk import Chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.ids import ChunkId
    from casync_py.peer.exchange import Exchange
    from casync_py.peer.wanted import Slot

    Item = tuple[ChunkId, Chunk | ChunkMissing]

_USUAL_CHUNK = 64 << 10  # casync's default average
_AHEAD_MAX = 16384  # chunks that one stream has asked for


class PullStore:
    """The chunks that the other end has. Thread-safe; none of them is verified here.

    Attributes:
        name: of the store there.
        pipelined: True; see `is_pipelined`.
    """

    pipelined = True

    def __init__(self, exchange: Exchange, name: str) -> None:
        self.name = name
        self._exchange = exchange

    def get(self, chunk_id: ChunkId, limit: int = MAX_CHUNK_SIZE) -> Chunk:
        """Return the chunk, asked for before everything that only may be needed later: one round trip.

        Raises:
            ChunkMissing: the other end does not have it.
            ChunkInvalid: it is too large.
            PeerError: the other end failed.
        """
        exchange = self._exchange
        with exchange.lock:
            (slot,) = exchange.wanted.want([chunk_id], limit, urgent=True)
            exchange.wake()
            try:
                exchange.wait_until(lambda: slot.answer is not None)
                found = _found(slot, self.name)
            finally:
                exchange.wanted.release(slot)
        if isinstance(found, ChunkMissing):
            raise found
        return found

    def get_many(self, ids: Sequence[ChunkId], budget: int = DEFAULT_BUDGET, limit: int = MAX_CHUNK_SIZE) -> PullStream:
        """Ask ahead; the first requests go out at once."""
        return PullStream(self._exchange, self.name, ids, budget, limit)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell for each id whether it is there: casync's protocol can only fetch it."""
        stream = self.get_many(ids)
        try:
            return [not isinstance(found, ChunkMissing) for _, found in stream]
        finally:
            stream.close()

    def close(self) -> None:
        """Nothing: the connection belongs to the puller."""


class PullStream:
    """Chunks on their way from the other end, in the order of `ids`."""

    def __init__(self, exchange: Exchange, name: str, ids: Sequence[ChunkId], budget: int, limit: int) -> None:
        self._exchange = exchange
        self._name = name
        self._ids = ids
        self._budget = max(1, budget)
        self._limit = limit
        # What `--chunk-size` makes of the limit; small chunks are no promise that those which follow are small too
        usual = limit // 4 if limit < MAX_CHUNK_SIZE else _USUAL_CHUNK
        self._least = max(1, usual // 2)
        self._mean = usual  # running mean of what comes, in bytes
        self._asked = 0  # ids that were asked for
        self._slots: deque[Slot] = deque()  # those of them that were not taken
        self._open = True
        with exchange.lock:
            exchange.wanted.room += self._budget
            self._ask()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        exchange = self._exchange
        with exchange.lock:
            if not self._slots:
                self._end()
                raise StopIteration
            first = self._slots[0]
            exchange.wait_until(lambda: first.answer is not None)
            return self._take(1)[0]

    def ready(self, count: int) -> list[Item]:
        """At most `count` of the next chunks, as far as they have come."""
        exchange = self._exchange
        with exchange.lock:
            items = self._take(count)
            if not items and self._slots and exchange.failure is not None:
                raise exchange.failure.with_traceback(None)
            return items

    def close(self) -> None:
        """Want nothing more; what was asked for will still come, and is kept for a while."""
        with self._exchange.lock:
            self._end()

    def _take(self, count: int) -> list[Item]:
        slots = self._slots
        wanted = self._exchange.wanted
        items: list[Item] = []
        while slots and len(items) < count and slots[0].answer is not None:
            slot = slots[0]
            if isinstance(slot.answer, ChunkInvalid):
                if items:
                    break  # raised at its place: the next time
                self._end()
                raise _with_place(slot.answer, self._name)
            slots.popleft()
            found = _found(slot, self._name)
            items.append((slot.chunk_id, found))
            wanted.release(slot)
            if not isinstance(found, ChunkMissing):
                self._mean += (found.memory - self._mean) // 16
        if items:
            self._ask()
            self._exchange.taken()
        return items

    def _ask(self) -> None:
        """Ask for more, but not for each chunk that was taken: an eighth of all that may be under way at once."""
        left = len(self._ids) - self._asked
        ahead = max(1, min(self._budget // max(self._least, self._mean), _AHEAD_MAX))
        count = min(left, ahead - len(self._slots))
        if count <= 0 or (count < left and count < ahead // 8):
            return
        ids = self._ids[self._asked : self._asked + count]
        self._asked += count
        self._slots.extend(self._exchange.wanted.want(ids, self._limit))
        self._exchange.wake()

    def _end(self) -> None:
        if not self._open:
            return
        self._open = False
        self._asked = len(self._ids)
        wanted = self._exchange.wanted
        for slot in self._slots:
            wanted.release(slot)
        self._slots.clear()
        wanted.room -= self._budget
        self._exchange.taken()


def _found(slot: Slot, name: str) -> Chunk | ChunkMissing:
    """What came for a slot.

    Raises:
        ChunkInvalid: it is too large.
    """
    answer = slot.answer
    if isinstance(answer, ChunkData):
        data = answer.data
        assert isinstance(data, bytes)
        return Chunk(slot.chunk_id, stored=data) if answer.compressed else Chunk(slot.chunk_id, plain=data)
    if isinstance(answer, Missing):
        return ChunkMissing(slot.chunk_id, name)
    assert answer is not None
    raise _with_place(answer, name)


def _with_place(error: ChunkInvalid, name: str) -> ChunkInvalid:
    return ChunkInvalid(error.chunk_id, error.reason, name)
