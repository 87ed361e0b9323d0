"""Streams over pipes: to a child that this process starts, and to whoever started this process."""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import socket
import stat
import sys
import time
from contextlib import ExitStack, suppress
from itertools import islice
from typing import TYPE_CHECKING, Self

from casync_py.files import STDIN, STDOUT
from casync_py.transport.child import Child
from casync_py.transport.stream import MAX_VIEWS, PIPE_SIZE, DescriptorStream, enlarge_pipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
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
        asks: bool = False,
        pipe_size: int = PIPE_SIZE,
    ) -> None:
        """Start the program (PATH is searched) in a process group of its own; its standard error is ours.

        Args:
            env: its whole environment; None for ours.
            name: of the stream, for messages.
            asks: the program may ask on the terminal, as ssh does for passwords, and only the terminal's foreground
                group may read there. Where there is a terminal the program stays in our group, and `close` signals
                nobody but the program; what it started ends with the pipes.
            pipe_size: bytes that each pipe shall hold, as far as the system allows it.

        Raises:
            PeerError: the program cannot be run; the reason names it.
            OSError: no descriptor is left.
        """
        with ExitStack() as on_failure, ExitStack() as childs:
            child_in, our_out = _pipe(childs, on_failure)
            our_in, child_out = _pipe(on_failure, childs)
            enlarge_pipe(our_out, pipe_size)
            enlarge_pipe(our_in, pipe_size)
            self._child = Child(
                argv,
                env,
                stdin=child_in,
                stdout=child_out,
                own_group=not (asks and _has_terminal()),
                name=name,
            )
            on_failure.pop_all()
        super().__init__(our_in, our_out, name)
        self._input_ended = False
        self._drained = 0

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
            self._child.wait(_END_S, self._drain)
        finally:
            super().close()
            self._child.end()

    def _drain(self, seconds: float) -> None:
        """Throw input away for so long, or sleep where none will come."""
        if self._input_ended:
            time.sleep(seconds)
        elif _is_ready(self._read_fd, select.POLLIN, seconds):
            try:
                size = self.read_into(memoryview(bytearray(_DRAIN_SIZE)))
            except OSError:
                size = 0
            self._drained += size or 0
            self._input_ended = size == 0
            if self._drained > _DRAIN_MAX:  # it has too much to say: let it write to a broken pipe
                self._input_ended = True
                super().close()

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
        """
        Raises:
            OSError: standard input or output is closed.
        """
        if sys.stdout is not None:
            sys.stdout.flush()
        self.name = name
        self._socket: socket.socket | None = None
        self._own_flags = False
        self._read_fd = _duplicate(STDIN)
        self._write_fd = _reopen_pipe(STDOUT)
        if self._write_fd >= 0:
            self._own_flags = True
        else:
            self._write_fd = _duplicate(STDOUT)
            if stat.S_ISSOCK(os.fstat(self._write_fd).st_mode):
                self._socket = socket.socket(fileno=self._write_fd)
        _replace_standard_descriptors()
        enlarge_pipe(self._read_fd)
        enlarge_pipe(self._write_fd)

    def read_into(self, room: memoryview) -> int | None:
        return super().read_into(room) if _is_ready(self._read_fd, select.POLLIN) else None

    def write(self, views: Iterable[bytes | memoryview]) -> int:
        if self._own_flags:
            return super().write(views)
        try:
            if self._socket is not None:
                return self._socket.sendmsg(list(islice(views, MAX_VIEWS)), [], socket.MSG_DONTWAIT)
            if _is_ready(self._write_fd, select.POLLOUT):
                # Linux fs/pipe.c, pipe_poll: there is room for a page at least, whatever lies in the pipe already
                return os.write(self._write_fd, memoryview(next(iter(views)))[: select.PIPE_BUF])
        except BlockingIOError:
            pass
        return 0

    def close_write(self) -> None:
        if self._socket is None:
            super().close_write()
        elif self._write_fd >= 0:
            self._write_fd = -1
            with suppress(OSError):  # the peer is gone already
                self._socket.shutdown(socket.SHUT_WR)
            self._socket.close()


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """A pipe's two ends, each to be closed by its stack."""
    read_fd, write_fd = os.pipe()
    reader.callback(os.close, read_fd)
    writer.callback(os.close, write_fd)
    return read_fd, write_fd


def _duplicate(fd: int) -> int:
    """A duplicate beyond the standard descriptors, even where some of those are closed."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)


def _reopen_pipe(fd: int) -> int:
    """A pipe's writing end opened anew, with O_NONBLOCK for itself; -1 for anything else."""
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        with suppress(OSError):  # no /proc, the pipe was made by another user (su, sudo), its reader is gone
            reopened = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return _duplicate(reopened)
            finally:
                os.close(reopened)
    return -1


def _replace_standard_descriptors() -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.dup2(null, STDIN)
        try:
            os.dup2(_STDERR, STDOUT)
        except OSError:  # stderr is closed
            os.dup2(null, STDOUT)
    finally:
        if null > _STDERR:
            os.close(null)


def _is_ready(fd: int, events: int, seconds: float = 0.0) -> bool:
    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(math.ceil(seconds * 1000)))


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True
