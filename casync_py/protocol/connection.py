"""One end of a connection as a value: bytes in and messages out, messages in and bytes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.errors import PeerError, ProtocolError
from casync_py.protocol import flags as f
from casync_py.protocol.framing import MessageReader
from casync_py.protocol.hello import CLIENTS, check_own, check_peer
from casync_py.protocol.local_error import LocalProtocolError
from casync_py.protocol.messages import (
    CHUNK_DATA_MAX,
    ERRNO_MAX,
    NAME_OF,
    OUTSTANDING_MAX,
    STREAM_DATA_MAX,
    Abort,
    ArchiveData,
    ChunkData,
    Examined,
    Goodbye,
    Hello,
    IndexData,
    Message,
    Missing,
    Request,
)
from casync_py.protocol.outstanding import Asked, Owed
from casync_py.protocol.state import DEAF, END_OF_INPUT, RECEIVED, SENT, Role, State, running_state

if TYPE_CHECKING:
    from casync_py.ids import ChunkId

__all__ = ["Connection", "LocalProtocolError", "Role"]

FIRST_INDEX_MIN = 64  # casync's receiver breaks when it ever holds 41 to 63 bytes of an index
INDEX_ROW_SIZE = 40


class Connection:
    """The protocol's state at one end, and the check of everything that is sent and received.

    Say HELLO first, without waiting: `send(Hello())`. Not thread-safe.

    Attributes:
        role: what this end is.
        flags: what this end offers or wants.
        peer_flags: what the other end offers or wants, `OURS` taken out; None until its HELLO came.
        operations: what the client wants; 0 until the other end's HELLO came.
        dialect: whether both ends are of this package, so that what casync lacks may be used.
        state: where the connection is.
    """

    __slots__ = (
        "_abort",
        "_asked",
        "_examined",
        "_failure",
        "_index_bytes",
        "_ours",
        "_owed",
        "_reader",
        "_received",
        "_sent",
        "dialect",
        "flags",
        "operations",
        "peer_flags",
        "role",
        "state",
    )

    def __init__(self, role: Role, flags: int, *, ours: bool = False, outstanding_limit: int = OUTSTANDING_MAX) -> None:
        """Make an end that nothing was sent to or from.

        Args:
            flags: what this end offers (servers) or wants (clients), of `protocol.flags`.
            ours: a server: its client said that it is of this package; a client: the server that it started may be.
            outstanding_limit: how many chunks the other end may have asked for and not got. casync asks for all chunks
                of an index as soon as it has seen the index: whoever cannot stop reading needs room for that.

        Raises:
            LocalProtocolError: flags that the role has not.
        """
        check_own(role, flags)
        self.role = role
        self.flags = flags
        self.peer_flags: int | None = None
        self.operations = 0
        self.dialect = ours and role not in CLIENTS
        self.state = State.START
        self._ours = ours
        self._sent = SENT[role]
        self._received = RECEIVED[role]
        self._reader = MessageReader()
        self._asked = Asked(once=role is Role.PULL_CLIENT)
        self._owed = Owed(outstanding_limit)
        self._index_bytes = 0
        self._examined = 0
        self._abort: Abort | None = None
        self._failure: ProtocolError | None = None

    @property
    def done(self) -> bool:
        """Whether a legal end was reached: nothing more may be sent, and what comes is dropped."""
        return self.state is State.ENDED or (self.state is State.ABORTED and self._abort is None)

    @property
    def outstanding(self) -> int:
        """How many chunks were asked for and not answered, by whichever end asks."""
        return len(self._asked.ids) + len(self._owed.ids)

    @property
    def answered_count(self) -> int:
        """How many ids are kept for `answered`: a caller who wants bounded memory connects anew after so many."""
        return len(self._asked.answered)

    def answered(self, chunk_id: ChunkId) -> bool:
        """Whether the other end answered this id and will not do so again in this session."""
        return chunk_id in self._asked.answered

    def send(self, message: Message) -> bytes:
        """The bytes of a message that is sent now.

        Raises:
            LocalProtocolError: the message may not be sent now, or not to this peer.
            ProtocolError: the other end broke the protocol before; only an `Abort` may still be sent.
        """
        head, data = self.send_parts(message)
        return b"".join((head, data)) if len(data) else head

    def send_parts(self, message: Message) -> tuple[bytes, bytes | memoryview]:
        """`send` in two parts, the second of which is the message's own data, not copied, or empty."""
        target = self._sent[self.state].get(type(message))
        if target is None:
            self._raise_failure()
            raise LocalProtocolError(f"A {self.role.value} sends no {NAME_OF[type(message)]} {self.state.value}")
        if isinstance(message, ChunkData):
            if not 0 < len(message.data) <= CHUNK_DATA_MAX:
                raise LocalProtocolError(f"A CHUNK has 1 to {CHUNK_DATA_MAX} bytes, not {len(message.data)}")
            self._owed.answer(message.chunk_id, dialect=self.dialect)
            return message.wire_parts()
        if isinstance(message, Request):
            return self._ask(message), b""
        if isinstance(message, Hello):
            message = Hello(self.flags | f.OURS if self.dialect else self.flags)
        else:
            self._check_sent(message)
        self.state = target
        return message.wire_parts()

    def receive(self, data: bytes | memoryview) -> list[Message]:
        """Take bytes from the other end, however they were cut.

        The buffer must not change afterwards: data of messages that lies in it is not copied, and keeps it alive.

        Returns:
            The messages that are complete now, in order. After a `Goodbye` or an `Abort`, nothing follows.

        Raises:
            ProtocolError: the other end broke the protocol; once raised, every further call raises it again.
            LocalProtocolError: we have not said HELLO.
        """
        self._raise_failure()
        if self.state is State.START:
            raise LocalProtocolError("HELLO is said before anything is received")
        messages: list[Message] = []
        if self.state in DEAF or not self._reader.feed(data):
            return messages
        try:
            self._read(messages)
        except ProtocolError as error:
            self._failure, self.state = error, State.FAILED
            raise
        return messages

    def receive_end(self) -> None:
        """The other end closed its side.

        Raises:
            ProtocolError: it may not end there.
            PeerError: it gave up and said why in an `Abort`.
        """
        self._raise_failure()
        if self._abort is not None:
            raise PeerError(self._abort.reason or f"The other end gave up with error {self._abort.errno}")
        target = END_OF_INPUT[self.role].get(self.state)
        if target is None or (self.state not in DEAF and self._owes_more()):
            reason = f"The other end ended early, {self.state.value}"
            if self._reader.inside and self.state is State.GREETING:
                reason += f"; it said {self._reader.beginning()}"
            self._failure, self.state = ProtocolError(reason), State.FAILED
            raise self._failure
        self.state = target

    def _owes_more(self) -> bool:
        """Whether the other end cannot have meant to end here, although the state would allow it."""
        index_confirmed = self.role is not Role.PUSH_SERVER or not self.operations & ~f.PUSH_CHUNKS
        return self._reader.inside or bool(self._asked.ids) or not index_confirmed

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    # What is sent: checked beyond the table. Nothing changes before all checks are passed.

    def _ask(self, request: Request) -> bytes:
        if not self.operations & f.CHUNK_OPERATIONS:
            raise LocalProtocolError("REQUEST where no chunks were agreed on")
        requests = self._asked.ask(request, dialect=self.dialect)
        return b"".join([part.wire_parts()[0] for part in requests])

    def _check_sent(self, message: Message) -> None:
        if isinstance(message, IndexData | ArchiveData):
            size = len(message.data)
            if not 0 < size <= STREAM_DATA_MAX:
                raise LocalProtocolError(f"A piece has 1 to {STREAM_DATA_MAX} bytes, not {size}")
            if isinstance(message, IndexData):
                if not self._index_bytes and size < FIRST_INDEX_MIN:
                    raise LocalProtocolError(f"The first INDEX has {FIRST_INDEX_MIN} bytes or more, not {size}")
                self._index_bytes += size
        elif isinstance(message, Missing):
            if self.role is Role.PUSH_CLIENT and not self.dialect:
                raise LocalProtocolError("MISSING kills casync's push server")
            self._owed.answer(message.chunk_id, dialect=self.dialect)
        elif isinstance(message, Goodbye):
            self._check_goodbye()
        elif isinstance(message, Examined):
            if not (self.dialect and self.operations & f.PUSH_INDEX_CHUNKS):
                raise LocalProtocolError("EXAMINED outside the dialect, or where no chunks follow an index")
            if message.rows < self._examined:
                raise LocalProtocolError("EXAMINED goes backwards")
            self._examined = message.rows
        elif isinstance(message, Abort) and not 0 <= message.errno < ERRNO_MAX:
            raise LocalProtocolError(f"ABORT with error number {message.errno}")

    def _check_goodbye(self) -> None:
        if self.role is Role.PUSH_CLIENT and self.operations & f.PUSH_CHUNKS:
            raise LocalProtocolError("GOODBYE makes casync's push server install an index without its chunks")
        if self.role is not Role.PULL_CLIENT and self.outstanding:
            raise LocalProtocolError(f"GOODBYE with {self.outstanding} chunks outstanding")

    # What is received.

    def _read(self, messages: list[Message]) -> None:
        reader, rows = self._reader, self._received
        while (kind := reader.kind()) is not None:
            target = rows[self.state].get(kind)
            if target is None:
                raise ProtocolError(f"Unexpected {NAME_OF[kind]} {self.state.value}")
            message: Message | None = reader.message()
            if message is None:
                break
            if isinstance(message, ChunkData | Missing):
                self._asked.arrived(message.chunk_id)
            elif isinstance(message, Request):
                message = self._requested(message)
                if message is None:
                    continue
            elif isinstance(message, Hello):
                target = self._greeted(message.flags)
                message = Hello(self.peer_flags or 0)
            else:
                self._check_received(message)
            self.state = target
            messages.append(message)
            if target in DEAF:
                break

    def _greeted(self, flags: int) -> State:
        client = self.role in CLIENTS
        check_peer(self.flags, flags, ours_allowed=client and self._ours)
        if client:
            self.dialect = flags & f.OURS != 0
        self.peer_flags = flags & ~f.OURS
        self.operations = (self.flags if client else flags) & f.OPERATIONS
        self._asked.once &= not self.dialect
        return running_state(self.operations)

    def _requested(self, request: Request) -> Request | None:
        if not self.operations & f.CHUNK_OPERATIONS:
            raise ProtocolError("REQUEST where no chunks were agreed on")
        return self._owed.asked(request, dialect=self.dialect)

    def _check_received(self, message: Message) -> None:
        if isinstance(message, Goodbye):
            if self.role is not Role.PULL_SERVER and self.outstanding:
                raise ProtocolError(f"GOODBYE with {self.outstanding} chunks outstanding")
        elif isinstance(message, Examined):
            if not (self.dialect and self.operations & f.PUSH_INDEX_CHUNKS):
                raise ProtocolError("Unexpected EXAMINED")
            if not self._examined <= message.rows <= self._index_bytes // INDEX_ROW_SIZE:
                raise ProtocolError(f"EXAMINED with {message.rows} rows")
            self._examined = message.rows
        elif isinstance(message, Abort):
            self._abort = message
