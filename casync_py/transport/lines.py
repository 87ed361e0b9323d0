"""What a child writes on stderr, line by line, to whoever shows it."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LINE_MAX = 4096  # bytes of one line that are kept: the other end chooses them
_READ_SIZE = 1 << 16


class LineReader:
    """A thread that reads a pipe and gives each line to a callback.

    Attributes:
        write_fd: the pipe's other end, for the child; the caller closes its own copy with `release()`.
    """

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._read_fd, self.write_fd = os.pipe()
        self._end_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread: threading.Thread | None = None
        self._line = bytearray()

    def start(self, name: str) -> None:
        """Start reading, in a thread of this name."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Close our copy of the writing end."""
        fd, self.write_fd = self.write_fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Hand on what the pipe holds and end the thread, whoever else still has the pipe open."""
        self.release()
        if self._end_fd < 0:
            return
        if self._thread is not None:
            os.eventfd_write(self._end_fd, 1)
            self._thread.join()
        os.close(self._read_fd)
        os.close(self._end_fd)
        self._end_fd = -1

    def _run(self) -> None:
        os.set_blocking(self._read_fd, False)
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        poll.register(self._end_fd, select.POLLIN)
        while True:
            asked_to_end = any(fd == self._end_fd for fd, _events in poll.poll())
            try:
                data = os.read(self._read_fd, _READ_SIZE)
            except BlockingIOError:
                data = None
            if data:
                self._feed(data)
            if data == b"" or asked_to_end:
                break
        if self._line:
            self._give()

    def _feed(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            self._give()
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._line += piece[: _LINE_MAX - len(self._line)]

    def _give(self) -> None:
        line = self._line.decode(errors="replace").removesuffix("\r")
        self._line.clear()
        self._take(line)
