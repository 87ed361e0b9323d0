"""A lock that no signal leaves locked, whenever it comes."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from casync_py.peer.changes import Changes

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = 300


class Stop(BaseException):
    pass


@pytest.fixture
def interrupting() -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def contend(changes: Changes, over: threading.Event) -> None:
    while not over.is_set():
        with changes:
            sum(range(100))


@pytest.mark.usefixtures("interrupting")
def test_whenever_a_signal_comes_the_lock_is_free_afterwards() -> None:
    changes, over = Changes(), threading.Event()
    others = [threading.Thread(target=contend, args=(changes, over), daemon=True) for _ in range(2)]
    for other in others:
        other.start()
    try:
        for number in range(SIGNALS):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + number % 7 * 1e-4)
                while True:
                    with changes:
                        pass
            except Stop:
                pass
            assert _is_free_for_others(changes)
    finally:
        over.set()
        for other in others:
            other.join(20)


def _is_free_for_others(changes: Changes) -> bool:
    taken: list[bool] = []

    def take() -> None:
        if changes.acquire(timeout=20):
            changes.release()
            taken.append(True)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join()
    return bool(taken)


def test_waiting_and_telling() -> None:
    changes, said = Changes(), []

    def say() -> None:
        with changes:
            said.append(1)
            changes.notify_all()

    with changes:
        thread = threading.Thread(target=say)
        thread.start()
        assert changes.wait_for(lambda: bool(said), 20)
    thread.join()
    with changes:
        assert not changes.wait(0.001)
        assert not changes.wait_for(lambda: False, 0.001)
