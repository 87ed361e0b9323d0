"""Requests over the standard library's http.client: for what is asked by the thousand, or is answered at length.

A small file takes httpx 320 us of processor time, and this 150 us; of a long answer httpx gives pieces of 64 KiB
and copies them once more. For the chunks of a web server that has nothing but files, on two processors, that makes the
difference between half of casync's speed and more than it. Proxies, HTTP/2 and large or endless bodies are httpx's.
"""

from __future__ import annotations

import re
import select
import socket
import time
from http.client import (
    NO_CONTENT,
    NOT_MODIFIED,
    SWITCHING_PROTOCOLS,
    BadStatusLine,
    HTTPConnection,
    HTTPException,
    HTTPMessage,
    HTTPResponse,
    HTTPSConnection,
    IncompleteRead,
    LineTooLong,
    RemoteDisconnected,
)
from typing import TYPE_CHECKING

from casync_py.remotes.http.errors import Gone, WebError
from casync_py.remotes.http.pace import Pace
from casync_py.remotes.http.system_trouble import system_error
from casync_py.remotes.http.watch import Watched

if TYPE_CHECKING:
    import ssl

    from casync_py.remotes.http.watch import Watch

CONTENT_MAX = 64 << 10  # more can take longer than the timeout, which is one for all of `sendall`
_PIECE = 256 << 10
_MOST_INTERIM = 8
_MOST_LINES = 100
_MOST_LINE = 1 << 16  # bytes
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])((?: [^\r\n]*)?)\r?\n")
_WITHOUT_BODY = (NO_CONTENT, NOT_MODIFIED)
_LINE = 4  # bytes of a line of a head beside name and value


class _Response(HTTPResponse):
    """An answer that reads its head itself.

    http.client has heads parsed as mail is, for 60 us each, and takes what ends early for a whole one, or a strange
    length for none.

    Attributes:
        fields: names in lower case.
    """

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None):
        super().__init__(sock, debuglevel, method, url)
        self.fields: dict[str, str] = {}
        self._asked = method

    def begin(self) -> None:
        for _ in range(_MOST_INTERIM):
            version = self._read_status_line()
            self.fields = self._read_fields()
            if not 100 <= self.status < 200 or self.status == SWITCHING_PROTOCOLS:
                break
        self.headers = self.msg = HTTPMessage()  # nobody reads them
        coding, length = self.fields.get("transfer-encoding"), self.fields.get("content-length")
        if coding is not None and coding.lower() != "chunked":
            raise HTTPException("Transfer-Encoding")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise HTTPException("Content-Length")
        self.chunked, self.chunk_left = coding is not None, None
        self.length = None if coding is not None or length is None else int(length)
        if self._asked == "HEAD" or self.status in _WITHOUT_BODY or self.status < 200:
            self.length = 0
        options = self.fields.get("connection", "keep-alive" if version == b"1" else "close").lower()
        self.will_close = "close" in options or (self.length is None and not self.chunked)

    def _read_status_line(self) -> bytes:
        """Read status and reason; the minor number of the version."""
        line = self._readline()
        if not line:
            raise RemoteDisconnected("Remote end closed connection without response")
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            if not line.endswith(b"\n") and line.startswith(b"HTTP/1"):
                raise IncompleteRead(b"")
            raise BadStatusLine(ascii(line[:40].decode("latin-1")))
        minor, status, reason = found.groups()
        self.status = self.code = int(status)
        self.reason = reason.decode("latin-1").strip()
        return minor

    def _read_fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for _ in range(_MOST_LINES):
            line = self._readline()
            if line in (b"\r\n", b"\n"):
                return fields
            if not line.endswith(b"\n"):
                raise IncompleteRead(b"")
            start, colon, rest = line.decode("latin-1").partition(":")
            name, value = start.lower(), rest.strip(" \t\r\n")
            if not colon or name != name.strip() or not name:
                raise HTTPException("A line of the head without a name")
            if name not in fields:
                fields[name] = value
            elif name != "content-length":
                fields[name] += f", {value}"
            elif value != fields[name]:
                raise HTTPException("Content-Length")
        raise HTTPException(f"More than {_MOST_LINES} headers")

    def _readline(self) -> bytes:
        line = self.fp.readline(_MOST_LINE + 1)
        if len(line) > _MOST_LINE:
            raise LineTooLong("header line")
        return line


class DirectClient(Watched):
    """A connection that serves one request at a time, made when it is first needed."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float | None, watch: Watch) -> None:
        """
        Args:
            tls: None where nothing is encrypted.
        """
        super().__init__(watch, timeout_s)
        self._connection: HTTPConnection = (
            HTTPConnection(host, port, timeout=self.connect_s)
            if tls is None
            else HTTPSConnection(host, port, timeout=self.connect_s, context=tls)
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
                response = connection.getresponse()
        except TimeoutError as error:
            verb = "Sends" if sent else "Takes"
            raise WebError(f"{verb} nothing for {self.timeout_s:g} s", transient=True) from error
        except (OSError, HTTPException) as error:
            raise self.trouble(error) from error
        assert isinstance(response, _Response)
        size = sum(len(name) + len(value) + _LINE for name, value in headers) + len(target) + len(content or b"")
        return DirectAnswer(self, response, size)

    def _connect(self) -> None:
        try:
            with self.watched():
                self._connection.connect()
        except TimeoutError as error:
            raise WebError(f"No connection within {self.connect_s:g} s", transient=True) from error
        except OSError as error:
            raise system_error(error, connecting=True) from error
        sock = self._connection.sock
        assert isinstance(sock, socket.socket)
        sock.settimeout(self.timeout_s)
        self.sockets = [sock]

    def trouble(self, error: OSError | HTTPException) -> WebError:
        """What happened to the connection."""
        if self.late:
            return self.lateness()
        if isinstance(error, RemoteDisconnected):
            return Gone("Closed the connection without an answer", transient=True)
        if isinstance(error, IncompleteRead):
            return WebError("Answer ends early", transient=True)
        if isinstance(error, OSError):
            told = system_error(error, connecting=False)
            return Gone(told.reason, transient=True) if told.transient else told
        words = "".join(letter for letter in str(error)[:120] if letter.isprintable())
        if "more than" in words.lower():  # 100 headers, or a line of 64 KiB
            return WebError("Answers with a head that is too long")
        return WebError(f"Does not speak HTTP: {words or type(error).__name__}", transient=True)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class DirectAnswer:
    """An `Answering` over http.client."""

    def __init__(self, client: DirectClient, response: _Response, sent: int) -> None:
        self.client = client
        self.status = response.status
        self.headers = response.fields
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


def _has_news(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
