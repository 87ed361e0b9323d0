"""What a connection checks beyond the order of messages."""

from __future__ import annotations

import pytest

from casync_py.errors import ProtocolError
from casync_py.ids import ChunkId
from casync_py.protocol import flags as f
from casync_py.protocol import messages as m
from casync_py.protocol.connection import Connection, Role
from casync_py.protocol.local_error import LocalProtocolError
from casync_py.testing.connections import deliver, greeted_pair

PULL = f.PULL_CHUNKS | f.PULL_INDEX
PUSH = f.PUSH_CHUNKS | f.PUSH_INDEX | f.PUSH_INDEX_CHUNKS
DIALECTS = pytest.mark.parametrize("dialect", [False, True], ids=["casync", "dialect"])


def ids(count: int, first: int = 0) -> list[ChunkId]:
    return [ChunkId(number.to_bytes(32, "big")) for number in range(first, first + count)]


A, B, C = ids(3)


def wire(message: m.Message) -> bytes:
    return b"".join(message.wire_parts())


def chunk(chunk_id: ChunkId) -> m.ChunkData:
    return m.ChunkData(chunk_id, b"data", compressed=True)


@DIALECTS
@pytest.mark.parametrize("operations", [PULL, PUSH], ids=["pull", "push"])
class TestRequests:
    """The same on both sides: a puller asks a pull server, a push server asks its client."""

    def test_a_question_and_its_answer(self, operations: int, dialect: bool) -> None:
        taker, giver = ends(operations, dialect=dialect)
        assert deliver(taker, giver, m.Request([A, B])) == [m.Request([A, B])]
        assert taker.outstanding == giver.outstanding == 2
        assert deliver(giver, taker, chunk(B)) == [chunk(B)]
        assert deliver(giver, taker, chunk(A)) == [chunk(A)]
        assert taker.outstanding == giver.outstanding == 0

    def test_an_answer_that_nobody_asked_for(self, operations: int, dialect: bool) -> None:
        for answer in (chunk(A), m.Missing(A)):
            taker, giver = ends(operations, dialect=dialect)
            with pytest.raises(LocalProtocolError):
                giver.send(answer)
            deliver(taker, giver, m.Request([B]))
            with pytest.raises(LocalProtocolError):
                giver.send(answer)
            with pytest.raises(ProtocolError, match=f"Chunk {A.hex()} was sent without being requested"):
                taker.receive(wire(answer))

    def test_a_second_answer(self, operations: int, dialect: bool) -> None:
        taker, giver = ends(operations, dialect=dialect)
        deliver(taker, giver, m.Request([A]))
        deliver(giver, taker, chunk(A))
        with pytest.raises(LocalProtocolError):
            giver.send(chunk(A))
        with pytest.raises(ProtocolError, match="without being requested"):
            taker.receive(wire(chunk(A)))

    def test_a_question_twice_wants_one_answer(self, operations: int, dialect: bool) -> None:
        taker, giver = ends(operations, dialect=dialect)
        deliver(taker, giver, m.Request([A, B]))
        (again,) = deliver(taker, giver, m.Request([B], urgent=True))
        assert isinstance(again, m.Request)
        assert (again.ids, again.urgent) == ([B], True)
        assert taker.outstanding == giver.outstanding == 2
        assert deliver(giver, taker, chunk(B)) == [chunk(B)]
        assert taker.outstanding == giver.outstanding == 1

    def test_a_question_twice_while_the_answer_is_on_its_way(self, operations: int, dialect: bool) -> None:
        taker, giver = ends(operations, dialect=dialect)
        deliver(taker, giver, m.Request([A]))
        on_its_way = giver.send(chunk(A))
        assert deliver(taker, giver, m.Request([A], urgent=True)) == []
        assert giver.outstanding == 0
        assert taker.receive(on_its_way) == [chunk(A)]
        assert taker.outstanding == 0

    def test_each_id_once_in_a_request(self, operations: int, dialect: bool) -> None:
        taker, giver = ends(operations, dialect=dialect)
        (got,) = giver.receive(wire(m.Request([B, A, B, B])))
        assert got == m.Request([B, A])
        assert giver.outstanding == 2
        deliver(taker, ends(operations, dialect=dialect)[1], m.Request([A, A]))
        assert taker.outstanding == 1

    @pytest.mark.parametrize("count", [0, 2049])
    def test_too_few_or_too_many_ids_in_one_request(self, operations: int, dialect: bool, count: int) -> None:
        taker, _giver = ends(operations, dialect=dialect)
        with pytest.raises(LocalProtocolError, match="1 to 2048"):
            taker.send(m.Request(ids(count)))
        assert taker.outstanding == 0

    def test_a_flood_of_requests(self, operations: int, dialect: bool) -> None:
        _taker, giver = ends(operations, dialect=dialect)
        for first in range(0, 65536, 2048):
            giver.receive(wire(m.Request(ids(2048, first))))
        assert giver.outstanding == 65536
        giver.receive(wire(m.Request(ids(2048), urgent=True)))  # known ones are not counted twice
        with pytest.raises(ProtocolError, match="More than 65536"):
            giver.receive(wire(m.Request(ids(1, 65536))))

    def test_a_flood_of_our_own(self, operations: int, dialect: bool) -> None:
        taker, _giver = ends(operations, dialect=dialect)
        for first in range(0, 65536, 2048):
            taker.send(m.Request(ids(2048, first)))
        with pytest.raises(LocalProtocolError, match="More than 65536"):
            taker.send(m.Request(ids(1, 65536)))
        taker.send(m.Request(ids(2048), urgent=True))
        assert taker.outstanding == 65536

    def test_sizes_of_a_chunk(self, operations: int, dialect: bool) -> None:
        taker, giver = ends(operations, dialect=dialect)
        deliver(taker, giver, m.Request([A]))
        for size in (0, m.CHUNK_DATA_MAX + 1):
            with pytest.raises(LocalProtocolError):
                giver.send(m.ChunkData(A, bytes(size), compressed=False))
        (got,) = deliver(giver, taker, m.ChunkData(A, bytes(m.CHUNK_DATA_MAX), compressed=False))
        assert isinstance(got, m.ChunkData)
        assert len(got.data) == m.CHUNK_DATA_MAX


def ends(operations: int, *, dialect: bool) -> tuple[Connection, Connection]:
    """The end that asks and the end that answers."""
    pair = greeted_pair(operations, dialect=dialect)
    return (pair.client, pair.server) if operations & f.PULL else (pair.server, pair.client)


def test_casync_answers_once() -> None:
    taker, giver = ends(PULL, dialect=False)
    deliver(taker, giver, m.Request([A, B, C]))
    deliver(giver, taker, chunk(A))
    deliver(giver, taker, m.Missing(B))
    assert [taker.answered(chunk_id) for chunk_id in (A, B, C)] == [True, True, False]
    assert taker.answered_count == 2
    for chunk_id in (A, B):
        with pytest.raises(LocalProtocolError, match="answers once"):
            taker.send(m.Request([chunk_id]))
    taker.send(m.Request([C], urgent=True))


def test_as_a_server_of_casync_we_answer_once_too() -> None:
    taker, giver = ends(PULL, dialect=False)
    deliver(taker, giver, m.Request([A, B]))
    deliver(giver, taker, chunk(A))
    assert giver.receive(wire(m.Request([A, B]))) == [m.Request([B])]


def test_what_was_answered_long_ago_is_answered_again() -> None:
    """So that what a server remembers has a bound."""
    _taker, giver = ends(PULL, dialect=False)
    for first in range(0, 65536 + 2048, 2048):
        giver.receive(wire(m.Request(ids(2048, first))))
        for chunk_id in ids(2048, first):
            giver.send(m.Missing(chunk_id))
    assert giver.receive(wire(m.Request(ids(2050)))) == [m.Request(ids(2048))]  # the oldest


def test_our_server_answers_again() -> None:
    taker, giver = ends(PULL, dialect=True)
    for _again in range(3):
        assert deliver(taker, giver, m.Request([A])) == [m.Request([A])]
        assert deliver(giver, taker, chunk(A)) == [chunk(A)]
        assert not taker.answered(A)
    assert taker.answered_count == 0


def test_new_and_known_ids_in_one_request_of_the_dialect() -> None:
    taker, giver = ends(PULL, dialect=True)
    deliver(taker, giver, m.Request([A]))
    assert taker.send(m.Request([B, A, C], urgent=True)) == (
        wire(m.Request([B, C], urgent=True)) + wire(m.Request([A], urgent=True, unanswered=True))
    )
    assert giver.receive(wire(m.Request([A, B], unanswered=True))) == [m.Request([A])]


def test_casync_knows_no_mark_for_known_ids() -> None:
    taker, giver = ends(PULL, dialect=False)
    deliver(taker, giver, m.Request([A]))
    assert taker.send(m.Request([B, A], unanswered=True)) == wire(m.Request([B, A]))
    with pytest.raises(ProtocolError, match="unknown flags"):
        giver.receive(wire(m.Request([A], unanswered=True)))


@pytest.mark.parametrize("operations", [f.PULL_INDEX, f.PUSH_INDEX])
def test_no_request_where_no_chunks_were_agreed_on(operations: int) -> None:
    taker, giver = ends(operations, dialect=True)
    with pytest.raises(LocalProtocolError, match="no chunks"):
        taker.send(m.Request([A]))
    with pytest.raises(ProtocolError, match="no chunks"):
        giver.receive(wire(m.Request([A])))


def test_more_outstanding_where_the_caller_has_room() -> None:
    server = Connection(Role.PULL_SERVER, f.READABLE_STORE, outstanding_limit=70000)
    server.send(m.Hello())
    server.receive(wire(m.Hello(f.PULL_CHUNKS)))
    for first in range(0, 68000, 2000):
        server.receive(wire(m.Request(ids(2000, first))))
    assert server.outstanding == 68000
    with pytest.raises(ProtocolError, match="More than 70000"):
        server.receive(wire(m.Request(ids(2001, 68000))))


def test_missing_from_a_push_client() -> None:
    """It kills casync's server."""
    server, client = ends(PUSH, dialect=False)
    deliver(server, client, m.Request([A]))
    with pytest.raises(LocalProtocolError, match="MISSING"):
        client.send(m.Missing(A))
    assert client.outstanding == 1
    server, client = ends(PUSH, dialect=True)
    deliver(server, client, m.Request([A]))
    assert deliver(client, server, m.Missing(A)) == [m.Missing(A)]


@pytest.mark.parametrize("operations", [PULL, PUSH])
def test_the_first_piece_of_an_index(operations: int) -> None:
    """casync's receiver breaks when it holds 41 to 63 bytes of it."""
    taker, giver = ends(operations, dialect=False)
    for size in (0, 1, 41, 63):
        with pytest.raises(LocalProtocolError):
            giver.send(m.IndexData(bytes(size)))
    assert deliver(giver, taker, m.IndexData(bytes(64))) == [m.IndexData(bytes(64))]
    assert deliver(giver, taker, m.IndexData(b"x")) == [m.IndexData(b"x")]


def test_sizes_of_an_archives_piece() -> None:
    taker, giver = ends(f.PULL_ARCHIVE, dialect=False)
    for size in (0, m.STREAM_DATA_MAX + 1):
        with pytest.raises(LocalProtocolError):
            giver.send(m.ArchiveData(bytes(size)))
    assert deliver(giver, taker, m.ArchiveData(bytes(m.STREAM_DATA_MAX))) == [m.ArchiveData(bytes(m.STREAM_DATA_MAX))]


def test_a_message_in_parts_is_not_copied() -> None:
    _taker, giver = ends(f.PULL_ARCHIVE, dialect=False)
    data = b"data" * 1000
    head, sent = giver.send_parts(m.ArchiveData(data))
    assert sent is data
    assert head == wire(m.ArchiveData(data))[:16]


def test_examined() -> None:
    server, client = ends(PUSH, dialect=True)
    deliver(client, server, m.IndexData(bytes(64 + 40 * 10)))
    for rows in (0, 3, 3, 10):
        assert deliver(server, client, m.Examined(rows)) == [m.Examined(rows)]
    with pytest.raises(LocalProtocolError, match="backwards"):
        server.send(m.Examined(9))
    assert deliver(server, client, m.Examined(11)) == [m.Examined(11)]
    for rows in (10, 12, 1 << 63, (1 << 64) - 1):
        server, client = ends(PUSH, dialect=True)
        deliver(client, server, m.IndexData(bytes(64 + 40 * 10)))
        deliver(server, client, m.Examined(11))
        with pytest.raises(ProtocolError, match=f"EXAMINED with {rows} rows"):
            client.receive(wire(m.Examined(rows)))


@pytest.mark.parametrize(("operations", "dialect"), [(PUSH, False), (f.PUSH_INDEX, True), (f.PUSH_CHUNKS, True)])
def test_examined_where_it_may_not_be(operations: int, dialect: bool) -> None:
    server, client = ends(operations, dialect=dialect)
    with pytest.raises(LocalProtocolError):
        server.send(m.Examined(0))
    with pytest.raises(ProtocolError):
        client.receive(wire(m.Examined(0)))


@pytest.mark.parametrize("errno", [-1, m.ERRNO_MAX])
def test_an_aborts_error_number(errno: int) -> None:
    taker, _giver = ends(PULL, dialect=False)
    with pytest.raises(LocalProtocolError):
        taker.send(m.Abort(errno, "No"))
    assert taker.send(m.Abort(m.ERRNO_MAX - 1, "No"))


class TestGoodbye:
    def test_a_push_ends(self) -> None:
        server, client = ends(PUSH, dialect=False)
        deliver(client, server, m.IndexData(bytes(100)))
        deliver(server, client, m.Request([A]))
        deliver(client, server, m.IndexEnd())
        with pytest.raises(LocalProtocolError, match="1 chunks outstanding"):
            server.send(m.Goodbye())
        deliver(client, server, chunk(A))
        assert deliver(server, client, m.Goodbye()) == [m.Goodbye()]
        assert client.done
        assert server.done
        client.receive_end()
        server.receive_end()

    def test_a_server_that_forgot_what_it_asked_for(self) -> None:
        server, client = ends(PUSH, dialect=False)
        deliver(client, server, m.IndexData(bytes(100)))
        deliver(client, server, m.IndexEnd())
        deliver(server, client, m.Request([A]))
        with pytest.raises(ProtocolError, match="GOODBYE with 1 chunks outstanding"):
            client.receive(wire(m.Goodbye()))

    def test_a_client_that_owes_chunks(self) -> None:
        server, client = ends(PUSH, dialect=False)
        deliver(client, server, m.IndexData(bytes(100)))
        deliver(client, server, m.IndexEnd())
        with pytest.raises(LocalProtocolError, match="without its chunks"):
            client.send(m.Goodbye())
        deliver(server, client, m.Request([A]))
        with pytest.raises(ProtocolError, match="GOODBYE with 1 chunks outstanding"):
            server.receive(wire(m.Goodbye()))

    def test_an_index_alone(self) -> None:
        """The client's GOODBYE makes casync install it; only the server's answer or end says that it did."""
        server, client = ends(f.PUSH_INDEX, dialect=False)
        deliver(client, server, m.IndexData(bytes(100)))
        deliver(client, server, m.IndexEnd())
        assert deliver(client, server, m.Goodbye()) == [m.Goodbye()]
        assert not client.done
        assert not server.done
        server.receive_end()
        assert not server.done
        assert deliver(server, client, m.Goodbye()) == [m.Goodbye()]
        assert client.done
        assert server.done

    def test_two_that_cross(self) -> None:
        server, client = ends(f.PUSH_INDEX, dialect=False)
        deliver(client, server, m.IndexData(bytes(100)))
        deliver(client, server, m.IndexEnd())
        clients, servers = client.send(m.Goodbye()), server.send(m.Goodbye())
        assert client.receive(servers) == [m.Goodbye()]
        assert server.receive(clients) == []
        assert client.done
        assert server.done

    def test_casync_ends_without_an_answer(self) -> None:
        server, client = ends(f.PUSH_INDEX, dialect=False)
        deliver(client, server, m.IndexData(bytes(100)))
        deliver(client, server, m.IndexEnd())
        client.send(m.Goodbye())
        client.receive_end()
        assert client.done

    def test_a_puller_leaves_with_chunks_outstanding(self) -> None:
        taker, giver = ends(PULL, dialect=False)
        deliver(taker, giver, m.Request([A]))
        on_its_way = giver.send(chunk(A))
        assert deliver(taker, giver, m.Goodbye()) == [m.Goodbye()]
        assert taker.done
        assert giver.done
        assert taker.receive(on_its_way) == []
        with pytest.raises(LocalProtocolError):
            giver.send(m.IndexEnd())

    def test_what_follows_is_dropped(self) -> None:
        server, client = ends(f.PUSH_ARCHIVE, dialect=False)
        deliver(client, server, m.ArchiveEnd())
        assert client.receive(server.send(m.Goodbye()) + b"logout\n") == [m.Goodbye()]
        assert client.receive(b"more") == []
        client.receive_end()
        assert client.done


def test_a_pull_server_that_ends_while_it_owes_a_chunk() -> None:
    taker, giver = ends(f.PULL_CHUNKS, dialect=False)
    deliver(taker, giver, m.Request([A]))
    with pytest.raises(ProtocolError, match="ended early"):
        taker.receive_end()
    taker, giver = ends(f.PULL_CHUNKS, dialect=False)
    deliver(taker, giver, m.Request([A]))
    deliver(giver, taker, m.Missing(A))
    taker.receive_end()
    assert taker.done


def test_a_client_that_ends_in_the_middle_of_a_message() -> None:
    _taker, giver = ends(PULL, dialect=False)
    giver.receive(wire(m.Request([A]))[:-1])
    with pytest.raises(ProtocolError, match="ended early"):
        giver.receive_end()


def test_a_message_out_of_place_is_refused_before_its_body_comes() -> None:
    _taker, giver = ends(PULL, dialect=False)
    with pytest.raises(ProtocolError, match="Unexpected ARCHIVE "):
        giver.receive((16 << 20).to_bytes(8, "little") + m.ARCHIVE.to_bytes(8, "little"))


def test_the_end_of_both_streams_in_either_order() -> None:
    for order in ((m.IndexEnd(), m.ArchiveEnd()), (m.ArchiveEnd(), m.IndexEnd())):
        taker, giver = ends(f.PULL_INDEX | f.PULL_ARCHIVE, dialect=False)
        for message in (m.IndexData(bytes(64)), m.ArchiveData(b"x"), *order):
            assert deliver(giver, taker, message) == [message]
        taker.receive_end()
        assert taker.done
