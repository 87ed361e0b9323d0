"""A client and a server driven against each other: what is sent arrives, however the stream is cut."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from casync_py.errors import PeerError, ProtocolError
from casync_py.ids import ChunkId
from casync_py.protocol import flags as f
from casync_py.protocol import messages as m
from casync_py.protocol.connection import Connection, Role
from casync_py.protocol.framing import MessageReader
from casync_py.protocol.local_error import LocalProtocolError
from casync_py.protocol.state import SENT, State
from casync_py.testing.connections import byte_by_byte, fresh_pair, greeted_pair, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

IDS = [ChunkId(bytes([number]) * 32) for number in range(12)]
SESSIONS = [
    f.PULL_CHUNKS,
    f.PULL_INDEX,
    f.PULL_CHUNKS | f.PULL_INDEX,
    f.PULL_ARCHIVE,
    f.PULL_CHUNKS | f.PULL_INDEX | f.PULL_ARCHIVE,
    f.PUSH_CHUNKS,
    f.PUSH_INDEX,
    f.PUSH_CHUNKS | f.PUSH_INDEX | f.PUSH_INDEX_CHUNKS,
    f.PUSH_ARCHIVE,
    f.PUSH_CHUNKS | f.PUSH_INDEX | f.PUSH_INDEX_CHUNKS | f.PUSH_ARCHIVE,
]

u64 = st.integers(0, (1 << 64) - 1)
chunk_ids = st.sampled_from(IDS)
data = st.one_of(st.binary(min_size=1, max_size=40), st.builds(lambda n: b"long" * n, st.integers(1, 20000)))
reasons = st.text(st.characters(min_codepoint=0x20, exclude_categories=("C", "Z")), max_size=200)
messages: st.SearchStrategy[m.Message] = st.one_of(
    st.builds(m.Hello, u64),
    st.builds(m.IndexData, data),
    st.just(m.IndexEnd()),
    st.builds(m.ArchiveData, data),
    st.just(m.ArchiveEnd()),
    st.builds(m.Request, st.lists(chunk_ids, min_size=1, max_size=20), st.booleans(), st.booleans()),
    st.builds(m.ChunkData, chunk_ids, data, st.booleans()),
    st.builds(m.Missing, chunk_ids),
    st.just(m.Goodbye()),
    st.builds(m.Abort, st.integers(0, m.ERRNO_MAX - 1), reasons),
    st.builds(m.Examined, u64),
)


def wire(message: m.Message) -> bytes:
    return b"".join(message.wire_parts())


def pieces(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(st.lists(messages, max_size=6), st.lists(st.integers(0, 200_000), max_size=30))
def test_messages_survive_the_wire(sent: list[m.Message], cuts: list[int]) -> None:
    reader = MessageReader()
    got = []
    for piece in pieces(b"".join(map(wire, sent)), cuts):
        if reader.feed(piece):
            while reader.kind() is not None and (message := reader.message()) is not None:
                got.append(message)
    assert got == sent
    assert not reader.inside


@given(st.sampled_from(SESSIONS), st.booleans(), st.booleans(), st.lists(messages, max_size=8))
def test_whole_or_byte_by_byte(operations: int, dialect: bool, to_server: bool, sent: list[m.Message]) -> None:
    """The same messages, states and errors, whatever comes; an error may hide what came before it in one piece."""
    outcomes = []
    for cut in (whole, byte_by_byte):
        pair = greeted_pair(operations, dialect=dialect)
        end = pair.server if to_server else pair.client
        got: list[m.Message] = []
        error = ""
        try:
            for piece in cut(b"".join(map(wire, sent))):
                got += end.receive(piece)
        except ProtocolError as caught:
            error = str(caught)
        outcomes.append((error, [] if error else got, end.state, end.outstanding if not error else 0))
    assert outcomes[0] == outcomes[1]


@given(st.sampled_from(SESSIONS), st.booleans(), st.lists(st.binary(max_size=60), max_size=6))
def test_bytes_that_mean_nothing(operations: int, greeted: bool, junk: list[bytes]) -> None:
    pair = greeted_pair(operations) if greeted else fresh_pair(operations)
    for end in pair:
        if not greeted:
            end.send(m.Hello())
        try:
            for piece in junk:
                end.receive(piece)
            end.receive_end()
        except PeerError:
            assert end.state is State.FAILED


DEAF = {State.ENDED, State.ABORTED, State.FAREWELL}


class Conversation(RuleBasedStateMachine):
    """Both ends say at any time whatever they may, and what was said is on its way for as long as it likes.

    Two ends of ours never find fault with each other, whatever crosses on the way; what arrives is what was sent, each
    question is answered, and none twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pair = greeted_pair(f.PULL_CHUNKS)
        self.on_its_way: dict[Role, deque[tuple[m.Message, bytes]]] = {}
        self.rows_seen = 0
        self.asked: set[ChunkId] = set()

    @initialize(operations=st.sampled_from(SESSIONS), dialect=st.booleans())
    def greet(self, operations: int, dialect: bool) -> None:
        self.pair = greeted_pair(operations, dialect=dialect)
        self.on_its_way = {end.role: deque() for end in self.pair}
        self.taker, self.giver = self.pair if operations & f.PULL else reversed(self.pair)

    def say(self, end: Connection, message: m.Message) -> None:
        before = end.state, end.outstanding, end.answered_count
        try:
            said = end.send(message)
        except LocalProtocolError:
            assert (end.state, end.outstanding, end.answered_count) == before
            return
        assert type(message) in SENT[end.role][before[0]]
        self.on_its_way[end.role].append((message, said))

    @rule(client=st.booleans(), message=messages.filter(lambda message: not isinstance(message, m.Examined | m.Abort)))
    def say_something(self, client: bool, message: m.Message) -> None:
        self.say(self.pair.client if client else self.pair.server, message)

    @rule(ids=st.lists(chunk_ids, min_size=1, max_size=5), urgent=st.booleans())
    def ask(self, ids: list[ChunkId], urgent: bool) -> None:
        if self.taker.role is Role.PUSH_SERVER and not self.taker.dialect:
            # casync's asks for no chunk twice, and a push client answers none twice.
            ids = [chunk_id for chunk_id in ids if chunk_id not in self.asked]
            self.asked.update(ids)
        if ids:
            self.say(self.taker, m.Request(ids, urgent))

    @precondition(lambda self: self.giver._owed.ids)
    @rule(draw=st.data(), content=data, missing=st.booleans())
    def answer(self, draw: st.DataObject, content: bytes, missing: bool) -> None:
        chunk_id = draw.draw(st.sampled_from(sorted(self.giver._owed.ids)))
        self.say(self.giver, m.Missing(chunk_id) if missing else m.ChunkData(chunk_id, content, compressed=True))

    @precondition(lambda self: self.giver.state in {State.BOTH, State.INDEX, State.ARCHIVE})
    @rule(rows=st.integers(2, 20), ended=st.booleans())
    def stream(self, rows: int, ended: bool) -> None:
        self.say(self.giver, m.IndexData(bytes(40 * rows)))
        self.say(self.giver, m.ArchiveData(bytes(rows)))
        if ended:
            self.say(self.giver, m.IndexEnd())
            self.say(self.giver, m.ArchiveEnd())

    @rule()
    def examine(self) -> None:
        self.say(self.pair.server, m.Examined(self.rows_seen))

    @rule(client=st.booleans(), cut=st.sampled_from([whole, byte_by_byte]))
    def hear(self, client: bool, cut: Callable[[bytes], list[bytes]]) -> None:
        end = self.pair.client if client else self.pair.server
        queue = self.on_its_way[self.pair.other(end).role]
        if not queue:
            return
        message, said = queue.popleft()
        deaf = end.state in DEAF
        got = [one for piece in cut(said[:300]) for one in end.receive(piece)] + end.receive(said[300:])
        if deaf:
            assert got == []
        elif isinstance(message, m.Request):
            requests = [one for one in got if isinstance(one, m.Request)]
            assert len(requests) == len(got)
            assert {chunk_id for request in requests for chunk_id in request.ids} <= {*message.ids} & end._owed.ids
            assert all(request.urgent == message.urgent for request in requests)
        else:
            assert got == [message]
            if isinstance(message, m.IndexData):
                self.rows_seen += len(message.data) // 40

    def teardown(self) -> None:
        """All that is on its way arrives, all that is owed is sent: then nothing is outstanding, and both may end."""
        if not self.on_its_way:
            return
        for _round in range(2):
            for client in (True, False):
                while self.on_its_way[(self.pair.server if client else self.pair.client).role]:
                    self.hear(client, whole)
            if self.giver.state not in DEAF:
                for chunk_id in sorted(self.giver._owed.ids):
                    self.say(self.giver, m.ChunkData(chunk_id, b"data", compressed=False))
                self.say(self.giver, m.IndexData(bytes(100)))
                self.say(self.giver, m.IndexEnd())
                self.say(self.giver, m.ArchiveEnd())
        if self.taker.state not in DEAF:
            assert not self.taker.outstanding
            assert not self.giver.outstanding
            self.say(self.pair.server, m.Goodbye())
            self.hear(client=True, cut=whole)
            if self.pair.client.role is Role.PULL_CLIENT:
                self.pair.server.receive_end()
            assert self.pair.server.done


Conversation.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestConversation = Conversation.TestCase
