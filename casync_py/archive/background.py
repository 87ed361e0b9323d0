"""Work that is done in order by a thread of its own, while the caller goes on to what follows."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Task = tuple[Callable[[], object], Callable[[], object] | None]


class Background:
    """Runs what it is given, one after the other.

    Whoever is more than `limit` ahead waits until half of that is done: waiting for single tasks would cost both
    threads a wake-up for each. After the first task that fails, the others are not run; its exception is raised by the
    next call.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._given = 0
        self._done = 0
        self._awaited = 0  # number of tasks whose end somebody waits for
        self._reached = threading.Event()
        self._error: BaseException | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], object], always: Callable[[], object] | None = None) -> None:
        """Run `work` after all that was given before, then `always`, the latter even where `work` is not run.

        Raises:
            BaseException: what an earlier task raised; `always` has been called then.
        """
        if self._error is not None:
            if always is not None:
                always()
            raise self._error
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="casync-background", daemon=True)
            self._thread.start()
        self._given += 1
        self._tasks.put((work, always))
        if self._given - self._done > self._limit:
            self._wait(self._given - self._limit // 2)

    def drain(self) -> None:
        """Wait for all that was given.

        Raises:
            BaseException: what a task raised.
        """
        self._wait(self._given)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Leave out what has not begun, and end the thread; twice is fine."""
        self._stopped = True
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join()
            self._thread = None

    def _wait(self, number: int) -> None:
        # In this order: the thread compares after it has counted, so one of both sees what the other has done. It may
        # yet have compared with an earlier number, and wake us for that: hence the loop.
        self._awaited = number
        while self._done < number:
            self._reached.clear()
            if self._done < number:
                self._reached.wait()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            work, always = task
            if self._error is None and not self._stopped:
                self._call(work)
            if always is not None:
                self._call(always)
            del task, work, always  # what they hold must not outlive them
            self._done += 1
            if self._done >= self._awaited:
                self._reached.set()

    def _call(self, function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised again where the caller is
            if self._error is None:
                self._error = error
