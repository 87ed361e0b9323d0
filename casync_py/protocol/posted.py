"""casync's messages in the bodies of HTTP: each POST is one whole exchange, from HELLO to GOODBYE, both ways.

The server keeps nothing between exchanges, so that what a session of casync tells by its course stands in each of them;
`docs/http.md` describes the mapping. A value: bytes and messages, no connection.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from casync_py.errors import PeerError, ProtocolError
from casync_py.protocol import flags as f
from casync_py.protocol.framing import MessageReader
from casync_py.protocol.messages import (
    NAME_OF,
    REQUEST_IDS_MAX,
    Abort,
    ChunkData,
    Goodbye,
    Hello,
    IndexData,
    IndexEnd,
    Message,
    Missing,
    Request,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casync_py.ids import ChunkId

MEDIA_TYPE = "application/vnd.casync.messages"
PROTOCOL_HEADER = "Casync-Protocol"
"""In the answer to OPTIONS of a store: the exchanges that the server knows, by `Exchange.value`, with commas."""

ROWS_MAX = 16384  # of the index in one ASK
IDS_MAX = 16384  # requested in one PULL
FAREWELL = b"".join(Goodbye().wire_parts())


class Exchange(Enum):
    """What one POST does; the value stands in its URL's query, as in `POST /default.castr?pull`."""

    PULL = "pull"  # the client requests chunks, the server answers each
    ASK = "ask"  # the client sends an index, the server requests those of its chunks that it lacks
    SEND = "send"  # the client sends chunks, the server keeps them


class Side(Enum):
    """Who sends a body."""

    CLIENT = "client"
    SERVER = "server"


HELLO_FLAGS: dict[tuple[Exchange, Side], int] = {
    (Exchange.PULL, Side.CLIENT): f.PULL_CHUNKS,
    (Exchange.PULL, Side.SERVER): f.READABLE_STORE,
    (Exchange.ASK, Side.CLIENT): f.PUSH_CHUNKS | f.PUSH_INDEX | f.PUSH_INDEX_CHUNKS,
    (Exchange.ASK, Side.SERVER): f.WRITABLE_STORE | f.WRITABLE_INDEX,
    (Exchange.SEND, Side.CLIENT): f.PUSH_CHUNKS,
    (Exchange.SEND, Side.SERVER): f.WRITABLE_STORE,
}


class _State(Enum):
    """Where a body is; the value completes the sentence "unexpected message ..."."""

    START = "before HELLO"
    OPEN = "after HELLO"
    CLOSING = "after INDEX_EOF"
    ENDED = "after the end"


_ENDS = {Goodbye: _State.ENDED, Abort: _State.ENDED}


def _body(*kinds: type[Message]) -> dict[_State, dict[type[Message], _State]]:
    return {
        _State.START: {Hello: _State.OPEN},
        _State.OPEN: {**dict.fromkeys(kinds, _State.OPEN), **_ENDS},
        _State.CLOSING: {},
        _State.ENDED: {},
    }


_INDEX = _body(IndexData)
_INDEX[_State.OPEN] = {IndexData: _State.OPEN, IndexEnd: _State.CLOSING, Abort: _State.ENDED}
_INDEX[_State.CLOSING] = dict(_ENDS)

LEGAL: dict[tuple[Exchange, Side], dict[_State, dict[type[Message], _State]]] = {
    (Exchange.PULL, Side.CLIENT): _body(Request),
    (Exchange.PULL, Side.SERVER): _body(ChunkData, Missing),
    (Exchange.ASK, Side.CLIENT): _INDEX,
    (Exchange.ASK, Side.SERVER): _body(Request),
    (Exchange.SEND, Side.CLIENT): _body(ChunkData),
    (Exchange.SEND, Side.SERVER): _body(),
}
"""The legal order of the messages in each body: state -> message -> next state."""


class BodyReader:
    """Takes the body of one side of an exchange, however it is cut.

    Attributes:
        done: GOODBYE came.
    """

    __slots__ = ("_exchange", "_legal", "_reader", "_side", "_state", "done")

    def __init__(self, exchange: Exchange, side: Side) -> None:
        """Read what `side` sends."""
        self.done = False
        self._exchange = exchange
        self._side = side
        self._legal = LEGAL[exchange, side]
        self._reader = MessageReader()
        self._state = _State.START

    @property
    def awaited(self) -> int:
        """Bytes of the body of the message that has begun, for who plans the memory that it takes; 0 if none has."""
        return self._reader.awaited

    def feed(self, data: bytes | memoryview) -> list[Message]:
        """The messages that are complete now; HELLO and GOODBYE are checked and left out.

        The buffer must not change afterwards: data of messages that lies in it is not copied, and keeps it alive.

        Raises:
            ProtocolError: this is no body of this exchange.
            PeerError: the other side gave up and said why.
        """
        messages: list[Message] = []
        if not self._reader.feed(data):
            return messages
        reader, legal = self._reader, self._legal
        while (kind := reader.kind()) is not None:
            target = legal[self._state].get(kind)
            if target is None:
                raise ProtocolError(f"Unexpected {NAME_OF[kind]} {self._state.value}")
            message = reader.message()
            if message is None:
                break
            self._state = target
            if isinstance(message, Hello):
                self._check(message.flags)
            elif isinstance(message, Abort):
                raise PeerError(message.reason or f"The other end gave up with error {message.errno}")
            elif isinstance(message, Goodbye):
                self.done = True
            else:
                messages.append(message)
        return messages

    def finish(self) -> None:
        """The body is over.

        Raises:
            ProtocolError: it ended early.
        """
        if not self.done:
            raise ProtocolError("The other end ended early, without GOODBYE")
        if self._reader.inside:
            raise ProtocolError("Something follows GOODBYE")

    def _check(self, flags: int) -> None:
        expected = HELLO_FLAGS[self._exchange, self._side]
        if flags != expected:
            raise ProtocolError(f"HELLO with flags {flags:#x}, not {expected:#x}")


def requests_for(ids: Sequence[ChunkId]) -> list[Request]:
    """Ids in as many messages as they take."""
    return [Request(ids[at : at + REQUEST_IDS_MAX]) for at in range(0, len(ids), REQUEST_IDS_MAX)]


def greeting(exchange: Exchange, side: Side) -> bytes:
    """The HELLO that a body begins with."""
    return joined([Hello(HELLO_FLAGS[exchange, side])])


def joined(messages: Iterable[Message]) -> bytes:
    """The bytes of some messages."""
    return b"".join([part for message in messages for part in message.wire_parts()])


def body(exchange: Exchange, side: Side, messages: Iterable[Message]) -> bytes:
    """A whole body: HELLO, the messages, GOODBYE."""
    return greeting(exchange, side) + joined(messages) + FAREWELL
