"""Run a command, measure it: wall time, processor time, peak memory. And a fresh tmpfs to do that on."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class RunError(Exception):
    """A measured command failed or gave a wrong result."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: seconds of wall and of processor time, peak resident memory in bytes, and what it printed.

    `far_peak` is that of the remote end, 0 where there is none. The other figures count children that were waited for.
    """

    seconds: float
    cpu_seconds: float
    peak: int
    stdout: bytes
    far_peak: int = 0


@dataclass(slots=True)
class Samples:
    """The runs of one program in one row."""

    runs: list[Sample] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Median wall time."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def spread(self) -> tuple[float, float]:
        """Shortest and longest wall time."""
        return min(run.seconds for run in self.runs), max(run.seconds for run in self.runs)

    @property
    def cpu_seconds(self) -> float:
        """Median processor time."""
        return statistics.median(run.cpu_seconds for run in self.runs)

    @property
    def peak(self) -> int:
        """Largest peak of resident memory, bytes."""
        return max(run.peak for run in self.runs)

    @property
    def far_peak(self) -> int:
        """Largest peak of resident memory of the remote end, bytes."""
        return max(run.far_peak for run in self.runs)


def run(command: list[str], scratch: Path, extra: Mapping[str, str] | None = None) -> Sample:
    """Run a command with `scratch` as its working and temporary directory; its output goes to files there.

    `extra` is added to the environment, from which casync's own variables are removed.

    The peak that the kernel reports includes this process's own at the time of the start: keep this process small.

    Raises:
        RunError: the exit status is not 0.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CASYNC_")}
    environment |= {"TMPDIR": str(scratch), **(extra or {})}
    with tempfile.TemporaryFile(dir=scratch) as stdout, tempfile.TemporaryFile(dir=scratch) as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        if process.returncode != 0:
            message = stderr.read().decode(errors="replace").strip()
            raise RunError(f"{' '.join(command)} ended with {process.returncode}: {message}")
        cpu_seconds = usage.ru_utime + usage.ru_stime
        return Sample(seconds, cpu_seconds, usage.ru_maxrss * 1024, stdout.read())  # Linux counts KiB


def own_peak() -> int:
    """Peak resident memory of this process, bytes: the floor of what `run` can report."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def fresh_tmpfs(size: int) -> Iterator[Path]:
    """An empty directory in memory, gone afterwards whatever happened: a tmpfs mounted for this run where root may do
    that, else a new directory in /dev/shm.
    """
    path = Path(tempfile.mkdtemp(prefix="casync-py-bench-", dir="/dev/shm"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
    try:
        yield path
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
        shutil.rmtree(path)
