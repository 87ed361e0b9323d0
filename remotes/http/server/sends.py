"""SEND: the chunks of a body, verified and stored as they come."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from casync_py.errors import ChunkInvalid, PeerError
from casync_py.protocol.messages import ChunkData
from casync_py.protocol.posted import BodyReader, Exchange, Side
from casync_py.remotes.http.server.answers import Refusal
from casync_py.remotes.http.server.bodies import pieces
from casync_py.remotes.http.server.work import SMALL
from casync_py.store.chunk import Chunk

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from casync_py.remotes.http.server.calls import Call
    from casync_py.remotes.http.server.keeping import Keeper
    from casync_py.remotes.http.server.work import Work

SEND_MAX = 128 << 20
"""Bytes of one SEND: many times what a client sends at once, and no body without end."""


class Receiver:
    """Receives one SEND. A piece of the body is worked on while the next one comes."""

    def __init__(self, keeper: Keeper, work: Work) -> None:
        self._keeper = keeper
        self._work = work
        self._reader = BodyReader(Exchange.SEND, Side.CLIENT)

    async def receive(self, call: Call) -> None:
        """Return when all chunks are put; what makes them durable is the caller's.

        Raises:
            Refusal: 422 for a bad chunk, 400 for a body that is no SEND, 413, 503.
            OSError: they cannot be written.
            Gone: the client went away.
        """
        async with self._work.bodies.of(SMALL), AsyncExitStack() as turn:
            alone = False
            current: asyncio.Future[Sequence[Chunk]] | None = None
            try:
                async for piece in pieces(call, SEND_MAX):
                    if current is not None:
                        await self._keep_rest(await current, alone=alone)
                    if alone != (self._reader.awaited > SMALL):  # the message that has begun is large, or was
                        alone = not alone
                        await (turn.enter_async_context(self._work.large.of(1)) if alone else turn.aclose())
                    current = self._work.write(self._take, piece)
                    del piece
            finally:
                rest = None if current is None else await current
            if rest:
                await self._keep_rest(rest, alone=alone)
        try:
            self._reader.finish()
        except PeerError as error:
            raise _no_send(error) from None

    def _take(self, piece: bytes) -> Sequence[Chunk]:
        """In a thread: the chunks that could not be kept at once."""
        try:
            messages = self._reader.feed(piece)
        except PeerError as error:
            raise _no_send(error) from None
        return self._keeper.keep_small([_chunk(message) for message in messages if isinstance(message, ChunkData)])

    async def _keep_rest(self, rest: Sequence[Chunk], *, alone: bool) -> None:
        while rest:
            try:
                await self._keeper.keep(rest[0], alone=alone)
            except ChunkInvalid as error:
                raise Refusal(422, str(error)) from None
            rest = await self._work.write(self._keeper.keep_small, rest[1:])


def _chunk(message: ChunkData) -> Chunk:
    data = bytes(message.data)
    return Chunk(message.chunk_id, stored=data) if message.compressed else Chunk(message.chunk_id, plain=data)


def _no_send(error: PeerError) -> Refusal:
    return Refusal(400, f"The body is no {Exchange.SEND.value}: {error.reason}")
