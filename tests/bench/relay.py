"""Run a command and pass its input and output through: later, recorded, or cut off; a far machine for tests.

`relay.py [--delay-ms=N] [--record=FILE] [--cut-after=BYTES] COMMAND...`, with no shell in between. With a delay each
byte arrives that much later, however many are under way. The recording holds every byte with its direction (see
casync_py.testing.transcripts). Cut off, the command is killed with SIGKILL when that many bytes have passed, both
directions together, and the relay dies in the same way, as a connection does.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

PIECE = 1 << 20  # also asked for as the size of the pipes, the most that Linux gives to users
UNDER_WAY_MAX = 256 << 20  # a link of 2.5 GB/s with 50 ms each way and back; beyond it nothing is read
FRAME = struct.Struct("<BI")


class Recording:
    """Writes a transcript: a line of JSON with the command's words, then (direction, length, bytes) for each read."""

    def __init__(self, path: str, command: list[str]) -> None:
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115
        self._file.write(json.dumps(command).encode() + b"\n")

    def add(self, direction: int, data: bytes) -> None:
        self._file.write(FRAME.pack(direction, len(data)) + data)

    def close(self) -> None:
        self._file.close()


class Way:
    """One direction: bytes read from `source` are written to `sink` when they are due."""

    def __init__(self, source: int, sink: int, delay_s: float) -> None:
        self.source = source
        self.sink = sink
        self._delay_s = delay_s
        self._waiting: deque[tuple[float, memoryview]] = deque()
        self._size = 0
        self._ended = False
        self.closed = False
        for fd in (source, sink):
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError):  # no pipe, or more than this user may have
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIECE)

    def wants_read(self) -> bool:
        return not self._ended and not self.closed and self._size < UNDER_WAY_MAX

    def due_in(self, now: float) -> float | None:
        """Seconds until there is something to write or to close, 0 or less for at once; None for nothing."""
        return self._waiting[0][0] - now if self._waiting else None

    def read(self) -> bytes:
        """What has arrived, which is now under way; empty at the end or where nothing has."""
        try:
            data = os.read(self.source, PIECE)
        except BlockingIOError:
            return b""
        self._waiting.append((time.monotonic() + self._delay_s, memoryview(data)))
        self._size += len(data)
        self._ended = not data
        return data

    def write(self) -> None:
        """Hand on what is due; the end of the source is handed on by closing the sink."""
        now = time.monotonic()
        try:
            while self._waiting and self._waiting[0][0] <= now:
                due, data = self._waiting.popleft()
                if not data:
                    self.close()
                    return
                written = os.write(self.sink, data)
                self._size -= written
                if written < len(data):
                    self._waiting.appendleft((due, data[written:]))
        except BlockingIOError:
            self._waiting.appendleft((due, data))
        except BrokenPipeError:
            self.close()

    def close(self) -> None:
        """Nothing goes this way any more; both ends of it learn that."""
        self.closed = True
        self._waiting.clear()
        os.close(self.sink)
        os.close(self.source)


def pump(ways: list[Way], recording: Recording | None, cut_after: int | None) -> bool:
    """Pass bytes until both ways are closed; whether the connection was cut before."""
    passed = 0
    while not all(way.closed for way in ways):
        poll = select.poll()
        now = time.monotonic()
        timeout_s: float | None = None
        for way in ways:
            if way.wants_read():
                poll.register(way.source, select.POLLIN)
            if way.closed:
                continue
            due = way.due_in(now)
            poll.register(way.sink, select.POLLOUT if due is not None and due <= 0 else 0)  # 0: errors only
            if due is not None and due > 0:
                timeout_s = due if timeout_s is None else min(timeout_s, due)
        ready = dict(poll.poll(None if timeout_s is None else timeout_s * 1000 + 1))
        for direction, way in enumerate(ways):
            if ready.get(way.sink, 0) & select.POLLERR:
                way.close()  # nobody reads there any more
            elif way.sink in ready:
                way.write()
            if not way.closed and way.source in ready and (data := way.read()):
                passed += len(data)
                if recording:
                    recording.add(direction, data)
                if cut_after is not None and passed >= cut_after:
                    return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command, its input and output passing through this program")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--record", metavar="FILE")
    parser.add_argument("--cut-after", type=int, metavar="BYTES")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    recording = Recording(options.record, options.command) if options.record else None
    child = subprocess.Popen(options.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert child.stdin
    assert child.stdout
    delay_s = options.delay_ms / 1000
    ways = [Way(0, os.dup(child.stdin.fileno()), delay_s), Way(os.dup(child.stdout.fileno()), 1, delay_s)]
    child.stdin.close()
    child.stdout.close()
    try:
        cut = pump(ways, recording, options.cut_after)
    finally:
        if recording:
            recording.close()
    if cut:
        child.kill()
        child.wait()
        os.kill(os.getpid(), signal.SIGKILL)
    status = child.wait()
    return status if status >= 0 else 128 - status  # as a shell tells a signal


if __name__ == "__main__":
    raise SystemExit(main())
