"""Single flight: chunks from a store that is far away, each fetched once however many want it at once.

They are fetched by threads of this module in the order in which they were wanted, so that nobody waits for somebody
else who wanted a chunk first and is slow to take what comes.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

from casync_py.errors import ChunkInvalid, ChunkMissing, PeerError
from casync_py.store.windows import Answers, better

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from casync_py.ids import ChunkId
    from casync_py.store.base import Store
    from casync_py.store.chunk import Chunk
    from casync_py.store.windows import Answer

_BATCH = 256  # chunks that one thread asks for at once: 16 MiB of casync's default size
_THREADS = 4
_BUDGET = 8 << 20  # bytes that each of them may hold
_LOOK = 32  # chunks after which a thread looks whether the rest of its batch is still wanted


class Flight:
    """A chunk that is wanted.

    Attributes:
        users: how many want it.
        begun: it is being fetched, or was.
        chunk: what came, while it is not kept anywhere.
        error: why it did not come.
    """

    __slots__ = ("begun", "chunk", "chunk_id", "done", "error", "users")

    def __init__(self, chunk_id: ChunkId) -> None:
        self.chunk_id = chunk_id
        self.users = 0
        self.begun = False
        self.done = threading.Event()
        self.chunk: Chunk | None = None
        self.error: Exception | None = None


class SingleFlight:
    """The chunks that are wanted and on their way. Thread-safe."""

    def __init__(
        self,
        source: Store,
        keep: Callable[[Chunk], bool],
        has: Callable[[Sequence[ChunkId]], list[bool]],
        *,
        second: Store | None = None,
        name: str = "fetch",
    ) -> None:
        """Fetch nothing yet.

        Args:
            source: gives only what is verified; stays the caller's, and is closed before `close`.
            keep: stores a chunk where those who want it find it; whether it did. Thread-safe, raises nothing.
            has: tells which chunks are there by now: since somebody saw that they are not, another flight may have
                brought them. Thread-safe, raises nothing.
            second: asked for what `source` has not whole, and for what it lacks and `second.has_many` knows of.
            name: of the threads.
        """
        self._source = source
        self._keep = keep
        self._has = has
        self._second = second
        self._second_turn = threading.Lock()
        self._lock = threading.Lock()  # guards all that follows
        self._flights: dict[ChunkId, Flight] = {}
        self._queue: deque[Flight] = deque()
        self._working = 0
        self._closed = False
        self._threads = ThreadPoolExecutor(_THREADS, name)

    def __contains__(self, chunk_id: object) -> bool:
        """Whether somebody wants the chunk, or it is on its way."""
        return chunk_id in self._flights

    def want(self, ids: Iterable[ChunkId]) -> list[Flight]:
        """Want chunks, each with its `leave` to follow; those that nobody wanted before are fetched from now on.

        Raises:
            PeerError: it is closed.
        """
        with self._lock:
            wanted = [self._wanted(chunk_id, self._queue) for chunk_id in ids]
            more = min(_THREADS - self._working, -(-len(self._queue) // _BATCH))
            self._working += more
            for _ in range(more):
                self._threads.submit(self._work)
        return wanted

    def want_now(self, chunk_id: ChunkId) -> Flight:
        """Want a chunk that somebody waits for: unless it is on its way, it is fetched by the caller's thread.

        Raises:
            PeerError: it is closed.
        """
        with self._lock:
            flight = self._wanted(chunk_id, None)
            mine = not flight.begun
            flight.begun = True
        if mine:
            self._fetch_one(flight)
        return flight

    def _wanted(self, chunk_id: ChunkId, queue: deque[Flight] | None) -> Flight:
        if self._closed:
            raise PeerError("The store was closed", self._source.name)
        flight = self._flights.get(chunk_id)
        if flight is None:
            flight = self._flights[chunk_id] = Flight(chunk_id)
            if queue is not None:
                queue.append(flight)
        flight.users += 1
        return flight

    def wait(self, flight: Flight) -> Chunk | None:
        """Wait until a chunk is here; None: it was kept.

        Raises:
            ChunkMissing, ChunkInvalid: the source does not have it whole.
            PeerError, OSError: whatever the source raises.
        """
        flight.done.wait()
        if flight.error is not None:
            raise flight.error.with_traceback(None)
        return flight.chunk

    def leave(self, flights: Iterable[Flight]) -> None:
        """Want chunks no more."""
        with self._lock:
            for flight in flights:
                flight.users -= 1
                if not flight.users and (flight.done.is_set() or not flight.begun):
                    self._forget(flight)

    def _forget(self, flight: Flight) -> None:
        flight.chunk = None
        if self._flights.get(flight.chunk_id) is flight:
            del self._flights[flight.chunk_id]

    def _work(self) -> None:
        """Fetch what is wanted, in a thread, until nothing is."""
        while batch := self._next_batch():
            try:
                self._fetch(batch)
            except Exception as error:  # noqa: BLE001 - raised where somebody waits
                for flight in batch:
                    if not flight.done.is_set():
                        self._end(flight, None, error)

    def _next_batch(self) -> list[Flight]:
        batch: list[Flight] = []
        with self._lock:
            while self._queue and len(batch) < _BATCH:
                flight = self._queue.popleft()
                if flight.users and not flight.begun:
                    flight.begun = True
                    batch.append(flight)
            if not batch:
                self._working -= 1
        return batch

    def _fetch(self, batch: list[Flight]) -> None:
        batch = self._still_lacking(batch)
        refused: list[tuple[Flight, ChunkMissing | ChunkInvalid]] = []
        with closing(Answers(self._source, [flight.chunk_id for flight in batch], _BUDGET)) as answers:
            for place, flight in enumerate(batch):
                if not place % _LOOK and self._abandon(batch[place:]):
                    break
                answer = answers.next()
                if isinstance(answer, (ChunkMissing, ChunkInvalid)):
                    refused.append((flight, answer))
                else:
                    self._end(flight, answer, None)
        if refused:
            self._refused(refused)

    def _still_lacking(self, flights: list[Flight]) -> list[Flight]:
        """End those whose chunks were kept meanwhile; the others."""
        lacking = []
        for flight, there in zip(flights, self._has([flight.chunk_id for flight in flights]), strict=True):
            if there:
                self._end(flight, None, None)
            else:
                lacking.append(flight)
        return lacking

    def _abandon(self, flights: list[Flight]) -> bool:
        """Give up what nobody wants any more, if that is so of all of them."""
        with self._lock:
            if any(flight.users for flight in flights):
                return False
            for flight in flights:
                self._forget(flight)
                flight.done.set()
            return True

    def _fetch_one(self, flight: Flight) -> None:
        if not self._still_lacking([flight]):
            return
        try:
            chunk = self._source.get(flight.chunk_id)
        except (ChunkMissing, ChunkInvalid) as error:
            try:
                self._refused([(flight, error)])
            except Exception as other:  # noqa: BLE001 - raised where somebody waits
                self._end(flight, None, other)
        except Exception as error:  # noqa: BLE001 - the same
            self._end(flight, None, error)
        else:
            self._end(flight, chunk, None)

    def _refused(self, refused: list[tuple[Flight, ChunkMissing | ChunkInvalid]]) -> None:
        """Ask the second source for what the first one cannot give, one chunk at a time: they may be large."""
        second = self._second
        lacking = [flight.chunk_id for flight, error in refused if isinstance(error, ChunkMissing)]
        there = second.has_many(lacking) if second is not None and lacking else []
        absent = {chunk_id for chunk_id, has in zip(lacking, there, strict=False) if not has}
        for flight, error in refused:
            if second is None or flight.chunk_id in absent:
                self._end(flight, None, error)
                continue
            with self._second_turn:
                try:
                    answer: Answer = second.get(flight.chunk_id)
                except (ChunkMissing, ChunkInvalid) as other:
                    answer = better(error, other)
                if isinstance(answer, (ChunkMissing, ChunkInvalid)):
                    self._end(flight, None, answer)
                else:
                    self._end(flight, answer, None)

    def _end(self, flight: Flight, chunk: Chunk | None, error: Exception | None) -> None:
        if chunk is not None and self._keep(chunk):
            chunk = None
        with self._lock:
            flight.chunk = chunk
            flight.error = error
            flight.done.set()
            if error is not None or not flight.users:  # who comes later begins anew
                self._forget(flight)

    def close(self) -> None:
        """End the threads; whoever waits gets an error. Twice is fine."""
        with self._lock:
            self._closed = True
            left = [flight for flight in self._queue if not flight.begun]
            self._queue.clear()
        for flight in left:
            self._end(flight, None, PeerError("The store was closed", self._source.name))
        self._threads.shutdown()
