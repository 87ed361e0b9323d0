"""Threads that get over HTTP what an exchange wants: the counterpart of a connection's driver."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from casync_py.peer.workers import join_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.ids import ChunkId
    from casync_py.peer.exchange import Exchange
    from casync_py.peer.wanted import Answer
    from casync_py.remotes.http.getting import Way

PATIENCE_S = 1.0  # for threads that are to end: nothing ends the look-up of a host, or a connection that is being made
_URGENT = 2  # threads that are there for what is urgent alone


class Fetcher:
    """Drives one exchange until it fails or is stopped. Threads come as there is work for them."""

    def __init__(self, exchange: Exchange, make_way: Callable[[threading.Event], Way]) -> None:
        """Start the first thread.

        Args:
            make_way: called in it; gets an event that is set by `stop`.
        """
        self._exchange = exchange
        self._make_way = make_way
        self._way: Way | None = None
        self._stopped = threading.Event()
        self._work = threading.Condition(exchange.lock)  # there is something to ask for, or room
        self._idle = 0
        self._resting = 0  # threads that wait for room in the middle of something
        self._jobs: dict[_Job, None] = {}  # that run, the oldest first
        self._under_way: set[ChunkId] = set()
        self._threads: list[threading.Thread] = []
        exchange.attach(self)
        with exchange.lock:
            self._start()

    def wake(self) -> None:
        """There is something new to ask for, or room."""
        with self._exchange.lock:
            self._work.notify_all()
            self._start_if_due()

    def stop(self) -> None:
        """Ask for nothing more; what is under way ends with the connections that it uses."""
        self._stopped.set()
        self.wake()

    def join(self) -> None:
        """Wait for the end of what is under way, after `stop`, but not for long."""
        join_all(list(self._threads), PATIENCE_S)

    @property
    def alive(self) -> bool:
        """Whether a thread has not ended."""
        return any(thread.is_alive() for thread in self._threads)

    @property
    def over(self) -> bool:
        """Whether no more is fetched."""
        return self._stopped.is_set() or self._exchange.failure is not None

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"casync-http-fetch_{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _start_if_due(self) -> None:
        """One more thread where all are busy and there is more to ask for; what is urgent waits for none of them."""
        wanted, way = self._exchange.wanted, self._way
        if self._idle or way is None or not wanted.asks or self.over:
            return
        if len(self._threads) < way.threads + (_URGENT if wanted.asks_urgently else 0):
            self._start()

    def _run(self) -> None:
        try:
            if self._way is None:
                self._way = self._make_way(self._stopped)
            while (job := self._next(self._way)) is not None:
                try:
                    self._way.fetch(job.ids, job)
                finally:
                    self._done(job)
        except BaseException as error:  # noqa: BLE001 - raised where someone waits for what does not come
            self._exchange.fail(error if isinstance(error, Exception) else RuntimeError(str(error)))
            self.stop()

    def _next(self, way: Way) -> _Job | None:
        exchange = self._exchange
        wanted = exchange.wanted
        with exchange.lock:
            while not self.over:
                if exchange.may_fetch(others=bool(self._jobs)):
                    request = wanted.next_request(_never, may_ask=True, most=way.most)
                    if request is not None:
                        ids = [chunk_id for chunk_id in request.ids if chunk_id not in self._under_way]
                        if ids:
                            return self._begin(ids)
                        continue
                self._idle += 1
                try:
                    self._work.wait()
                finally:
                    self._idle -= 1
        return None

    def _begin(self, ids: list[ChunkId]) -> _Job:
        job = _Job(self, ids, self._exchange.wanted.limit(ids))
        self._jobs[job] = None
        self._under_way.update(ids)
        self._start_if_due()
        return job

    def _done(self, job: _Job) -> None:
        with self._exchange.lock:
            del self._jobs[job]
            self._under_way.difference_update(job.ids)
            if self._resting:
                self._work.notify_all()

    # For jobs.

    def arrived(self, answer: Answer) -> None:
        self._exchange.arrived(answer)

    def wait_for_room(self, job: _Job) -> bool:
        exchange = self._exchange
        with exchange.lock:
            while not self.over:
                if exchange.may_fetch(others=next(iter(self._jobs)) is not job):
                    if self._resting:
                        self._work.notify_all()
                    return True
                self._resting += 1
                try:
                    self._work.wait()
                finally:
                    self._resting -= 1
        return False


class _Job:
    """Chunks that one thread gets; a `Take` for the way that gets them."""

    __slots__ = ("_fetcher", "arrived", "ids", "limit")

    def __init__(self, fetcher: Fetcher, ids: list[ChunkId], limit: int) -> None:
        self.ids = ids
        self.limit = limit
        self.arrived = fetcher.arrived
        self._fetcher = fetcher

    def wait_for_room(self) -> bool:
        return self._fetcher.wait_for_room(self)


def _never(_chunk_id: ChunkId) -> bool:
    """Whoever is asked over HTTP answers as often as asked."""
    return False
