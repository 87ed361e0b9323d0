"""Streams over pipes: to a child that this process starts, and to whoever started this process."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import sys
import time
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Self

from casync_py.errors import PeerError
from casync_py.files import STDIN, STDOUT
from casync_py.transport.child import Child
from casync_py.transport.lines import LineReader
from casync_py.transport.stream import MAX_VIEWS, PIPE_SIZE, DescriptorStream, enlarge_pipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

_STDERR = 2
_END_S = 2.0  # for a child to end by itself once its input has ended: a few round trips of a slow connection
_FATE_S = 1.0  # between the end of a child's output and its exit
_DRAIN_MAX = 16 << 20  # bytes thrown away so that a child which still writes can end by itself
_DRAIN_SIZE = 1 << 18


class ChildStream(DescriptorStream):
    """A stream over the standard input and output of a program that it starts.

    The child ends when its pipes do: nobody else holds our ends of them, so that it reads the end of its input and
    cannot write, even if this process is killed. PR_SET_PDEATHSIG is not used: without code of ours in the child it
    takes a wrapper program, and it fires when the thread that started the child ends.
    """

    def __init__(
        self,
        argv: Sequence[str | bytes],
        env: Mapping[str, str] | None,
        name: str,
        *,
        on_stderr: Callable[[str], None] | None = None,
        asks: bool = False,
        pipe_size: int = PIPE_SIZE,
    ) -> None:
        """Start the program (PATH is searched) in a process group of its own.

        Args:
            env: its whole environment; None for ours.
            name: of the stream, for messages.
            on_stderr: called in a thread with each line the child writes on stderr; None: it has our stderr.
            asks: the program may ask on the terminal, as ssh does for passwords, and only the terminal's foreground
                group may read there. Where there is a terminal the program stays in our group, and `close` signals
                nobody but the program; what it started ends with the pipes.
            pipe_size: bytes that each pipe shall hold, as far as the system allows it.

        Raises:
            PeerError: the program cannot be run; the reason names it.
        """
        self._lines = LineReader(on_stderr) if on_stderr is not None else None
        child_in, our_out = os.pipe()
        our_in, child_out = os.pipe()
        super().__init__(our_in, our_out, name)
        self._input_ended = False
        enlarge_pipe(our_out, pipe_size)
        enlarge_pipe(our_in, pipe_size)
        try:
            self._child = Child(
                argv,
                env,
                stdin=child_in,
                stdout=child_out,
                stderr=self._lines.write_fd if self._lines else None,
                own_group=not (asks and _has_terminal()),
            )
        except BaseException as error:
            self._close_descriptors()
            if isinstance(error, OSError):
                raise PeerError(f"Cannot run {os.fsdecode(argv[0])}: {error.strerror}", name) from error
            raise
        finally:
            os.close(child_in)
            os.close(child_out)
        if self._lines is not None:
            self._lines.release()
            self._lines.start(f"stderr of {name}")

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        """The child's exit status, minus the signal's number if one killed it; None while it runs."""
        return self._child.status

    def fate(self) -> str:
        self._child.wait(_FATE_S)
        return self._child.fate()

    def kill(self) -> None:
        """Ask the child to end now (SIGTERM). Thread-safe; does not wait, and `close` is needed all the same."""
        self._child.signal(signal.SIGTERM)

    def close(self) -> None:
        """Close our end, let the child end by itself for a moment, then make it, and reap it.

        What it still writes is thrown away meanwhile. Signals go to everything in its process group; what is left of
        the group when the child itself has ended is killed too.
        """
        if self._read_fd < 0:
            return
        try:
            self.close_write()
            self._drained = 0
            self._child.wait(_END_S, self._drain)
        finally:
            try:
                super().close()
                self._child.end()
            finally:
                self._close_descriptors()

    def _drain(self, seconds: float) -> None:
        """Throw input away for so long."""
        poll = select.poll()
        if self._input_ended or self._drained > _DRAIN_MAX:
            time.sleep(seconds)
            return
        poll.register(self._read_fd, select.POLLIN)
        if poll.poll(max(1, seconds * 1000)):
            try:
                data = self.read(_DRAIN_SIZE)
            except OSError:
                data = b""
            self._input_ended = data == b""
            self._drained += len(data or b"")

    def _close_descriptors(self) -> None:
        super().close()
        if self._lines is not None:
            self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class StandardStream(DescriptorStream):
    """A stream over this process's standard input and output, which it takes over for good.

    Descriptor 0 becomes /dev/null and 1 becomes stderr, so that a stray `print` or a child cannot break the protocol.

    O_NONBLOCK belongs to the open file, which we share with whoever gave it to us, so it is not touched: a pipe is
    opened anew, a socket is asked call by call, and of anything else (a pipe of another user, a terminal) no more is
    written at once than poll promises.
    """

    def __init__(self, name: str = "Client") -> None:
        if sys.stdout is not None:
            sys.stdout.flush()
        self.name = name
        self._read_fd, self._own_read = _take_over(STDIN, os.O_RDONLY)
        self._write_fd, self._own_write = _take_over(STDOUT, os.O_WRONLY)
        self._socket = None
        if stat.S_ISSOCK(os.fstat(self._write_fd).st_mode):
            self._socket = socket.socket(fileno=self._write_fd)
        enlarge_pipe(self._read_fd)
        enlarge_pipe(self._write_fd)

    def read(self, size: int) -> bytes | None:
        if not self._own_read and not _is_ready(self._read_fd, select.POLLIN):
            return None
        return super().read(size)

    def write(self, views: Iterable[bytes | memoryview]) -> int:
        if self._own_write:
            return super().write(views)
        if self._socket is not None:
            try:
                return self._socket.sendmsg(list(islice(views, MAX_VIEWS)), [], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return 0
        if not _is_ready(self._write_fd, select.POLLOUT):
            return 0
        # Linux fs/pipe.c, pipe_poll: room is at least one page, into which this much goes whatever lies there already
        return os.write(self._write_fd, memoryview(next(iter(views)))[: select.PIPE_BUF])

    def close_write(self) -> None:
        if self._socket is None:
            super().close_write()
        elif self._write_fd >= 0:
            self._write_fd = -1
            with suppress(OSError):  # the peer is gone already
                self._socket.shutdown(socket.SHUT_WR)
            self._socket.close()


def _take_over(fd: int, mode: int) -> tuple[int, bool]:
    """A descriptor of our own for what a standard descriptor leads to, and whether it has O_NONBLOCK for itself."""
    taken, own = -1, False
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        with suppress(OSError):  # no /proc, or the pipe was made by another user (su, sudo)
            taken, own = os.open(f"/proc/self/fd/{fd}", mode | os.O_NONBLOCK | os.O_CLOEXEC), True
    if taken < 0:
        taken = os.dup(fd)
    if fd == STDOUT and _is_open(_STDERR):
        os.dup2(_STDERR, fd)
    else:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, fd)
        os.close(null)
    return taken, own


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _is_ready(fd: int, events: int) -> bool:
    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(0))


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True
