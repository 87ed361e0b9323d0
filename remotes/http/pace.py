"""When a transfer has stalled."""

from __future__ import annotations

import math

from casync_py.remotes.http.errors import WebError

_SLOWEST = 1024  # bytes in the time for which a server may be silent


class Pace:
    """Notices a server that sends nothing, or so little that it never ends: less than 1 KiB in the timeout."""

    __slots__ = ("_came", "_timeout_s", "_waited_s")

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._waited_s = 0.0
        self._came = 0

    def came(self, size: int, seconds: float) -> None:
        """So many bytes came after a wait of so long.

        Raises:
            WebError: too little for too long.
        """
        if size >= _SLOWEST:
            self._waited_s = 0.0
            self._came = 0
            return
        self._came += size
        self._waited_s += seconds
        if self._came >= _SLOWEST:
            self._waited_s = 0.0
            self._came = 0
        elif self._waited_s > self._timeout_s:
            raise WebError(f"Sends next to nothing for {self._timeout_s:g} s", transient=True)
