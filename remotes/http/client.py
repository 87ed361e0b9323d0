"""One connection's worth of httpx."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from casync_py.errors import UsageError
from casync_py.remotes.http.lean import httpx
from casync_py.remotes.http.trouble import CONNECT_S

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    Content = bytes | Callable[[], Iterable[bytes]] | None

HEADER_CHARSET = "latin-1"  # each byte a character: what a server said, such as an ETag, is said back unchanged
_PIECE = 256 << 10  # bytes of a body that are handed over at once
_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)


class Body:
    """A request's body, once, and how many bytes of it were taken."""

    def __init__(self, content: bytes | Iterable[bytes]) -> None:
        self.size = 0
        self._pieces = _cut(content) if isinstance(content, bytes) else content

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            yield piece


def _cut(content: bytes) -> Iterable[bytes]:
    """Pieces small enough to show that a slow line takes them."""
    if len(content) <= _PIECE:
        return (content,)
    return (content[at : at + _PIECE] for at in range(0, len(content), _PIECE))


class Client:
    """A transport that serves one request at a time.

    httpx's transport and not its client, which follows redirects, keeps cookies and reads the environment for each
    request: 80 us more, for what is done here once for an origin or not at all.

    Attributes:
        late: the watch has broken the connection.
    """

    def __init__(self, tls: ssl.SSLContext | None, proxy: str | None, timeout_s: float | None, *, http2: bool) -> None:
        """
        Args:
            tls: None where nothing is encrypted.

        Raises:
            UsageError: an impossible proxy.
        """
        self.late = False
        self._sockets: list[socket.socket] = []
        self._body: Body | None = None
        self._size = 0
        self._since = 0.0
        connect_s = CONNECT_S if timeout_s is None else min(timeout_s, CONNECT_S)
        self._extensions = {
            "timeout": {"connect": connect_s, "read": timeout_s, "write": timeout_s, "pool": timeout_s},
            "trace": self._remember,
        }
        try:
            self._transport = httpx.HTTPTransport(verify=tls or False, http2=http2, limits=_ONE, proxy=proxy)
        except (ValueError, httpx.InvalidURL, ImportError) as error:
            # Without what httpx says: it may quote the URL with its password
            raise UsageError(f"The proxy that the environment names cannot be used ({type(error).__name__})") from None

    def begin(self, body: Body | None) -> None:
        """A request comes, with this body; the watch may look from now on."""
        self._body = body
        self._size = 0
        self._since = time.monotonic()

    def ask(self, method: str, url: str, headers: list[tuple[str, str]]) -> httpx.Response:
        """Send the request that was begun, and wait for the head of its answer.

        Raises:
            httpx.HTTPError, httpx.InvalidURL: there is none.
        """
        lines = httpx.Headers(headers, encoding=HEADER_CHARSET)
        request = httpx.Request(method, url, headers=lines, content=self._body, extensions=self._extensions)
        return self._transport.handle_request(request)

    def _remember(self, event: str, details: dict[str, Any]) -> None:
        """Keep the sockets that are made: nothing but their end wakes a thread that waits for them."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            made = details["return_value"].get_extra_info("socket")
            # There is one connection at a time: what came before has ended
            self._sockets = [made] if event.endswith("connect_tcp.complete") else [*self._sockets, made]

    def check(self, now: float, patience_s: float) -> None:
        """Break the connection where neither the request nor the head of its answer has come on for so long."""
        size = 0 if self._body is None else self._body.size
        if size != self._size:
            self._size, self._since = size, now
        elif now - self._since > patience_s:
            self.late = True
            self.shut()

    def shut(self) -> None:
        """Break the connection; from any thread."""
        for sock in self._sockets:
            with suppress(OSError):  # it is not connected any more
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()
