"""The one loop that pumps messages between a stream, a connection and whoever handles them, for both sides.

It is pull-based: while little output waits, the handler is asked for the next message, so that a peer who reads slowly
slows its own answers down and nothing else. Reading goes on whatever happens to writing, and the other way round: two
peers that both write much cannot block each other, however little fits into the pipes between them.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from casync_py.errors import PeerError, ProtocolError
from casync_py.protocol.messages import Abort
from casync_py.transport.blocks import InputBlocks

if TYPE_CHECKING:
    from casync_py.protocol.connection import Connection
    from casync_py.protocol.messages import Message
    from casync_py.transport.stream import Stream

_LOW_WATER = 256 << 10  # bytes of output that wait: enough for the pipe, so few that an urgent answer comes soon
_SLICE_S = 5.0  # longest wait that counts as silence at once: after a stop (Ctrl-Z) the peer gets a chance to speak
_LAST_WORDS_S = 5.0  # a peer that does not read us any more may still say why
_STOP_S = 1.0  # for what is buffered when we stop; a peer who is asked to end has no right to more

_IN = select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLNVAL
_OUT = select.POLLOUT | select.POLLHUP | select.POLLERR | select.POLLNVAL


class Handler(Protocol):
    """What a peer does with its messages. All of it is called in the loop's thread and must not block.

    What the last three answer may change with any message and, in other threads, at any time: then call `wake()`.
    An exception ends the loop and leaves `run()`.
    """

    def received(self, message: Message) -> None:
        """A message came. A few more may follow after `wants_input` has become False: what one read brought."""

    def ended(self) -> None:
        """The peer closed its end where it may."""

    def next_message(self) -> Message | None:
        """The next message to send, None for "nothing now"."""

    def wants_input(self) -> bool:
        """Whether there is memory for more messages."""

    def waiting(self) -> bool:
        """Whether the peer owes us something, so that its silence counts against the timeout."""


class Driver:
    """Pumps one connection; `run()` in one thread, `wake()` and `stop()` from any."""

    def __init__(self, stream: Stream, connection: Connection, handler: Handler, *, timeout: float) -> None:
        """
        Args:
            timeout: seconds that the peer may be silent while it owes us something (its HELLO always), or may not
                read what we send; infinity for no limit. Time in which we do not want to read does not count.
        """
        self._stream = stream
        self._connection = connection
        self._handler = handler
        self._timeout = timeout
        self._input = InputBlocks()
        self._output: deque[bytes | memoryview] = deque()
        self._pending = 0  # bytes in `_output`
        self._exhausted = False  # the handler had nothing more to send when it was last asked
        self._broken = False  # the peer does not read any more
        self._silence_s = 0.0
        self._poll = select.poll()
        self._polled: dict[int, int] = {}
        self._lock = threading.RLock()  # a signal's handler may call `stop()` while its thread is in `wake()`
        self._wake_fd = -1  # guarded by the lock, so that nobody writes to a number that became another descriptor
        self._woken = False
        self._stopping = False
        self._over = threading.Event()

    def wake(self) -> None:
        """Something changed: ask the handler again. Thread-safe, cheap, and nothing happens outside of `run()`."""
        if self._woken:
            return  # the loop has yet to clear this, and asks the handler after that
        with self._lock:
            if self._wake_fd >= 0:
                self._woken = True
                os.eventfd_write(self._wake_fd, 1)

    def stop(self) -> None:
        """Let `run()` write what is buffered, close our writing end and return soon. Thread-safe, also before it."""
        self._stopping = True
        self._woken = False  # an exception (Ctrl-C) may have ended a `wake()` of this thread halfway
        self.wake()

    def run(self) -> None:
        """Pump until the connection is done and the output written, or until `stop()`; the stream stays open.

        Raises:
            PeerError: the peer was silent, went away (exit status or signal in the reason), or does not read.
            ProtocolError: the peer broke the protocol. Both have the stream's name where they had none.
            Exception: what the handler raises.
        """
        with self._lock:
            self._woken = False
            self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._pump()
            if self._stopping:
                self._finish()
        except PeerError as error:
            error.name = error.name or self._stream.name
            raise
        finally:
            with self._lock:
                fd, self._wake_fd = self._wake_fd, -1
            os.close(fd)
            self._over.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether `run()`, in another thread, is over within so many seconds; without end for None.

        To be used before the stream is closed, and in place of `Thread.join`, which after a Ctrl-C within it takes a
        thread for ended that still runs (CPython before 3.13, `_wait_for_tstate_lock`).
        """
        return self._over.wait(seconds)

    def _pump(self) -> None:
        connection = self._connection
        while not self._stopping:
            self._fill()
            self._flush()
            if connection.done and not self._pending:
                return
            if self._await() and self._receive():
                return

    def _fill(self) -> None:
        """Ask the handler for messages while little output waits."""
        connection, handler = self._connection, self._handler
        self._exhausted = True
        while not self._broken and not connection.done:
            if self._pending > _LOW_WATER:
                self._exhausted = False
                return
            message = handler.next_message()
            if message is None:
                return
            for part in connection.send_parts(message):
                if part:
                    self._output.append(part)
                    self._pending += len(part)

    def _flush(self) -> None:
        """Write what goes at once; where the peer does not read any more, output is dropped from now on."""
        output = self._output
        if not output:
            return
        try:
            written = self._stream.write(output)
        except OSError:
            self._broken = True
            self._silence_s = 0.0
            output.clear()
            self._pending = 0
            return
        if not written:
            return
        self._silence_s = 0.0
        self._pending -= written
        while written:
            first = output[0]
            if written < len(first):
                output[0] = memoryview(first)[written:]
                return
            written -= len(first)
            output.popleft()

    def _await(self) -> bool:
        """Wait until something can be done; whether there is input."""
        reading = not self._connection.done and self._handler.wants_input()
        limit = self._patience(reading=reading)
        seconds = 0.0  # there is more to send
        if self._output or self._exhausted:
            seconds = max(0.0, min(limit - self._silence_s, _SLICE_S))  # what `waiting` says may change without a wake
        before = time.monotonic()
        readable, writable = self._wait(seconds, reading=reading)
        if limit == math.inf:
            self._silence_s = 0.0
            return readable
        self._silence_s += min(time.monotonic() - before, _SLICE_S)
        if self._silence_s >= limit and not readable and not writable:
            self._give_up()
        return readable

    def _patience(self, *, reading: bool) -> float:
        """For how many seconds of waiting the peer may do nothing."""
        if self._broken:
            return min(self._timeout, _LAST_WORDS_S)
        if self._pending or (reading and (self._connection.peer_flags is None or self._handler.waiting())):
            return self._timeout
        return math.inf

    def _wait(self, seconds: float, *, reading: bool) -> tuple[bool, bool]:
        """Poll for input, for room where output waits and for `wake()`; whether there is input, and whether room."""
        wanted = {self._wake_fd: select.POLLIN}
        read_fd = self._stream.fileno_read()
        if reading:
            wanted[read_fd] = select.POLLIN
        if self._output:
            write_fd = self._stream.fileno_write()
            wanted[write_fd] = wanted.get(write_fd, 0) | select.POLLOUT
        if wanted != self._polled:
            for fd in self._polled.keys() - wanted.keys():
                self._poll.unregister(fd)
            for fd, events in wanted.items():
                self._poll.register(fd, events)
            self._polled = wanted
        ready = self._poll.poll(math.ceil(seconds * 1000))
        readable = writable = False
        for fd, events in ready:
            if fd == self._wake_fd:
                os.eventfd_read(fd)
                self._woken = False
                continue
            if fd == read_fd and events & _IN:  # the same descriptor may be both
                readable = reading
            if events & _OUT:
                writable = bool(self._output)
        return readable, writable

    def _receive(self) -> bool:
        """Read once and hand on the messages; True where the peer closed its end as it may."""
        try:
            size = self._stream.read_into(self._input.room())
        except OSError as error:
            raise PeerError(self._with_fate(f"Connection broke: {error.strerror or error}")) from error
        if size is None:
            return False
        self._silence_s = 0.0
        if size == 0:
            return self._end()
        received = self._handler.received
        message: Message | None = None
        for message in self._connection.receive(self._input.take(size)):
            received(message)
        if type(message) is Abort:  # nothing follows it; the handler may have made a better error of it
            self._connection.receive_end()
        return False

    def _end(self) -> bool:
        try:
            self._connection.receive_end()
        except ProtocolError as error:
            raise PeerError(self._with_fate(error.reason)) from error
        self._handler.ended()
        return True

    def _give_up(self) -> None:
        """
        Raises:
            PeerError: always; the peer had its time.
        """
        if self._broken:
            raise PeerError(self._with_fate("Stopped reading before the end"))
        if self._pending:
            raise PeerError(f"Read nothing of what was sent for {self._timeout:g} seconds")
        raise PeerError(f"Silent for {self._timeout:g} seconds")

    def _with_fate(self, reason: str) -> str:
        fate = self._stream.fate()
        return f"{reason} ({fate})" if fate else reason

    def _finish(self) -> None:
        """Write what is buffered, throw away what comes meanwhile, and close our writing end."""
        end = time.monotonic() + _STOP_S
        reading = True
        while self._output and (left := end - time.monotonic()) > 0:
            self._flush()
            readable, _writable = self._wait(left if self._output else 0.0, reading=reading)
            if readable:
                try:
                    reading = self._stream.read_into(self._input.room()) != 0
                except OSError:
                    break
        self._stream.close_write()
