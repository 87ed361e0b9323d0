"""POST: casync's messages in bodies, and which chunks there are. Source: docs/http.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.errors import PeerError
from casync_py.ids import ID_SIZE, ChunkId
from casync_py.protocol.messages import Request
from casync_py.protocol.posted import IDS_MAX, MEDIA_TYPE, BodyReader, Exchange, Side
from casync_py.remotes.http.server.answers import Refusal, answer, of_os_error
from casync_py.remotes.http.server.bodies import whole
from casync_py.remotes.http.server.pulls import PullPieces

if TYPE_CHECKING:
    from casync_py.monitor import Monitor
    from casync_py.protocol.messages import Message
    from casync_py.remotes.http.server.answers import Header
    from casync_py.remotes.http.server.calls import Call
    from casync_py.remotes.http.server.options import ServeOptions
    from casync_py.remotes.http.server.places import Names
    from casync_py.remotes.http.server.shelf import Shelf
    from casync_py.remotes.http.server.work import Work
    from casync_py.store.base import Store

HAS_TYPE = "application/vnd.casync.ids"
HAS_MAX = 65536  # ids in one question
_PULL_MAX = (ID_SIZE + 24) * IDS_MAX + 3 * 24  # each id in a message of its own
_MESSAGES: list[Header] = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
_ANSWERS: list[Header] = [(b"content-type", b"application/octet-stream"), (b"cache-control", b"no-store")]
READING = ("pull", "has")
WRITING = ("ask", "send")


class Posts:
    """Answers POST."""

    def __init__(self, options: ServeOptions, shelf: Shelf, work: Work, monitor: Monitor) -> None:
        self._shelf = shelf
        self._work = work
        self._monitor = monitor

    async def pull(self, call: Call, names: Names) -> None:
        """Chunks, in the order in which the body asks for them.

        Raises:
            Refusal: the body is no such request, or there is no such store.
        """
        _check_type(call, MEDIA_TYPE)
        store = await self._shelf.open(names)
        with store:
            async with whole(call, _PULL_MAX, self._work) as body:
                ids = await self._work.read(_requested_ids, body)
            pieces = PullPieces(store.local, ids, self._work.piece_size, self._monitor.detail, store.shown)
            await call.stream(200, _MESSAGES, pieces.all(), self._work)

    async def has(self, call: Call, names: Names) -> None:
        """One byte for each id of the body: 1 if the chunk is there.

        Raises:
            Refusal: as `pull`.
        """
        _check_type(call, HAS_TYPE)
        store = await self._shelf.open(names)
        with store:
            async with whole(call, ID_SIZE * HAS_MAX, self._work) as body:
                if len(body) % ID_SIZE:
                    raise Refusal(400, f"Ids have {ID_SIZE} bytes each, and the body has {len(body)}")
                try:
                    found = await self._work.read(_has, store.local, body)
                except OSError as error:
                    raise of_os_error(store.shown, error) from None
        await answer(call.send, 200, _ANSWERS, found)


def _check_type(call: Call, expected: str) -> None:
    """
    Raises:
        Refusal: 415.
    """
    said = (call.header(b"content-type") or b"").decode("latin-1").partition(";")[0].strip().lower()
    if said != expected:
        raise Refusal(415, f"The body is of type {said!r}, not {expected}")


def read_whole_body(exchange: Exchange, body: bytes) -> list[Message]:
    """The messages of a client's body.

    Raises:
        Refusal: 400, it is no body of this exchange.
    """
    reader = BodyReader(exchange, Side.CLIENT)
    try:
        messages = reader.feed(body)
        reader.finish()
    except PeerError as error:
        raise Refusal(400, f"The body is no {exchange.value}: {error.reason}") from None
    return messages


def _requested_ids(body: bytes) -> list[ChunkId]:
    ids: list[ChunkId] = []
    for message in read_whole_body(Exchange.PULL, body):
        assert isinstance(message, Request), "the order of messages allows no other"
        ids += message.ids
    if len(ids) > IDS_MAX:
        raise Refusal(413, f"{len(ids)} chunks are requested, more than {IDS_MAX}")
    return ids


def _has(store: Store, body: bytes) -> bytes:
    return bytes(store.has_many([ChunkId(body[at : at + ID_SIZE]) for at in range(0, len(body), ID_SIZE)]))
