"""HTTP/1.1 over one connection to a server: a request goes out, the answer comes in; nothing is retried here.

Written for many small answers: 25 us of processor time for a chunk of 30 KB, where httpx's transport takes 350 us.
llhttp (httptools) reads the head and chunked bodies; a body of known length does not pass through it.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from casync_py.remotes.http.errors import TooLarge, WebError
from casync_py.remotes.http.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Content = bytes | Callable[[], Iterable[bytes]] | None

MAX_HEAD = 1 << 16  # bytes; also of what a chunked body may have between its pieces
_READ_SIZE = 1 << 16
_JOINED = 1 << 14  # bytes; a body up to here goes out in one packet with its head


class Connection:
    """One connection. One thread uses it at a time; `abort` may come from any.

    Attributes:
        heard: something of the present answer came.
        status, headers: of the present answer; names in lower case, the last one of equal names.
        complete: all of the answer was read.
        reusable: and another request may follow.
        received, sent: bytes since these were last set to 0.
    """

    def __init__(self, sock: socket.socket, timeout_s: float | None) -> None:
        self._socket = sock
        self._timeout_s = timeout_s
        self._pace = Pace(timeout_s)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._parser: HttpResponseParser | None = None
        self._raw: list[tuple[bytes, bytes]] = []
        self._pieces: deque[bytes] = deque()
        self._left = -1  # of a body of known length; -1: the parser reads the body
        self._to_the_end = False  # the body ends with the connection
        self._head_done = False
        self._keep_alive = False
        self._cut_short = False  # not all of the request went out
        self._overhead = 0
        self.heard = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self.reusable = False
        self.received = 0
        self.sent = 0
        sock.settimeout(timeout_s)

    # The request.

    def is_quiet(self) -> bool:
        """Whether an idle connection looks alive: what comes unasked is the server's farewell."""
        return not self._poll.poll(0) and not (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending())

    def ask(self, head: bytes, content: Content, *, chunked: bool = False, bodiless: bool = False) -> None:
        """Send a request and read the head of its answer.

        Args:
            head: with its empty line.
            chunked: pieces of the content are sent as chunks; else its length is in the head.
            bodiless: the answer has no body whatever its head says (HEAD).

        Raises:
            WebError: the connection broke, stalled, or what came is no HTTP.
        """
        self._begin()
        try:
            if not content:
                self._send(head)
            elif isinstance(content, bytes):
                self._send_bytes(head, content)
            else:
                self._send_pieces(head, content(), chunked)
        except TimeoutError as error:
            raise WebError(f"Takes nothing for {self._pace.timeout_s:g} s", transient=True) from error
        except OSError as error:
            # What the server had to say about the request before it closed may still be there to be read.
            self._cut()
            if not self._head_done and (trouble := self._hear()) is not None:
                silent = isinstance(trouble, (BlockingIOError, ssl.SSLWantReadError))
                raise broken(error if silent else trouble) from error
        self._read_head(bodiless)

    def _begin(self) -> None:
        self._parser = HttpResponseParser(self)
        self._raw = []
        self._pieces.clear()
        self._left = -1
        self._overhead = self.status = 0
        self._pace.begin()
        self._to_the_end = self._head_done = self._cut_short = False
        self.heard = self.complete = self.reusable = False

    def _send(self, data: bytes | memoryview) -> None:
        self._socket.sendall(data)
        self.sent += len(data)

    def _send_bytes(self, head: bytes, content: bytes) -> None:
        if len(content) <= _JOINED:
            self._send(head + content)
        else:
            self._send(head)
            self._send_while_wanted(content)

    def _send_pieces(self, head: bytes, pieces: Iterable[bytes], chunked: bool) -> None:
        self._send(head)
        for piece in pieces:
            if chunked and piece:
                self._send(b"%x\r\n" % len(piece))
            self._send_while_wanted(piece)
            if self._cut_short:
                return
            if chunked and piece:
                self._send(b"\r\n")
        if chunked:
            self._send(b"0\r\n\r\n")

    def _send_while_wanted(self, data: bytes) -> None:
        """Send it, unless the answer comes before the end of the request and is no success: the rest need not go."""
        view = memoryview(data)
        for start in range(0, len(view), _READ_SIZE):
            if self._poll.poll(0) and self._hear() is None and self._head_done and self.status >= 300:
                self._cut()
                return
            self._send(view[start : start + _READ_SIZE])

    def _cut(self) -> None:
        """The rest of the request will not go out, which the server may wait for."""
        self._cut_short = True
        self.reusable = False  # the answer may be complete already

    def _hear(self) -> OSError | None:
        """Take in what has come of the answer, without waiting; what it was, if it was nothing."""
        self._socket.settimeout(0)
        try:
            self._feed(self._socket.recv(_READ_SIZE))
        except OSError as trouble:  # nothing, only something of TLS's own, or broken
            return trouble
        finally:
            self._socket.settimeout(self._timeout_s)
        return None

    # The answer.

    def _read_head(self, bodiless: bool) -> None:
        while not self._head_done:
            self._feed(self._receive(_READ_SIZE))
        self.headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in self._raw}
        if bodiless:
            self._pieces.clear()
            if not self.complete:
                self._finish()
            return
        coding = self.headers.get("transfer-encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            raise WebError("Answers in a transfer coding that was not asked for")
        if coding is None and not self.complete:
            # How the body ends; the parser has refused a head with several lengths, or with one beside chunks.
            length = self.headers.get("content-length")
            if length is None:
                self._to_the_end = True
            else:
                self._left = int(length) - sum(map(len, self._pieces))

    def read(self) -> bytes:
        """The next piece of the body as it comes, at most 64 KiB; empty at its end.

        Raises:
            WebError: the connection broke, stalled, or ended before the body did.
        """
        while not self._pieces:
            if self.complete:
                return b""
            if self._left >= 0:
                return self._read_plain()
            self._feed(self._receive(_READ_SIZE))
        return self._pieces.popleft()

    def _read_plain(self) -> bytes:
        data = self._receive(min(self._left, _READ_SIZE))
        if not data:
            raise WebError(f"Answer ends {self._left} bytes early", transient=True)
        self._left -= len(data)
        if not self._left:
            self._finish()
        return data

    def read_all(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            WebError: it has more than `limit` bytes, or as `read`.
        """
        if self._left > limit:
            raise TooLarge(limit)
        pieces = []
        size = 0
        while piece := self.read():
            size += len(piece)
            if size > limit:
                raise TooLarge(limit)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _receive(self, size: int) -> bytes:
        before = time.monotonic()
        try:
            data = self._socket.recv(size)
        except TimeoutError as error:
            raise WebError(f"Sends nothing for {self._pace.timeout_s:g} s", transient=True) from error
        except OSError as error:
            raise broken(error) from error
        self.received += len(data)
        self._pace.came(len(data), time.monotonic() - before)
        return data

    def _feed(self, data: bytes) -> None:
        if not data:
            if not self._head_done:
                raise WebError("Closed the connection without an answer", transient=True)
            if not self._to_the_end:
                raise WebError("Answer ends early", transient=True)
            self.complete = True
            return
        self.heard = True
        before = len(self._pieces)
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as error:
            raise WebError("Changes to a protocol that was not asked for") from error
        except HttpParserError as error:
            self.reusable = False
            if not self.complete:
                raise WebError(f"Does not speak HTTP: {error}", transient=True) from error
        self._overhead = 0 if len(self._pieces) > before else self._overhead + len(data)
        if self._overhead > MAX_HEAD and not self.complete:
            raise WebError(f"Answers with a head of more than {MAX_HEAD} bytes")

    def _finish(self) -> None:
        self.complete = True
        self.reusable = self._keep_alive and not self._cut_short

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self.complete:  # nothing was asked that this could answer
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:
            self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        if self._head_done or self._parser is None:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self._raw.clear()
        else:
            self._head_done = True
            self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        if self._head_done and not self.complete:
            self._finish()

    # The end.

    def abort(self) -> None:
        """Let whoever waits for this connection fail at once; `close` is needed all the same."""
        with suppress(OSError):  # it is not connected any more
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._parser = None  # it refers to us
        self._socket.close()


def broken(error: OSError) -> WebError:
    """What happened to a connection, for people, and whether it may go better next time."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return WebError(f"TLS failed: {error.reason or error}", transient="ALERT" not in (error.reason or ""))
    return WebError(f"Connection broke: {error.strerror or error}", transient=True)
