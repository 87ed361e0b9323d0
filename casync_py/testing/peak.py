"""The peak memory of a child process, told from that of the process that starts it."""

from __future__ import annotations

import os
import re
import resource
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

_SAMPLE_MS = 20
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


def wait_and_measure(process: subprocess.Popen[bytes] | subprocess.Popen[str], limit_s: float) -> tuple[bool, int]:
    """Wait until a child ends, reap it and set its `returncode`; after so many seconds kill it.

    What the kernel tells at the end counts the memory of whoever started it, a whole test run, as the child's. Where
    that hides the child's own, the peak is what was last seen while it ran.

    Returns:
        Whether it ended by itself, and its peak of resident memory in bytes.
    """
    until = time.monotonic() + limit_s
    seen = 0
    pidfd = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    while not (ended := bool(poll.poll(_SAMPLE_MS))) and time.monotonic() < until:
        with suppress(OSError):
            found = _PEAK.search(Path("/proc", str(process.pid), "status").read_text())
            seen = max(seen, int(found[1]) if found else 0)
    os.close(pidfd)
    if not ended:
        process.kill()
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return ended, (usage.ru_maxrss if usage.ru_maxrss > ours else seen) * 1024  # Linux counts KiB
