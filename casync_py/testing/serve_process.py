"""`casync-py serve` as a process of its own, for tests that need a whole server: its signals, its memory, its death."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

LIMIT_S = 30.0
_URL = re.compile(r"https?://[^\s\"']+")
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


class ServeProcess:
    """A server on loopback, on a port that the system picked unless told; a context manager.

    Attributes:
        url: of `/`, without the slash.
        port: where it listens.
        process: the server.
        log: the file with what it writes to standard error.
    """

    def __init__(self, log: Path, *arguments: str | Path, port: int = 0, command: list[str] | None = None) -> None:
        """Start it; it answers when this returns.

        Args:
            log: a file to write to; what is there stays.
            arguments: directories and options of `serve`.
            port: where to listen; 0: the system picks one.
            command: what stands in for `python -m casync_py`.

        Raises:
            RuntimeError: it does not start; the message has what it said.
        """
        self.log = log
        words = [*(command or [sys.executable, "-m", "casync_py"]), "serve", f"--listen=127.0.0.1:{port}"]
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*words, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        line = self._first_line()
        found = _URL.search(line)
        if found is None:
            self.kill()
            raise RuntimeError(f"The server does not start: {line} {log.read_text(errors='replace')}")
        self.url = found[0].rstrip("/")
        self.port = int(self.url.split("/")[2].rpartition(":")[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None and kind is None:
            self.stop()
        else:
            self.kill()

    def stop(self) -> None:
        """Ask it to end, and wait.

        Raises:
            RuntimeError: it did not end well; the message has what it said.
        """
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        if self.process.returncode != 0:
            raise RuntimeError(f"The server ended with {self.process.returncode}: {self.said()}")

    def kill(self) -> None:
        """End it at once, as a power failure would. Safe to call again."""
        self.process.kill()
        self.process.communicate()

    def said(self) -> str:
        """What it has written to standard error, and those before it with the same log."""
        return self.log.read_text(errors="replace")

    def peak(self) -> int:
        """Its peak of resident memory so far, bytes."""
        found = _PEAK.search(Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024

    def descriptors(self) -> int:
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def _first_line(self) -> str:
        """What it prints first; empty if it ends before."""
        assert self.process.stdout
        fd, line, until = self.process.stdout.fileno(), b"", time.monotonic() + LIMIT_S
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([fd], [], [], max(0.0, until - time.monotonic()))
            data = os.read(fd, 1) if ready else b""
            if not data:
                break
            line += data
        return line.decode(errors="replace")
