"""One connection's worth of httpx, for everything that a request can be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from casync_py.errors import UsageError
from casync_py.remotes.http.lean import httpx
from casync_py.remotes.http.pace import Pace
from casync_py.remotes.http.trouble import web_error
from casync_py.remotes.http.watch import Watched

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from casync_py.remotes.http.errors import WebError
    from casync_py.remotes.http.watch import Watch

    Content = bytes | Callable[[], Iterable[bytes]] | None

HEADER_CHARSET = "latin-1"  # each byte a character: what a server said, such as an ETag, is said back unchanged
_LINE = 4  # bytes of a line of a head beside name and value
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


class Client(Watched):
    """A transport of httpx that serves one request at a time: through proxies, over HTTP/2, with any body.

    httpx's transport and not its client, which follows redirects, keeps cookies and reads the environment for each
    request: 80 us more, for what is done here once for an origin or not at all.
    """

    def __init__(
        self,
        base: str,
        tls: ssl.SSLContext | None,
        proxy: str | None,
        timeout_s: float | None,
        watch: Watch,
        *,
        http2: bool,
    ) -> None:
        """
        Args:
            base: what each URL begins with, up to its path.
            tls: None where nothing is encrypted.

        Raises:
            UsageError: an impossible proxy.
        """
        super().__init__(watch, timeout_s)
        self._base = base
        self._body: Body | None = None
        self._extensions = {
            "timeout": {"connect": self.connect_s, "read": timeout_s, "write": timeout_s, "pool": timeout_s},
            "trace": self._remember,
        }
        try:
            self._transport = httpx.HTTPTransport(verify=tls or False, http2=http2, limits=_ONE, proxy=proxy)
        except (ValueError, httpx.InvalidURL, ImportError) as error:
            # Without what httpx says: it may quote the URL with its password
            raise UsageError(f"The proxy that the environment names cannot be used ({type(error).__name__})") from None

    def ask(self, method: str, target: str, headers: list[tuple[str, str]], content: Content) -> ClientAnswer:
        """Send a request and wait for the head of its answer.

        Raises:
            Gone: the server closed the connection instead of answering, or before.
            WebError: there is no answer for another reason.
        """
        self._body = None if content is None else Body(content if isinstance(content, bytes) else content())
        lines = httpx.Headers(headers, encoding=HEADER_CHARSET)
        try:
            request = httpx.Request(
                method, self._base + target, headers=lines, content=self._body, extensions=self._extensions
            )
            with self.watched():
                response = self._transport.handle_request(request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.trouble(error) from error
        sent = sum(len(name) + len(value) + _LINE for name, value in headers) + len(target)
        return ClientAnswer(self, response, sent + (self._body.size if self._body else 0))

    def trouble(self, error: Exception) -> WebError:
        """What happened to the connection."""
        if self.late:
            return self.lateness()
        return web_error(error, self.timeout_s)

    def _remember(self, event: str, details: dict[str, Any]) -> None:
        """Keep the sockets that are made: nothing but their end wakes a thread that waits for them."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            made = details["return_value"].get_extra_info("socket")
            # There is one connection at a time: what came before has ended
            self.sockets = [made] if event.endswith("connect_tcp.complete") else [*self.sockets, made]

    def progress(self) -> int:
        return 0 if self._body is None else self._body.size

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


class ClientAnswer:
    """An `Answering` over httpx."""

    def __init__(self, client: Client, response: httpx.Response, sent: int) -> None:
        self.client = client
        self._response = response
        self._pieces: Iterator[bytes] = response.iter_raw()
        self._pace = Pace(client.timeout_s)
        self.status = response.status_code
        response.headers.encoding = HEADER_CHARSET  # httpx would guess
        self.headers = dict(response.headers)
        self.complete = False
        self.received = sum(len(name) + len(value) + _LINE for name, value in response.headers.raw)
        self.sent = sent

    @property
    def length(self) -> int | None:
        length = self.headers.get("content-length", "")
        return int(length) if length.isdigit() else None

    def read(self) -> bytes:
        before = time.monotonic()
        while not self.complete:
            try:
                with self.client.watched():
                    piece = next(self._pieces, None)
            except (httpx.HTTPError, httpx.StreamError) as error:
                raise self.client.trouble(error) from error
            if piece is None:
                self.complete = True
            elif piece:
                self.received += len(piece)
                self._pace.came(len(piece), time.monotonic() - before)
                return piece
        return b""

    def close(self) -> None:
        """Give back the connection, or break it if not all was read."""
        self._response.close()
