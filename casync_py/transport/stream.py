"""A byte stream in both directions, as the pump loop wants it: two descriptors to poll, calls that never block."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

PIPE_SIZE = 1 << 20  # what anyone may ask for (/proc/sys/fs/pipe-max-size); the default, 64 KiB, halves the speed
MAX_VIEWS = 256  # buffers for one writev: far below IOV_MAX (1024), and more than a pipe takes at once


class Stream(Protocol):
    """What a peer is reached through. One thread uses it at a time, except for what says otherwise.

    Attributes:
        name: for messages: the host, the program.
    """

    name: str

    def fileno_read(self) -> int:
        """The descriptor to poll for input; the one to write to may be the same."""

    def fileno_write(self) -> int:
        """The descriptor to poll for room, -1 once `close_write` was called."""

    def read_into(self, room: memoryview) -> int | None:
        """Read what is there, as far as there is room for it, and return how many bytes that was; 0 at the end of
        input, None where it would block.

        Raises:
            OSError: the connection broke.
        """

    def write(self, views: Iterable[bytes | memoryview]) -> int:
        """Write as much of the buffers as goes without blocking and return how many bytes that was, maybe 0.

        Raises:
            OSError: the connection broke (EPIPE: the peer does not read any more).
        """

    def fate(self) -> str:
        """What is known of how the peer ended ("exit status 1", "killed by SIGKILL"), "" for nothing.

        Called after the end of input; may wait a moment for a child that is about to end.
        """

    def close_write(self) -> None:
        """Let the peer read the end of our output; nothing happens the second time."""

    def close(self) -> None:
        """Close both directions and end what was started; nothing happens the second time."""


class DescriptorStream:
    """A stream over two descriptors that it owns and sets non-blocking: the ends of two pipes."""

    def __init__(self, read_fd: int, write_fd: int, name: str) -> None:
        self.name = name
        self._read_fd = read_fd
        self._write_fd = write_fd
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)

    def fileno_read(self) -> int:
        return self._read_fd

    def fileno_write(self) -> int:
        return self._write_fd

    def read_into(self, room: memoryview) -> int | None:
        try:
            return os.readv(self._read_fd, (room,))
        except BlockingIOError:
            return None

    def write(self, views: Iterable[bytes | memoryview]) -> int:
        try:
            return os.writev(self._write_fd, list(islice(views, MAX_VIEWS)))
        except BlockingIOError:
            return 0

    def fate(self) -> str:
        return ""

    def close_write(self) -> None:
        fd, self._write_fd = self._write_fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        self.close_write()
        fd, self._read_fd = self._read_fd, -1
        if fd >= 0:
            os.close(fd)


class SocketStream:
    """A stream over a connected socket, which it owns and sets non-blocking."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self.name = name
        self._socket = connection
        self._writing = True
        connection.setblocking(False)

    def fileno_read(self) -> int:
        return self._socket.fileno()

    def fileno_write(self) -> int:
        return self._socket.fileno() if self._writing else -1

    def read_into(self, room: memoryview) -> int | None:
        try:
            return self._socket.recv_into(room)
        except BlockingIOError:
            return None

    def write(self, views: Iterable[bytes | memoryview]) -> int:
        try:
            return self._socket.sendmsg(list(islice(views, MAX_VIEWS)))
        except BlockingIOError:
            return 0

    def fate(self) -> str:
        return ""

    def close_write(self) -> None:
        if self._writing:
            self._writing = False
            with suppress(OSError):  # the peer is gone already
                self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


def enlarge_pipe(fd: int, size: int = PIPE_SIZE) -> None:
    """Let a pipe hold `size` bytes where it holds less and the system allows it; nothing happens to what is no pipe."""
    with suppress(OSError):  # EPERM: above the user's limit; EBADF: no pipe
        if fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < size:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
