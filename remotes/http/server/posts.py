"""POST: casync's messages in bodies, and which chunks there are. Source: docs/http.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.errors import ChunkInvalid, FormatError, PeerError
from casync_py.format.index_layout import HEADER_SIZE, ROW
from casync_py.format.index_rows import IndexRows
from casync_py.ids import ID_SIZE, ChunkId
from casync_py.protocol.messages import IndexData, Request
from casync_py.protocol.posted import IDS_MAX, MEDIA_TYPE, ROWS_MAX, BodyReader, Exchange, Side, requests_for
from casync_py.protocol.posted import body as body_of
from casync_py.remotes.http.server.answers import Refusal, answer, of_os_error
from casync_py.remotes.http.server.bodies import declared_size, whole
from casync_py.remotes.http.server.keeping import Keeper, digests_of
from casync_py.remotes.http.server.pulls import PullPieces
from casync_py.remotes.http.server.sends import SEND_MAX, Receiver
from casync_py.remotes.http.terms import HAS_IDS_MAX, HAS_MEDIA_TYPE, PLAIN_MEDIA_TYPE

if TYPE_CHECKING:
    from casync_py.monitor import Monitor
    from casync_py.protocol.messages import Message
    from casync_py.remotes.http.server.answers import Header
    from casync_py.remotes.http.server.calls import Call
    from casync_py.remotes.http.server.places import Names
    from casync_py.remotes.http.server.shelf import Shelf
    from casync_py.remotes.http.server.sources import Asked, Stores
    from casync_py.remotes.http.server.work import Work
    from casync_py.store.local import LocalStore

_ASK_MAX = 2 * ROW.size * ROWS_MAX  # the index and, in whatever pieces it comes, the messages around it
_PULL_MAX = (ID_SIZE + 24) * IDS_MAX + 3 * 24  # each id in a message of its own
_MESSAGES: list[Header] = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
_ANSWERS: list[Header] = [(b"content-type", PLAIN_MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]


class Pulls:
    """Answers the POSTs that read."""

    def __init__(self, stores: Stores, work: Work, monitor: Monitor) -> None:
        self._stores = stores
        self._work = work
        self._monitor = monitor

    async def pull(self, call: Call, names: Names) -> None:
        """Chunks, in the order in which the body asks for them.

        Raises:
            Refusal: the body is no such request, or there is no such store.
        """
        _check_type(call, MEDIA_TYPE)
        with await self._stores.open(names) as store:
            async with whole(call, _PULL_MAX, self._work) as (body, _):
                ids = await self._work.read(_requested_ids, body)
            with store.reading(ids) as source:
                pieces = PullPieces(source, ids, self._work.piece_size, self._monitor.detail, store.shown)
                await call.stream(200, _MESSAGES, pieces.all(), self._work)

    async def has(self, call: Call, names: Names) -> None:
        """One byte for each id of the body: 1 if the chunk is there.

        Raises:
            Refusal: as `pull`.
        """
        _check_type(call, HAS_MEDIA_TYPE)
        with await self._stores.open(names) as store:
            async with whole(call, ID_SIZE * HAS_IDS_MAX, self._work) as (body, _):
                if len(body) % ID_SIZE:
                    raise Refusal(400, f"Ids have {ID_SIZE} bytes each, and the body has {len(body)}")
                try:
                    found = await self._work.read(_has, store.local, body)
                except OSError as error:
                    raise of_os_error(store.shown, error) from None
        await answer(call.send, 200, _ANSWERS, found)


class Posts:
    """Answers the POSTs that write."""

    def __init__(self, shelf: Shelf, work: Work) -> None:
        self._shelf = shelf
        self._work = work

    async def ask(self, call: Call, names: Names) -> None:
        """Which of an index's chunks are lacking; what is there is kept safe from gc.

        Raises:
            Refusal: as `pull`.
        """
        _check_type(call, MEDIA_TYPE)
        with await self._shelf.open(names, create=True) as store:
            async with whole(call, _ASK_MAX, self._work) as (body, _), store.commits:
                try:
                    reply = await self._work.write(lacking, store.local, body)
                except ChunkInvalid as error:
                    raise Refusal(409, f"Chunk {error.chunk_id} in {store.shown}: {error.reason}") from None
                except OSError as error:
                    raise of_os_error(store.shown, error) from None
        await answer(call.send, 200, _MESSAGES, reply)

    async def send(self, call: Call, names: Names) -> None:
        """Chunks to keep; answered when all of them are on disk.

        Raises:
            Refusal: 422, a chunk does not match its id; or as `pull`.
            Gone: the client went away.
        """
        _check_type(call, MEDIA_TYPE)
        digests = digests_of(call)
        declared_size(call, SEND_MAX)
        with await self._shelf.open(names, create=True) as store:
            receiver = Receiver(Keeper(store.local, digests, self._work), self._work)
            async with store.commits:
                try:
                    await receiver.receive(call)
                    await store.commits.durable()
                except OSError as error:
                    await store.commits.look_at()
                    raise of_os_error(store.shown, error) from None
        await answer(call.send, 200, _MESSAGES, body_of(Exchange.SEND, Side.SERVER, ()))


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


def lacking(local: LocalStore, body: bytes) -> bytes:
    """The answer to an ASK: requests for what a store does not have of an index.

    Raises:
        Refusal: 400, it is no index.
        ChunkInvalid, OSError: as `LocalStore.recognise`.
    """
    rows = IndexRows()
    ids: dict[ChunkId, None] = {}
    try:
        index = b"".join(
            [message.data for message in read_whole_body(Exchange.ASK, body) if isinstance(message, IndexData)]
        )
        rows.feed(index)
        rows.finish()
    except FormatError as error:
        raise Refusal(400, f"The body has no index: {error}") from None
    if rows.rows > ROWS_MAX:
        raise Refusal(413, f"The index has {rows.rows} rows, more than {ROWS_MAX}")
    for _end, raw in ROW.iter_unpack(index[HEADER_SIZE : HEADER_SIZE + rows.rows * ROW.size]):
        ids[ChunkId(raw)] = None
    wanted = [chunk_id for chunk_id, there in zip(ids, local.recognise(list(ids)), strict=True) if not there]
    return body_of(Exchange.ASK, Side.SERVER, requests_for(wanted))


def _requested_ids(body: bytes) -> list[ChunkId]:
    ids: list[ChunkId] = []
    for message in read_whole_body(Exchange.PULL, body):
        assert isinstance(message, Request), "the order of messages allows no other"
        ids += message.ids
    if len(ids) > IDS_MAX:
        raise Refusal(413, f"{len(ids)} chunks are requested, more than {IDS_MAX}")
    return ids


def _has(store: Asked, body: bytes) -> bytes:
    return bytes(store.has_many([ChunkId(body[at : at + ID_SIZE]) for at in range(0, len(body), ID_SIZE)]))
