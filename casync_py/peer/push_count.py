"""What a push came to, told to the monitor as it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casync_py.monitor import Monitor
    from casync_py.peer.spool import Tally


class PushCount:
    """Passes on to a monitor what was sent and what the other end had, each time what is new since the last."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._counted = [0, 0, 0, 0, 0]

    def report(self, sent: Tally, sent_stored: int, known: Tally) -> None:
        """Args: sent_stored: bytes of the chunks that were sent, as sent."""
        now = [sent.chunks, sent.size, sent_stored, known.chunks, known.size]
        new = [value - before for value, before in zip(now, self._counted, strict=True)]
        self._counted = now
        monitor = self._monitor
        monitor.chunks_new += new[0]
        monitor.bytes_new += new[1]
        monitor.bytes_stored += new[2]
        monitor.chunks_reused += new[3]
        monitor.bytes_reused += new[4]
