"""How often what failed is tried again, and how long to wait before: growing pauses of random length, so that many
clients of a server that was away do not come back at the same instant."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

LONGEST_WISH_S = 120.0  # of a server that says when to come back; no server makes us wait for days


@dataclass(frozen=True, slots=True)
class Retry:
    """A policy.

    Attributes:
        times: how often in a row it is tried again; 0: never.
        first_s, most_s: the first pause and the longest one; each is twice the one before.
    """

    times: int
    first_s: float = 0.2
    most_s: float = 15.0

    def pause_s(self, failures: int) -> float:
        """A random pause after so many failures in a row: half of what the policy says at least."""
        longest = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 60))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


class Attempts:
    """The failures of one undertaking. Used by one thread."""

    __slots__ = ("_failures", "_retry", "_stop")

    def __init__(self, retry: Retry, stop: threading.Event | None = None) -> None:
        """`stop`: ends the waiting, and then nothing is tried again."""
        self._retry = retry
        self._stop = stop
        self._failures = 0

    @property
    def failures(self) -> int:
        """How often it failed in a row."""
        return self._failures

    @property
    def used_up(self) -> bool:
        """Whether the next failure is the last."""
        return self._failures >= self._retry.times

    def failed(self, error: BaseException, retry_after: float | None = None) -> None:
        """Wait until it may be tried again.

        Args:
            error: why it failed.
            retry_after: seconds that the other end asked us to wait, which are waited at least, but 120 at most.

        Raises:
            error: it has been tried often enough, or `stop` was set.
        """
        if self.used_up:
            raise error
        self._failures += 1
        pause = self._retry.pause_s(self._failures)
        if retry_after is not None:
            pause = max(pause, min(retry_after, LONGEST_WISH_S))
        if self._stop is None:
            time.sleep(pause)
        elif self._stop.wait(pause):
            raise error

    def progress(self) -> None:
        """Something came of it: failures are counted anew."""
        self._failures = 0
