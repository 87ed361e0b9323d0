"""The chunks that someone wants from the other end of a pull, and those that it sent lately."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, TypeAlias

from casync_py.compression import MAX_CHUNK_SIZE, stored_limit
from casync_py.errors import ChunkInvalid, PeerError
from casync_py.protocol.messages import REQUEST_IDS_MAX, ChunkData, Missing, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from casync_py.ids import ChunkId

Answer: TypeAlias = "ChunkData | Missing | ChunkInvalid"

KEPT_SIZE = 32 << 20  # stored bytes, for an end that answers each id once
KEPT_SIZE_DIALECT = 8 << 20  # for one that can be asked again: what repeats often, such as a chunk of zeros
_SMALL = 256  # bytes that an answer takes beside its data
_DISORDER = 32 << 20  # bytes that may come beyond the budgets before what somebody waits for


class Slot:
    """A chunk that someone wants.

    Attributes:
        answer: what came, None while nothing has.
        limit: most bytes that its data may have.
        users: how many times it is wanted.
        asked: whether it was requested.
    """

    __slots__ = ("answer", "asked", "chunk_id", "limit", "users")

    def __init__(self, chunk_id: ChunkId, limit: int) -> None:
        self.chunk_id = chunk_id
        self.limit = limit
        self.users = 1
        self.asked = False
        self.answer: Answer | None = None


class Wanted:
    """Bookkeeping of what is wanted, requested and here. Not thread-safe: the puller's lock guards it.

    Attributes:
        held: bytes that came and that someone still wants.
        room: bytes that may come unread, the sum of the budgets of all who want something.
        renew: the other end answers each id once, and something that it answered is wanted again: a new session is due.
        kept_limit: bytes of the answers that are kept when nobody wants them any more.
    """

    def __init__(self) -> None:
        self.held = 0
        self.room = 0
        self.renew = False
        self.kept_limit = KEPT_SIZE
        self._slots: dict[ChunkId, Slot] = {}
        self._urgent: deque[ChunkId] = deque()
        self._ordinary: deque[ChunkId] = deque()
        self._kept: OrderedDict[ChunkId, ChunkData | Missing] = OrderedDict()
        self._kept_size = 0

    def want(self, ids: Iterable[ChunkId], limit: int, *, urgent: bool = False) -> list[Slot]:
        """Want chunks, each with its `release` to follow; those that are not here are put into the queue.

        Args:
            limit: most bytes that a plain chunk may have.
        """
        most = stored_limit(min(limit, MAX_CHUNK_SIZE))
        queue = self._urgent if urgent else self._ordinary
        wanted = []
        for chunk_id in ids:
            slot = self._slots.get(chunk_id)
            if slot is not None:
                slot.users += 1
                if urgent and slot.answer is None:
                    queue.append(chunk_id)
            else:
                slot = self._slots[chunk_id] = Slot(chunk_id, most)
                if (kept := self._kept.pop(chunk_id, None)) is not None:
                    self._kept_size -= _size(kept)
                    self._answer(slot, kept)
                else:
                    queue.append(chunk_id)
            wanted.append(slot)
        return wanted

    def release(self, slot: Slot) -> None:
        """Want it no more; the answer is kept for a while."""
        slot.users -= 1
        if slot.users:
            return
        del self._slots[slot.chunk_id]
        if slot.answer is not None:
            self.held -= _size(slot.answer)
            if not isinstance(slot.answer, ChunkInvalid):
                self._keep(slot.answer)

    def next_request(
        self, answered: Callable[[ChunkId], bool], *, may_ask: bool, most: int = REQUEST_IDS_MAX
    ) -> Request | None:
        """What to ask for next: urgent things first; None for nothing now.

        Args:
            answered: whether the other end has answered an id and will not do so again; see `renew`.
            may_ask: False: only what is urgent and was asked for before (which the other end then moves forward).
            most: ids at once; by default as many as one message takes.
        """
        for queue, urgent in ((self._urgent, True), (self._ordinary, False)):
            ids: list[ChunkId] = []
            while queue and len(ids) < most:
                slot = self._slots.get(queue[0])
                if slot is not None and slot.answer is None and (urgent or not slot.asked):
                    if not slot.asked and (not may_ask or self.renew or answered(slot.chunk_id)):
                        self.renew |= may_ask
                        break
                    slot.asked = True
                    ids.append(slot.chunk_id)
                queue.popleft()
            if ids:
                return Request(ids, urgent)
        return None

    def limit(self, ids: Iterable[ChunkId]) -> int:
        """Most bytes that any of some chunks may have, of those that are wanted still."""
        return max((slot.limit for chunk_id in ids if (slot := self._slots.get(chunk_id))), default=0)

    @property
    def asks(self) -> bool:
        """Whether there may be something to ask for."""
        return bool(self._ordinary or self._urgent)

    @property
    def asks_urgently(self) -> bool:
        """Whether some of it may be urgent."""
        return bool(self._urgent)

    def arrived(self, answer: Answer) -> None:
        """Take an answer; the bytes of a chunk are the caller's to give away."""
        slot = self._slots.get(answer.chunk_id)
        if slot is not None:
            self._answer(slot, answer)
        elif not isinstance(answer, ChunkInvalid):
            self._keep(answer)

    def check_order(self) -> None:
        """Check that what someone waits for does not stay out while everything else comes.

        Raises:
            PeerError: it does.
        """
        if self.held > self.room + _DISORDER:
            raise PeerError(f"Sent {self.held} bytes of chunks before one that was asked for earlier")

    def _answer(self, slot: Slot, answer: Answer) -> None:
        slot.answer = answer
        if isinstance(answer, ChunkData) and len(answer.data) > slot.limit:
            slot.answer = ChunkInvalid(slot.chunk_id, f"{len(answer.data)} bytes came, more than {slot.limit}")
        self.held += _size(slot.answer)

    def _keep(self, answer: ChunkData | Missing) -> None:
        self._kept[answer.chunk_id] = answer
        self._kept_size += _size(answer)
        while self._kept_size > self.kept_limit:
            self._kept_size -= _size(self._kept.popitem(last=False)[1])


def _size(answer: Answer) -> int:
    return _SMALL + len(answer.data) if isinstance(answer, ChunkData) else _SMALL
