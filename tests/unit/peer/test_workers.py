"""Threads that work off a queue."""

from __future__ import annotations

import threading

from casync_py.peer.workers import Workers


def test_everything_is_worked_off_by_several_threads() -> None:
    meeting = threading.Barrier(3, timeout=20)
    finished = threading.Semaphore(0)
    done: list[int] = []

    def work(item: int) -> None:
        if item < 3:
            meeting.wait()
        done.append(item)
        finished.release()

    workers = Workers(work, print, 3, "test")
    for item in range(100):
        workers.give(item)
    assert all(finished.acquire(timeout=20) for _ in range(100))
    workers.close()
    assert sorted(done) == list(range(100))


def test_a_failure_is_told_and_the_thread_goes_on() -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def work(item: int) -> None:
        if item == 0:
            raise ValueError("zero")
        done.set()

    workers = Workers(work, failures.append, 1, "test")
    workers.give(0)
    workers.give(1)
    assert done.wait(20)
    workers.close()
    assert [str(error) for error in failures] == ["zero"]


def test_closing_drops_what_waits_and_finishes_what_runs() -> None:
    running, may_end = threading.Event(), threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        running.set()
        assert may_end.wait(20)
        done.append(item)

    class Thread:
        """Is waited for when the queue has been emptied."""

        def join(self) -> None:
            may_end.set()
            thread.join()

    workers = Workers(work, print, 1, "test")
    (thread,) = workers._threads
    workers._threads = [Thread()]  # type: ignore[list-item]
    for item in range(10):
        workers.give(item)
    assert running.wait(20)
    workers.close()
    workers.close()
    assert done == [0]
