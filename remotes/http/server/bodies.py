"""Bodies of requests, received within bounds of size and memory; how long they take, the connection's guard minds."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from casync_py.remotes.http.server.answers import Refusal
from casync_py.remotes.http.server.work import SMALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from casync_py.remotes.http.server.calls import Call
    from casync_py.remotes.http.server.work import Work

_PIECE = 128 << 10  # less is not worth the way to a thread


class Gone(Exception):
    """The client closed the connection in the middle of its request; there is nobody to answer."""


def declared_size(call: Call, limit: int) -> int | None:
    """What the request says of its body's size; None where it comes in pieces of which it says nothing.

    Raises:
        Refusal: it is too large, or the request says nothing at all.
    """
    length = call.header(b"content-length")
    if length is None:
        if call.header(b"transfer-encoding") is None:
            raise Refusal(411, "The request does not say how long its body is")
        return None
    size = int(length) if length.isdigit() and len(length) < 20 else -1
    if size < 0:
        raise Refusal(400, "No such length of a body")
    if size > limit:
        raise too_large(limit)
    return size


def too_large(limit: int) -> Refusal:
    return Refusal(413, f"The body has more than {limit} bytes")


async def events(call: Call) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        Gone: the client went away.
    """
    more = True
    while more:
        event = await call.receive()
        if event["type"] == "http.disconnect":
            raise Gone
        more = event.get("more_body", False)
        call.received = not more
        data: bytes = event.get("body", b"")
        if data:
            yield data


async def pieces(call: Call, limit: int) -> AsyncIterator[bytes]:
    """The body in pieces of a size that is worth a thread's while.

    Raises:
        Gone: as `events`.
        Refusal: 413, it has more than `limit` bytes.
    """
    held: list[bytes] = []
    size = total = 0
    async for data in events(call):
        held.append(data)
        size += len(data)
        total += len(data)
        if total > limit:
            raise too_large(limit)
        if size >= _PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


@asynccontextmanager
async def whole(call: Call, limit: int, work: Work) -> AsyncIterator[tuple[bytes, bool]]:
    """A body in memory; what it takes counts until the context ends.

    Returns:
        The body, and whether the turn at something large was taken for it.

    Raises:
        Refusal: 413, it has more than `limit` bytes; 503, there is no room for it; or as `declared_size`.
        Gone: as `events`.
    """
    size = declared_size(call, limit)
    async with AsyncExitStack() as room:
        is_large = size is not None and size > SMALL
        if is_large:
            await room.enter_async_context(work.large.of(1))
        else:
            await room.enter_async_context(work.bodies.of(min(limit, SMALL) if size is None else size))
        held = []
        total = 0
        async for data in events(call):
            held.append(data)
            total += len(data)
            if total > limit:
                raise too_large(limit)
            if total > SMALL and not is_large:
                is_large = True
                await room.enter_async_context(work.large.of(1))
        body = b"".join(held)
        held.clear()
        yield body, is_large
