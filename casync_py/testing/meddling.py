"""Processes that speak the wire protocol with somebody in between who changes, drops, delays or ends what they say.

Ends are a client or a server process, or the test itself in the place of either. A client is led to a server by
`bridge`, a program to call as ssh that connects to a socket of the test, so that both processes are its own children
and nothing about their end is lost.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from casync_py.testing.peak import wait_and_measure
from casync_py.testing.ssh import write_script
from casync_py.testing.transcripts import split_messages, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_PIECE = 1 << 20

_BRIDGE = """
import contextlib, os, socket, sys, threading
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
def forward():
    with contextlib.suppress(OSError):
        while data := os.read(0, 1 << 20):
            link.sendall(data)
        link.shutdown(socket.SHUT_WR)
threading.Thread(target=forward, daemon=True).start()
with contextlib.suppress(OSError):
    while data := link.recv(1 << 20):
        while data:
            data = data[os.write(1, data):]
os._exit(0)
"""


class Close(Exception):
    """Raised by a meddler: nothing more goes this way, and the receiver sees the end."""


class Silence(Exception):
    """Raised by a meddler: nothing more goes this way, and the receiver waits."""


class Cut(Exception):
    """Raised by a meddler: the server is killed and the client sees the end."""


class Meddler(Protocol):
    def __call__(self, number: int, message: bytes) -> Sequence[bytes]:
        """What is passed on in the place of a whole message; `number` counts from 0.

        Raises:
            Close, Silence, Cut: after what was returned before.
        """


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
        status: of exit; negative: the signal that killed it.
        peak: resident memory, bytes.
    """

    status: int
    stdout: bytes
    stderr: str
    peak: int
    seconds: float


class End:
    """A process under test; its standard output and error go to files."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str], *, piped: bool) -> None:
        """Args: piped: standard input and output are pipes for the test, `read_fd` and `write_fd`."""
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._start = time.monotonic()
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=pipe if piped else subprocess.DEVNULL,
            stdout=pipe if piped else self._output,
            stderr=self._errors,
            env={**os.environ, **environment},
            bufsize=0,
        )
        if piped:
            assert self.process.stdin
            assert self.process.stdout
            self.write_fd, self.read_fd = os.dup(self.process.stdin.fileno()), os.dup(self.process.stdout.fileno())
            self.process.stdin.close()
            self.process.stdout.close()

    def wait(self, limit_s: float) -> Ended:
        """Wait for its end.

        Raises:
            TimeoutError: it did not end within `limit_s` from its start; it is killed.
        """
        ended, peak = wait_and_measure(self.process, self._start + limit_s - time.monotonic())
        texts = []
        for file in (self._output, self._errors):
            file.seek(0)
            texts.append(file.read())
            file.close()
        if not ended:
            raise TimeoutError(f"{self.process.args!r} did not end within {limit_s} s: {texts[1].decode()}")
        return Ended(self.process.returncode, texts[0], texts[1].decode(), peak, time.monotonic() - self._start)


def write_bridge(path: Path, address: Path) -> Path:
    """A program to call as ssh, which leads to the socket `address`, whatever the host and the words are."""
    return write_script(
        path, f"#!/bin/sh\nexec {shlex.join([sys.executable, '-S', '-E', '-c', _BRIDGE, str(address)])}\n"
    )


@contextlib.contextmanager
def listening(address: Path, limit_s: float) -> Iterator[socket.socket]:
    """A listening socket; accepting waits at most `limit_s`."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen(8)
        server.settimeout(limit_s)
        yield server


def send_all(fd: int, data: bytes) -> bool:
    """Write everything; whether somebody reads."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def receive(fd: int) -> bytes:
    """What comes next, b"" at the end."""
    try:
        return os.read(fd, _PIECE)
    except ConnectionResetError:
        return b""


def iter_messages(fd: int) -> Iterator[bytes]:
    """The messages that come from a descriptor until its end; what remains comes last, if it is no whole one."""
    waiting = b""
    while data := receive(fd):
        waiting += data
        messages = split_messages(waiting)
        waiting = waiting[sum(map(len, messages)) :]
        yield from messages
    if waiting:
        yield waiting


def wait_for(fd: int, name: str) -> bytes:
    """Read messages until one of that type came, and return it; b"" if the end came first. Later ones may be lost."""
    return next((message for message in iter_messages(fd) if type_name(message) == name), b"")


class Between:
    """Passes messages between a client's connection and a server's pipes, in two threads, with a meddler in one way."""

    def __init__(
        self, client: socket.socket, server: End, to_client: Meddler | None, to_server: Meddler | None
    ) -> None:
        self._server = server
        self._client = client
        self.passed = [0, 0]
        self._threads = [
            threading.Thread(target=self._pass, args=(0, client.fileno(), server.write_fd, to_server), daemon=True),
            threading.Thread(target=self._pass, args=(1, server.read_fd, client.fileno(), to_client), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _pass(self, way: int, source: int, sink: int, meddler: Meddler | None) -> None:
        """Args: way: 0 to the server, 1 to the client."""
        silent = False
        for number, message in enumerate(iter_messages(source)):
            self.passed[way] = number + 1
            if silent:
                continue
            try:
                parts = meddler(number, message) if meddler else [message]
            except Silence:
                silent = True
                continue
            except Cut:
                self._server.process.kill()
                break
            except Close:
                break
            if not all(send_all(sink, part) for part in parts):
                break
        self._end(way)

    def _end(self, way: int) -> None:
        """The receiver of this way sees the end, and its sender that nobody reads any more."""
        if way == 0:
            os.close(self._server.write_fd)
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RD)
        else:
            os.close(self._server.read_fd)
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_WR)

    def join(self) -> None:
        """After both processes have ended."""
        self._client.close()
        for thread in self._threads:
            thread.join(10)
