"""Work in a thread of its own: in order, bounded, stopped by the first error, and waited for."""

from __future__ import annotations

import sys
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 30  # which nothing here takes unless it hangs


@pytest.fixture
def start() -> Iterator[Callable[[int], Background]]:
    """Makes what is closed at the end."""
    made: list[Background] = []

    def make(limit: int = 8) -> Background:
        made.append(Background(limit))
        return made[-1]

    yield make
    for background in made:
        background.close()


@pytest.fixture
def eager_switching() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def fail(error: BaseException) -> None:
    raise error


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "casync-background"]


def test_order_and_thread(start: Callable[[int], Background]) -> None:
    background = start(8)
    ran: list[object] = []
    for number in range(100):
        background.submit(partial(ran.append, number), partial(ran.append, str(number)))
    background.submit(lambda: ran.append(threading.get_ident()))
    background.drain()
    assert ran.pop() != threading.get_ident()
    assert ran == [item for number in range(100) for item in (number, str(number))]


def test_nothing_given(start: Callable[[int], Background]) -> None:
    background = start(8)
    background.drain()
    background.close()
    assert threads() == []


@pytest.mark.parametrize("limit", [0, 1, 2, 128])
def test_many_quick_tasks(start: Callable[[int], Background], eager_switching: None, limit: int) -> None:
    background = start(limit)
    ran: list[int] = []
    for number in range(10_000 if limit else 1000):
        background.submit(partial(ran.append, number))
    background.drain()
    assert ran == list(range(len(ran)))
    assert len(ran) == (10_000 if limit else 1000)


def test_draining_again_and_again(start: Callable[[int], Background], eager_switching: None) -> None:
    background = start(8)
    ran: list[int] = []
    for number in range(3000):
        background.submit(partial(ran.append, number))
        background.submit(partial(ran.append, number))
        background.drain()
        assert len(ran) == 2 * number + 2


def test_a_task_that_ends_while_draining_begins_is_not_taken_for_the_last(
    start: Callable[[int], Background],
) -> None:
    """Its end may be told of an earlier number than the one that is waited for by now."""
    background = start(8)
    telling, cleared = threading.Event(), threading.Event()
    ran: list[int] = []

    class Late(threading.Event):
        def clear(self) -> None:
            super().clear()
            cleared.set()

        def set(self) -> None:
            telling.set()
            cleared.wait(SECONDS)
            super().set()

    background._reached = Late()
    background.submit(int)
    assert telling.wait(SECONDS)
    background.submit(partial(threading.Event().wait, 0.1), partial(ran.append, 2))
    background.drain()
    assert ran == [2]


def test_the_first_error_stops_the_rest_and_is_raised_by_every_call(start: Callable[[int], Background]) -> None:
    background = start(8)
    ran: list[str] = []
    begin = threading.Event()
    background.submit(begin.wait, partial(ran.append, "always 0"))
    error = OSError(5, "First")
    background.submit(partial(fail, error), partial(ran.append, "always 1"))
    background.submit(partial(ran.append, "not this"), partial(ran.append, "always 2"))
    background.submit(partial(fail, ValueError("second")))
    begin.set()
    with pytest.raises(OSError, match="First") as drained:
        background.drain()
    assert drained.value is error
    assert ran == ["always 0", "always 1", "always 2"]
    with pytest.raises(OSError, match="First") as submitted:
        background.submit(partial(ran.append, "nor this"), partial(ran.append, "always 3"))
    assert submitted.value is error
    with pytest.raises(OSError, match="First"):
        background.submit(partial(ran.append, "nor this"))
    with pytest.raises(OSError, match="First"):
        background.drain()
    assert ran == ["always 0", "always 1", "always 2", "always 3"]


def test_an_error_while_the_caller_waits_for_room_is_raised_by_the_next_call(
    start: Callable[[int], Background],
) -> None:
    background = start(1)
    closed: list[int] = []

    def give() -> None:
        for number in range(10):
            background.submit(partial(fail, KeyError(number)), partial(closed.append, number))

    with pytest.raises(KeyError):
        give()
    assert closed == list(range(len(closed)))
    assert 2 <= len(closed) < 10


def test_an_error_in_what_is_always_done_is_no_end_of_the_thread(start: Callable[[int], Background]) -> None:
    background = start(8)
    background.submit(int, partial(fail, OSError(5, "Closing")))
    with pytest.raises(OSError, match="Closing"):
        background.drain()
    assert len(threads()) == 1


def test_the_error_of_the_work_is_not_covered_by_that_of_what_is_always_done(
    start: Callable[[int], Background],
) -> None:
    background = start(8)
    background.submit(partial(fail, OSError(5, "Work")), partial(fail, OSError(5, "Closing")))
    with pytest.raises(OSError, match="Work"):
        background.drain()


def test_no_more_than_one_above_the_limit_wait(start: Callable[[int], Background]) -> None:
    limit = 8
    background = start(limit)
    gate = threading.Semaphore(0)
    given = 0
    most = 0
    full = threading.Event()
    over = threading.Event()

    def give() -> None:
        nonlocal given
        for _ in range(50):
            given += 1
            if given == limit + 1:
                full.set()
            background.submit(gate.acquire)
        over.set()

    giver = threading.Thread(target=give)
    giver.start()
    assert full.wait(SECONDS)
    for released in range(50):
        most = max(most, given - released)
        gate.release()
    giver.join(SECONDS)
    assert over.is_set()
    assert most == limit + 1
    background.drain()


def test_the_waiting_caller_goes_on_when_half_is_done(start: Callable[[int], Background]) -> None:
    background = start(8)
    gate = threading.Semaphore(0)
    passed = threading.Event()

    def give() -> None:
        for _ in range(9):
            background.submit(gate.acquire)
        passed.set()

    giver = threading.Thread(target=give)
    giver.start()
    gate.release(4)
    assert not passed.wait(0.05)
    gate.release()
    assert passed.wait(SECONDS)
    gate.release(4)
    giver.join(SECONDS)


def test_closing_leaves_out_what_has_not_begun_and_ends_the_thread(start: Callable[[int], Background]) -> None:
    background = start(8)
    begun, go_on = threading.Event(), threading.Event()
    ran: list[str] = []

    def first() -> None:
        begun.set()
        go_on.wait(SECONDS)
        ran.append("first")

    background.submit(first, partial(ran.append, "always 1"))
    background.submit(partial(ran.append, "second"), partial(ran.append, "always 2"))
    assert begun.wait(SECONDS)
    assert len(threads()) == 1
    closer = threading.Thread(target=background.close)
    closer.start()
    while not background._stopped:
        pass
    go_on.set()
    closer.join(SECONDS)
    assert ran == ["first", "always 1", "always 2"]
    assert threads() == []
    background.close()
    assert threads() == []


def test_nothing_that_was_given_outlives_its_end(start: Callable[[int], Background]) -> None:
    background = start(8)

    class Big:
        pass

    gone: list[str] = []
    big = Big()
    weakref.finalize(big, gone.append, "gone")
    background.submit(partial(id, big), partial(id, big))
    del big
    background.drain()
    assert gone == ["gone"]
