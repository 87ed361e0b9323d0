"""What a child writes on stderr, line by line, to whoever shows it."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LINE_MAX = 4096  # bytes of one line that are kept: the other end chooses them
_LINES_MAX = 1000  # lines that are handed on: they may be kept
_READ_SIZE = 1 << 16
_LAST_READS = 16  # the default pipe's content and more, once the end was asked for


class LineReader:
    """A thread that reads a pipe and gives each line to a callback.

    Attributes:
        write_fd: the pipe's other end, for the child.
    """

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._read_fd, self.write_fd = os.pipe()
        self._end_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread: threading.Thread | None = None
        self._line = bytearray()
        self._left = _LINES_MAX

    def start(self, name: str) -> None:
        """Start reading, in a thread of this name."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hand on what the pipe holds and end the thread, whoever else has the pipe open; may be called twice."""
        if self.write_fd < 0:
            return
        if self._thread is not None:
            os.eventfd_write(self._end_fd, 1)
            self._thread.join()
        for fd in (self._read_fd, self.write_fd, self._end_fd):
            os.close(fd)
        self.write_fd = -1

    def _run(self) -> None:
        os.set_blocking(self._read_fd, False)
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        poll.register(self._end_fd, select.POLLIN)
        reads = -1  # that are left, where the end was asked for
        while reads:
            if reads < 0 and any(fd == self._end_fd for fd, _events in poll.poll()):
                reads = _LAST_READS
            try:
                data = os.read(self._read_fd, _READ_SIZE)
            except BlockingIOError:
                if reads < 0:
                    continue
                break
            if not data:
                break
            self._feed(data)
            reads -= reads > 0
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
        if self._left <= 0:
            return
        self._left -= 1
        try:
            self._take(line if self._left else "(further lines are left out)")
        except Exception:  # noqa: BLE001 - whoever shows lines may fail; reading goes on, or the child would block
            self._left = 0
