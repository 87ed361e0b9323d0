"""The progress line: drawn by a thread that looks at the counters, and only where a person can see it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from casync_py.amounts import count_text, size_text
from casync_py.cli.console import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.cli.console import Console
    from casync_py.monitor import Monitor

_INTERVAL_S = 0.1
_FIRST_AFTER_S = 0.3  # what is over sooner needs no progress line
_NARROWEST = 20


@contextmanager
def progress(console: Console, monitor: Monitor) -> Iterator[None]:
    """Draw a line about the monitor's counters ten times a second, and remove it in the end."""
    ended = threading.Event()
    drawer = threading.Thread(target=_draw, args=(console, monitor, ended), name="progress", daemon=True)
    drawer.start()
    try:
        yield
    finally:
        ended.set()
        drawer.join()


def _draw(console: Console, monitor: Monitor, ended: threading.Event) -> None:
    begin = time.monotonic()
    wait_s = _FIRST_AFTER_S
    while not ended.wait(wait_s):
        wait_s = _INTERVAL_S
        width = shutil.get_terminal_size().columns - 1  # the last column would wrap
        console.draw(progress_line(monitor, time.monotonic() - begin, width))
    console.draw("")


def progress_line(monitor: Monitor, elapsed_s: float, width: int) -> str:
    """What is going on, in at most `width` characters.

    Args:
        elapsed_s: seconds since the beginning.
    """
    done, total = monitor.done, monitor.total
    parts = [monitor.stage or "Reading"]
    if total:
        parts.append(f"{min(100, 100 * done // total)}%")
    parts.append(size_text(done))
    parts.append(f"{size_text(done / elapsed_s)}/s")
    if monitor.chunks_new or monitor.chunks_reused:
        new = "new" if monitor.stage == "Packing" else "fetched"
        reused = f", {monitor.chunks_reused:,} reused" if monitor.chunks_reused else ""
        parts.append(f"{count_text(monitor.chunks_new, 'chunk')} {new}{reused}")
    if monitor.received or monitor.sent:
        ours = monitor.sent > monitor.received
        parts.append(f"{size_text(monitor.sent)} sent" if ours else f"{size_text(monitor.received)} received")
    if monitor.entries:
        parts.append(count_text(monitor.entries, "entry"))
    line = "  ".join(parts)
    path = printable(os.fsdecode(monitor.path))
    room = width - len(line) - 2
    if path and room >= _NARROWEST:
        line += "  " + (path if len(path) <= room else "..." + path[3 - room :])
    return line[:width]
