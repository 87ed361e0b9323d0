"""A lock with a condition, which the exception of a signal (Ctrl-C) cannot leave locked."""

from __future__ import annotations

from _thread import RLock
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Changes(RLock):  # type: ignore[misc] # final by typeshed's word alone
    """`with changes:` guards what is shared; `wait` and `notify_all` as with `threading.Condition`.

    A signal's handler runs between two steps of the main thread's Python code, and Condition's own `__enter__` is such
    code: what the handler raises when that has the lock and has not returned leaves it locked for ever. Where the
    thread then waits for the GIL that is no rare moment. This lock's `__enter__` is one step.
    """

    def __init__(self) -> None:
        super().__init__()
        self._condition = Condition(self)
        self.notify_all = self._condition.notify_all
        self.notify = self._condition.notify
        self.wait = self._condition.wait

    def wait_for(self, there: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until `there()`, or for so many seconds."""
        return self._condition.wait_for(there, seconds)
