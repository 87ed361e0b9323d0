"""Signals that end a run: an exception in the main thread, so that everything is cleaned up on the way out."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked for the end. No `Exception`, so that nothing that handles errors takes it for one."""


class Interruption:
    """Whether a signal has come."""

    def __init__(self) -> None:
        self.happened = False

    def __call__(self, _number: int, _frame: object) -> NoReturn:
        self.happened = True
        for number in _ENDING:
            if signal.getsignal(number) is self:
                signal.signal(number, signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN)
        raise Interrupted


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn SIGINT, SIGTERM and SIGHUP into `Interrupted`, once.

    While that cleans up, further ones are ignored, except a second SIGINT (an impatient Ctrl-C), which ends the
    process at once. A signal that is ignored from the start (nohup, a shell's background job) stays ignored.
    """
    taken = [number for number in _ENDING if signal.getsignal(number) not in {None, signal.SIG_IGN}]
    interruption = Interruption()
    before = {number: signal.signal(number, interruption) for number in taken}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
