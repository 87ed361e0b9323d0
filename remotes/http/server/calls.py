"""One request, as the app's parts see it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from starlette.types import Receive, Scope, Send

    from casync_py.remotes.http.server.answers import Header
    from casync_py.remotes.http.server.work import Work

    Pieces = Generator[bytes, None, None]


class Call:
    """A request and the way back.

    Attributes:
        method: "GET" also for HEAD; then `head` is true.
        path: the path of the URL as it came, percent-encoded.
        query: what follows the question mark.
        scheme: "http" or "https".
        started: a long answer has begun, so that nothing else can be said any more.
        received: the whole body was.
    """

    __slots__ = ("_headers", "head", "method", "path", "query", "receive", "received", "scheme", "send", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        self.head = method == "HEAD"
        self.method = "GET" if self.head else method
        self.path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.scheme: str = scope["scheme"]
        self.receive = receive
        self.send = send
        self.started = False
        self.received = method not in ("POST", "PUT")  # of others, whatever comes is passed over
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]

    def header(self, name: bytes) -> bytes | None:
        """The value of a header, `name` in lower case; several of one name as one, with commas."""
        found = None
        for each, value in self._headers:
            if each == name:
                found = value if found is None else found + b", " + value
        return found

    async def stream(self, status: int, headers: Iterable[Header], pieces: Pieces, work: Work) -> None:
        """Send a long answer: the next piece is read while one is sent. Ends early when nobody listens any more.

        Args:
            pieces: made in a thread, and closed here. An empty one asks for a turn of its own at something large.
        """
        gone = asyncio.create_task(self._gone())
        work.stream_began()
        ahead = asyncio.create_task(_next(pieces, work))
        try:
            self.started = True
            await self.send({"type": "http.response.start", "status": status, "headers": [*headers]})
            while (piece := await ahead) is not None and not gone.done():
                ahead = asyncio.create_task(_next(pieces, work))
                await self.send({"type": "http.response.body", "body": piece, "more_body": True})
                del piece
            await self.send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            await asyncio.wait([ahead])
            if not ahead.cancelled():
                ahead.exception()  # seen: either it was raised above, or another one is on its way
            pieces.close()
            work.stream_ended()

    async def _gone(self) -> None:
        """Return when the other end has closed the connection; what it sent must have been read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def _next(pieces: Pieces, work: Work) -> bytes | None:
    piece = await work.read(next, pieces, None)
    if piece == b"":
        async with work.large.of(1):
            piece = await work.read(next, pieces, None)
    return piece
