"""A web server that answers what a test tells it to: wrong, late, in pieces, or not at all."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from io import BufferedReader
    from types import TracebackType

_LINGER_0 = struct.pack("ii", 1, 0)
_PATIENCE_S = 30.0


class End(Enum):
    """How a connection ends: in order, or with RST."""

    CLOSE = "close"
    RESET = "reset"


CLOSE, RESET = End.CLOSE, End.RESET
Step = bytes | float | End  # what is sent; seconds to wait, which the end of the test cuts short; the end


@dataclass(slots=True)
class Asked:
    """A request as it came.

    Attributes:
        number: 0 for the first request to the server; `connection`: of its connection, likewise.
        target: path and query.
        headers: names in lower case.
        lines: the head's lines as sent.
    """

    number: int
    connection: int
    method: str
    target: str
    headers: dict[str, str]
    lines: list[str]
    body: bytes = b""


def answer(status: int = 200, body: bytes = b"", *lines: str, length: int | None = None) -> bytes:
    """A whole answer.

    Args:
        lines: more lines of the head.
        length: the Content-Length that is told, where it is not to be the body's; -1: none is told.
    """
    told = len(body) if length is None else length
    head = [f"HTTP/1.1 {status} Scripted", *lines, *([f"Content-Length: {told}"] if told >= 0 else [])]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


@dataclass
class ScriptedServer:
    """A server on the loopback interface, to be used as a context manager; each connection has a thread.

    Attributes:
        script: gives for each request the steps of its answer; an iterator without end is fine. After the last step
            the next request of the connection is read.
        tls: context of the server's side; None: plain.
        host: address that it listens on.
        asked: the requests that came; `connections`: how many connections did.
        port: where it listens.
    """

    script: Callable[[Asked], Iterable[Step]]
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listening = socket.create_server((self.host, 0), family=family, backlog=128)
        self.port: int = self._listening.getsockname()[1]
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()

    @property
    def origin(self) -> str:
        """`scheme://host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"

    def url(self, path: str = "/") -> str:
        """The URL of a path."""
        return self.origin + path

    def __enter__(self) -> Self:
        self._accepting = threading.Thread(target=self._accept, name="scripted server", daemon=True)
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._accepting.join(_PATIENCE_S)
        self._listening.close()
        with self._lock:
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE_S)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                sock, _address = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True)
            self.connections += 1
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with suppress(OSError, ValueError):  # the client has gone, or speaks no HTTP: neither is the server's fault
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                if self.tls is not None:
                    sock = self.tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._sockets.add(sock)
                with sock.makefile("rb") as reader:
                    while (asked := self._read(reader, number)) is not None:
                        if not self._answer(sock, asked):
                            break
            finally:
                with self._lock:
                    self._sockets.discard(sock)
                sock.close()

    def _read(self, reader: BufferedReader, number: int) -> Asked | None:
        lines: list[str] = []
        while line := reader.readline().decode("latin-1").rstrip("\r\n"):
            lines.append(line)
        if not lines:
            return None
        method, target, _version = lines[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        with self._lock:
            asked = Asked(len(self.asked), number, method, target, headers, lines)
            self.asked.append(asked)
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int(reader.readline(), 16):
                asked.body += reader.read(size)
                reader.readline()
            reader.readline()
        elif length := int(headers.get("content-length", "0")):
            asked.body = reader.read(length)
        return asked

    def _answer(self, sock: socket.socket, asked: Asked) -> bool:
        for step in self.script(asked):
            if self._stop.is_set():
                return False
            if isinstance(step, bytes):
                sock.sendall(step)
            elif isinstance(step, End):
                if step is RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
                return False
            elif self._stop.wait(step):
                return False
        return True
