"""Requests over the standard library's http.client: for what is asked by the thousand, or is answered at length.

A small file takes httpx 320 us of processor time, and http.client 60 us; of a long answer httpx gives pieces of 64 KiB
and copies them once more. For the chunks of a web server that has nothing but files, on two processors, that makes the
difference between half of casync's speed and more than it. Proxies, HTTP/2 and large or endless bodies are httpx's.
"""

from __future__ import annotations

import select
import socket
import time
from http.client import (
    SWITCHING_PROTOCOLS,
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    HTTPSConnection,
    IncompleteRead,
    RemoteDisconnected,
)
from typing import TYPE_CHECKING

from casync_py.remotes.http.errors import Gone, WebError
from casync_py.remotes.http.pace import Pace
from casync_py.remotes.http.system_trouble import CONNECT_S, system_error
from casync_py.remotes.http.watch import Watched

if TYPE_CHECKING:
    import ssl
    from io import BufferedReader

    from casync_py.remotes.http.watch import Watch

CONTENT_MAX = 64 << 10  # more can take longer than the timeout, which is one for all of `sendall`
_PIECE = 256 << 10
_MOST_INTERIM = 8
_LINE = 4  # bytes of a line of a head beside name and value


class _Head:
    """What a head is read from; http.client takes one that ends early for a whole one."""

    def __init__(self, file: BufferedReader) -> None:
        self.close = file.close
        self._readline = file.readline
        self._last = b""

    def readline(self, limit: int) -> bytes:
        self._last = self._readline(limit)
        return self._last

    @property
    def is_whole(self) -> bool:
        return self._last in (b"\r\n", b"\n")


class _Response(HTTPResponse):
    def begin(self) -> None:
        file = self.fp
        self.fp = head = _Head(file)  # type: ignore[assignment] # all that `begin` uses of it
        try:
            super().begin()
        finally:
            if self.fp is not None:  # or it is closed already
                self.fp = file
        if not head.is_whole:
            self.close()
            raise IncompleteRead(b"")


class DirectClient(Watched):
    """A connection that serves one request at a time, made when it is first needed."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float | None, watch: Watch) -> None:
        """
        Args:
            tls: None where nothing is encrypted.
        """
        super().__init__(watch)
        self.timeout_s = timeout_s
        self._connect_s = CONNECT_S if timeout_s is None else min(timeout_s, CONNECT_S)
        self._connection: HTTPConnection = (
            HTTPConnection(host, port, timeout=self._connect_s)
            if tls is None
            else HTTPSConnection(host, port, timeout=self._connect_s, context=tls)
        )
        self._connection.response_class = _Response

    def ask(self, method: str, target: str, headers: list[tuple[str, str]], content: bytes | None) -> DirectAnswer:
        """Send a request and wait for the head of its answer.

        Args:
            content: at most `CONTENT_MAX`.

        Raises:
            Gone: the server closed the connection instead of answering, or before.
            WebError: there is no answer for another reason.
        """
        connection = self._connection
        if connection.sock is None:
            self._connect()
        elif _has_news(connection.sock):  # unasked, which is a server's farewell
            raise Gone("Closed the connection")
        sent = False
        try:
            with self.watched():
                connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in headers:
                    connection.putheader(name, value)
                connection.endheaders(content)
                sent = True
                response = self._answer()
        except TimeoutError as error:
            verb = "Sends" if sent else "Takes"
            raise WebError(f"{verb} nothing for {self.timeout_s:g} s", transient=True) from error
        except (OSError, HTTPException) as error:
            raise self.trouble(error) from error
        size = sum(len(name) + len(value) + _LINE for name, value in headers) + len(target) + len(content or b"")
        return DirectAnswer(self, response, size)

    def _answer(self) -> HTTPResponse:
        response = self._connection.getresponse()
        try:
            interim = 0
            while 100 <= response.status < 200 and response.status != SWITCHING_PROTOCOLS and interim < _MOST_INTERIM:
                interim += 1
                response.headers = None  # type: ignore[assignment] # `begin` reads the next head then
                response.begin()
            _check_length(response)
        except BaseException:
            response.close()
            raise
        return response

    def _connect(self) -> None:
        try:
            with self.watched():
                self._connection.connect()
        except TimeoutError as error:
            raise WebError(f"No connection within {self._connect_s:g} s", transient=True) from error
        except OSError as error:
            raise system_error(error, connecting=True) from error
        sock = self._connection.sock
        assert isinstance(sock, socket.socket)
        sock.settimeout(self.timeout_s)
        self.sockets = [sock]

    def trouble(self, error: OSError | HTTPException) -> WebError:
        """What happened to the connection."""
        if self.late:
            return WebError(f"Does not answer within {self.timeout_s:g} s", transient=True)
        if isinstance(error, RemoteDisconnected):
            return Gone("Closed the connection without an answer", transient=True)
        if isinstance(error, IncompleteRead):
            return WebError("Answer ends early", transient=True)
        if isinstance(error, OSError):
            told = system_error(error, connecting=False)
            return Gone(told.reason, transient=True) if told.transient else told
        words = "".join(letter for letter in str(error)[:120] if letter.isprintable())
        if "more than" in words:  # 100 headers, or a line of 64 KiB
            return WebError("Answers with a head that is too long")
        return WebError(f"Does not speak HTTP: {words or type(error).__name__}", transient=True)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class DirectAnswer:
    """An `Answering` over http.client."""

    def __init__(self, client: DirectClient, response: HTTPResponse, sent: int) -> None:
        self.client = client
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.received = sum(len(name) + len(value) + _LINE for name, value in self.headers.items())
        self.sent = sent
        self._response = response
        self._pace = Pace(client.timeout_s)
        self._ended = response.isclosed()
        self._pieces = 0

    @property
    def length(self) -> int | None:
        return self._response.length

    @property
    def complete(self) -> bool:
        return self._ended and not self._response.will_close

    def read(self) -> bytes:
        if self._ended:
            return b""
        before = time.monotonic()
        try:
            with self.client.watched():
                piece = self._response.read1(_PIECE)
        except TimeoutError as error:
            raise WebError(f"Sends nothing for {self.client.timeout_s:g} s", transient=True) from error
        except (OSError, HTTPException, ValueError) as error:  # ValueError: no number where a chunk has its size
            raise self._trouble(error) from error
        if not piece:
            self._finish()
        else:
            self.received += len(piece)
            self._pieces += 1
            self._pace.came(len(piece), time.monotonic() - before)
        return piece

    def _finish(self) -> None:
        response = self._response
        # Where only the end of the connection tells the end of the body, nothing at all is no answer.
        empty = response.length is None and not response.chunked and not self._pieces
        if response.length or empty or self.client.late:
            raise WebError("Answer ends early", transient=True)
        self._response.close()
        self._ended = True

    def _trouble(self, error: Exception) -> WebError:
        if isinstance(error, (OSError, HTTPException)):
            return self.client.trouble(error)
        return WebError("Does not speak HTTP: a chunk without a size", transient=True)

    def close(self) -> None:
        """Let go of it."""
        self._response.close()


def _check_length(response: HTTPResponse) -> None:
    """Refuse what http.client would take for a body that ends with the connection, or for one of several lengths."""
    headers = response.headers
    lengths = headers.get_all("Content-Length", [])
    if len(set(lengths)) > 1 or (lengths and response.length is None and not response.chunked):
        raise HTTPException("Content-Length")
    if "Transfer-Encoding" in headers and not response.chunked:
        raise HTTPException("Transfer-Encoding")


def _has_news(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
