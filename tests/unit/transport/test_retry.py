"""How often what failed is tried again, and how long is waited before."""

from __future__ import annotations

import threading

import pytest

from casync_py.transport.retry import Attempts, Retry

QUICK = Retry(3, first_s=0.0)


class Waiting(threading.Event):
    """An event that notes for how long it was waited for, and is not waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


def fail(attempts: Attempts, times: int, retry_after: float | None = None) -> None:
    for _ in range(times):
        attempts.failed(OSError("trouble"), retry_after)


def test_as_often_as_the_policy_says() -> None:
    attempts = Attempts(QUICK)
    fail(attempts, 3)
    assert attempts.failures == 3
    error = OSError("the last one")
    with pytest.raises(OSError, match="the last one") as caught:
        attempts.failed(error)
    assert caught.value is error


def test_never() -> None:
    with pytest.raises(OSError, match="trouble"):
        fail(Attempts(Retry(0)), 1)


def test_progress_counts_anew() -> None:
    attempts = Attempts(QUICK)
    for _ in range(5):
        fail(attempts, 3)
        attempts.progress()
    assert attempts.failures == 0


def test_pauses_grow_up_to_a_limit_and_differ() -> None:
    stop = Waiting()
    fail(Attempts(Retry(1000, first_s=0.2, most_s=15.0), stop), 1000)
    longest = [min(15.0, 0.2 * 2.0**failure) for failure in range(10)] + [15.0] * 990
    waits = [wait for wait in stop.waits if wait is not None]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, longest, strict=True))
    assert len(set(waits[20:])) > 900


@pytest.mark.parametrize(("wish", "least", "most"), [(7.0, 7, 7), (0.0, 0.1, 0.2), (1e9, 120, 120), (-5.0, 0.1, 0.2)])
def test_what_the_server_asks_for(wish: float, least: float, most: float) -> None:
    stop = Waiting()
    fail(Attempts(Retry(1), stop), 1, wish)
    assert stop.waits[0] is not None
    assert least <= stop.waits[0] <= most


def test_stopping_ends_the_waiting() -> None:
    stop = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            fail(Attempts(Retry(1, first_s=60.0, most_s=60.0), stop), 1)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    stop.set()
    thread.join(10)
    assert len(failed) == 1


def test_without_an_event_it_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("casync_py.transport.retry.time.sleep", slept.append)
    fail(Attempts(Retry(2, first_s=1.0)), 2)
    assert 0.5 <= slept[0] <= 1.0 <= slept[1] <= 2.0
