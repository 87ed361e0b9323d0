"""The rules of HELLO, at both ends."""

from __future__ import annotations

import pytest

from casync_py.errors import ProtocolError
from casync_py.protocol import flags as f
from casync_py.protocol.connection import Connection, Role
from casync_py.protocol.local_error import LocalProtocolError
from casync_py.protocol.messages import HELLO, Hello
from casync_py.testing.connections import fresh_pair, greeted_pair

ALL_ONES = (1 << 64) - 1


def hello(flags: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in (24, HELLO, flags))


def greeted(role: Role, own: int, theirs: int, *, ours: bool = False) -> Connection:
    connection = Connection(role, own, ours=ours)
    connection.send(Hello())
    assert connection.receive(hello(theirs)) == [Hello(theirs & ~f.OURS)]
    return connection


@pytest.mark.parametrize(
    ("role", "own", "theirs"),
    [
        # as casync's ends were seen to greet, spec 5.3 and 5.4
        (Role.PULL_CLIENT, 0xC0, 0x5),
        (Role.PULL_CLIENT, 0x40, 0x1),
        (Role.PULL_CLIENT, 0x80, 0x4),
        (Role.PULL_CLIENT, 0x100, 0x10),
        (Role.PULL_CLIENT, 0x40, 0x15),
        (Role.PULL_SERVER, 0x5, 0xC0),
        (Role.PULL_SERVER, 0x15, 0x100),
        (Role.PUSH_CLIENT, 0xE00, 0xA),
        (Role.PUSH_CLIENT, 0x1000, 0x20),
        (Role.PUSH_CLIENT, 0x400, 0xA),
        (Role.PUSH_SERVER, 0xA, 0xE00),
        (Role.PUSH_SERVER, 0x2, 0x200),
        (Role.PUSH_SERVER, 0xA, 0x600),
        # services in a client's HELLO are tolerated
        (Role.PULL_SERVER, 0x5, 0xC0 | f.READABLE_STORE | f.WRITABLE_ARCHIVE),
    ],
)
def test_greetings_that_fit(role: Role, own: int, theirs: int) -> None:
    connection = greeted(role, own, theirs)
    assert connection.peer_flags == theirs
    assert connection.operations == (own | theirs) & f.OPERATIONS
    assert not connection.dialect


@pytest.mark.parametrize(
    ("role", "own", "theirs", "reason"),
    [
        (Role.PULL_SERVER, 0x5, 0, "flags 0x0"),
        (Role.PULL_SERVER, 0x5, ALL_ONES, "flags 0xffffffffffffffff"),
        (Role.PULL_CLIENT, 0xC0, 0, "flags 0x0"),
        (Role.PULL_SERVER, 0x5, 0xC0 | 0x2000, "Protocol not supported.*0x2000$"),
        (Role.PULL_CLIENT, 0xC0, 0x5 | 1 << 62, "Protocol not supported"),
        (Role.PULL_CLIENT, 0xC0, 0x5 | f.OURS, "Protocol not supported"),
        (Role.PUSH_SERVER, 0xA, 0x800, "push-index-chunks, but not"),
        (Role.PUSH_SERVER, 0xA, 0xA00, "push-index-chunks, but not"),
        (Role.PUSH_SERVER, 0xA, 0xC00, "push-index-chunks, but not"),
        (Role.PULL_SERVER, 0x1, 0xC0, "wants pull-index, which is not offered"),
        (Role.PULL_SERVER, 0x5, 0x240, "wants push-chunks, which is not offered"),
        (Role.PUSH_SERVER, 0x8, 0xE00, "wants push-chunks, which is not offered"),
        (Role.PUSH_SERVER, 0xA, 0x1600, "wants push-archive, which"),
        (Role.PULL_CLIENT, 0xC0, 0x1, "does not offer what pull-index needs"),
        (Role.PULL_CLIENT, 0xC0, 0xA, "does not offer what pull-chunks, pull-index needs"),
        (Role.PUSH_CLIENT, 0xE00, 0x5, "does not offer what push-chunks, push-index needs"),
        (Role.PULL_CLIENT, 0x40, 0x41, "wants pull-chunks, which"),
        (Role.PULL_SERVER, 0x5, 0x1, "wants nothing"),
    ],
)
def test_greetings_that_do_not(role: Role, own: int, theirs: int, reason: str) -> None:
    connection = Connection(role, own)
    connection.send(Hello())
    with pytest.raises(ProtocolError, match=reason):
        connection.receive(hello(theirs))
    assert connection.peer_flags is None


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("theirs", [1 << 63, 1 << 63 | 0xC0, 1 << 63 | 0xE00])
def test_a_server_takes_no_unknown_bits_from_a_client_of_ours_either(role: Role, theirs: int) -> None:
    if role in {Role.PULL_SERVER, Role.PUSH_SERVER}:
        connection = Connection(role, 0x5 if role is Role.PULL_SERVER else 0xA, ours=True)
        connection.send(Hello())
        with pytest.raises(ProtocolError, match="unknown flags 0x8000000000000000"):
            connection.receive(hello(theirs))


@pytest.mark.parametrize(
    ("role", "flags"),
    [
        (Role.PULL_CLIENT, 0),
        (Role.PULL_CLIENT, f.READABLE_STORE),
        (Role.PULL_CLIENT, f.PULL_CHUNKS | f.PUSH_CHUNKS),
        (Role.PULL_CLIENT, f.PULL_CHUNKS | f.OURS),
        (Role.PULL_SERVER, f.WRITABLE_STORE),
        (Role.PULL_SERVER, f.PULL_CHUNKS),
        (Role.PUSH_CLIENT, f.PUSH_INDEX_CHUNKS),
        (Role.PUSH_CLIENT, f.PUSH_INDEX_CHUNKS | f.PUSH_INDEX),
        (Role.PUSH_SERVER, f.READABLE_INDEX),
        (Role.PUSH_SERVER, f.WRITABLE_STORE | 1 << 40),
    ],
)
def test_flags_that_a_role_has_not(role: Role, flags: int) -> None:
    with pytest.raises(LocalProtocolError):
        Connection(role, flags)


@pytest.mark.parametrize("operations", [f.PULL_CHUNKS | f.PULL_INDEX, f.PUSH_INDEX, f.PUSH_ARCHIVE])
def test_the_dialect_needs_both(operations: int) -> None:
    pair = greeted_pair(operations, dialect=True)
    assert pair.client.dialect
    assert pair.server.dialect
    assert pair.client.peer_flags == pair.server.flags  # the bit is not among them

    pair = greeted_pair(operations)
    assert not pair.client.dialect
    assert not pair.server.dialect


def test_a_client_of_ours_may_find_casync() -> None:
    client = greeted(Role.PULL_CLIENT, 0xC0, 0x5, ours=True)
    assert not client.dialect
    client = greeted(Role.PULL_CLIENT, 0xC0, 0x5 | f.OURS, ours=True)
    assert client.dialect


def test_what_is_sent_is_what_the_connection_was_made_with() -> None:
    pair = fresh_pair(f.PULL_CHUNKS, dialect=True)
    assert pair.client.send(Hello(0x1234)) == hello(f.PULL_CHUNKS)
    assert pair.server.send(Hello()) == hello(f.READABLE_STORE | f.OURS)
    assert fresh_pair(f.PULL_CHUNKS).server.send(Hello()) == hello(f.READABLE_STORE)


def test_a_second_hello() -> None:
    pair = greeted_pair(f.PULL_CHUNKS)
    with pytest.raises(LocalProtocolError):
        pair.client.send(Hello())
    with pytest.raises(ProtocolError, match="Unexpected HELLO"):
        pair.server.receive(hello(f.PULL_CHUNKS))


def test_hello_comes_before_anything_is_received() -> None:
    pair = fresh_pair(f.PULL_CHUNKS)
    with pytest.raises(LocalProtocolError):
        pair.client.receive(hello(1))
    pair.client.send(Hello())
    assert pair.client.receive(hello(1)) == [Hello(1)]


@pytest.mark.parametrize("said", [b"Welcome to far!\nLast login: never\n", b"\x1b[2J" * 10, bytes(40)])
def test_something_that_is_no_peer_at_all(said: bytes) -> None:
    """What a chatty login shell prints before casync starts is shown, safely."""
    pair = fresh_pair(f.PULL_CHUNKS)
    pair.client.send(Hello())
    with pytest.raises(ProtocolError, match=r"This is no message.*the other end began with '") as caught:
        pair.client.receive(said)
    assert str(caught.value).isprintable()
    pair = fresh_pair(f.PULL_CHUNKS)
    pair.client.send(Hello())
    pair.client.receive(said[:10])
    with pytest.raises(ProtocolError, match="ended early, before HELLO; it said '"):
        pair.client.receive_end()


def test_names_of_flags() -> None:
    assert f.flag_names(0x5) == ["readable-store", "readable-index"]
    assert f.flag_names(f.OURS | 0x1000 | 1 << 20) == ["push-archive", "casync-py", "0x100000"]
    assert f.flag_names(0) == []
    assert sum(f.NAMES) == f.KNOWN | f.OURS == 0x1FFF | 1 << 63
