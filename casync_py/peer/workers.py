"""A few threads that work off one queue: a tenth of what a future for each item costs."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")


class Workers(Generic[Item]):
    """Threads that call `work` with each item that is given, in about that order.

    Whoever gives bounds what waits: the queue has no limit of its own.
    """

    def __init__(
        self,
        work: Callable[[Item], None],
        failed: Callable[[BaseException], None],
        jobs: int,
        name: str,
        *,
        patience_s: float | None = None,
    ) -> None:
        """Start the threads.

        Args:
            failed: called with what `work` raises, in its thread; the thread goes on with the next item.
            patience_s: how long `close` waits for what is being worked on, where that may be something that cannot be
                ended, such as the look-up of a host; None: until it is done.
        """
        self._work = work
        self._failed = failed
        self._patience_s = patience_s
        self._queue: SimpleQueue[tuple[Item] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}_{number}", daemon=patience_s is not None)
            for number in range(max(1, jobs))
        ]
        for thread in self._threads:
            thread.start()

    def give(self, item: Item) -> None:
        """Queue an item; thread-safe, never waits."""
        self._queue.put((item,))

    def close(self) -> None:
        """Drop what waits, finish what is being worked on, end the threads; twice is fine."""
        try:
            while True:
                self._queue.get_nowait()
        except Empty:
            pass
        for _thread in self._threads:
            self._queue.put(None)
        join_all(self._threads, self._patience_s)

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            try:
                self._work(entry[0])
            except BaseException as error:  # noqa: BLE001 - told to whoever waits for the work
                self._failed(error)
            del entry


def join_all(threads: Iterable[threading.Thread], patience_s: float | None) -> None:
    """Wait until all of them have ended, or for so many seconds together."""
    until = None if patience_s is None else time.monotonic() + patience_s
    for thread in threads:
        if until is None:
            thread.join()
        else:
            thread.join(max(0.0, until - time.monotonic()))
