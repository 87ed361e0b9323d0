"""A pull server against clients that are broken or mean."""

from __future__ import annotations

import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import PeerError, ProtocolError
from casync_py.ids import ChunkId
from casync_py.peer.pull_server import serve_pull
from casync_py.protocol import Connection, Role
from casync_py.protocol import flags as f
from casync_py.protocol.messages import Goodbye, Hello, Request
from casync_py.store.memory import MemoryStore
from casync_py.testing.store_contract import sample
from casync_py.testing.streams import socket_pair
from casync_py.transport.stream import SocketStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from casync_py.transport.stream import Stream

HELLO = Connection(Role.PULL_CLIENT, f.PULL_CHUNKS).send(Hello())


@pytest.fixture
def ends() -> Iterator[tuple[Stream, socket.socket]]:
    """The server's stream and the client's socket."""
    client, server = socket_pair(("server", "client"))
    assert isinstance(client, SocketStream)
    client._socket.setblocking(True)
    yield server, client._socket
    client.close()
    server.close()


def serve(stream: Stream, *, ours: bool = False, timeout: float = 10) -> bool:
    store = MemoryStore()
    store.put(sample(1))
    return serve_pull(stream, index=None, archive=None, stores=[store], ours=ours, timeout=timeout)


@pytest.mark.parametrize("sent", [b"", HELLO[:20]])
def test_a_client_that_says_nothing(ends: tuple[Stream, socket.socket], sent: bytes) -> None:
    ends[1].sendall(sent)
    with pytest.raises(PeerError, match=r"client: Silent for 0\.2 seconds"):
        serve(ends[0], timeout=0.2)


@pytest.mark.parametrize("size", [0, 15, 17, 1 << 63])
def test_what_is_no_message(ends: tuple[Stream, socket.socket], size: int) -> None:
    ends[1].sendall(HELLO + struct.pack("<QQ", size, 0x8AB427E0F89D9210))
    with pytest.raises(ProtocolError):
        serve(ends[0])


@pytest.mark.parametrize("said", [b"", HELLO[:10]])
def test_a_client_that_leaves_before_it_has_said_what_it_wants(ends: tuple[Stream, socket.socket], said: bytes) -> None:
    ends[1].sendall(said)
    ends[1].shutdown(1)
    with pytest.raises(PeerError, match="ended early"):
        serve(ends[0])


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("goodbye", [True, False])
def test_a_client_may_leave_while_it_is_owed_something(
    ends: tuple[Stream, socket.socket], ours: bool, goodbye: bool
) -> None:
    ids = [sample(number, 10).chunk_id for number in range(2000)]
    request = b"".join(Request(ids).wire_parts())
    ends[1].sendall(HELLO + request + (b"".join(Goodbye().wire_parts()) if goodbye else b""))
    ends[1].shutdown(1)
    assert serve(ends[0], ours=ours) is True


def test_a_flood_of_requests_is_not_taken_in(ends: tuple[Stream, socket.socket]) -> None:
    """As casync asks for all chunks of a large index at once: the server stops reading until its answers are read."""
    count = 50 * 2048
    requests = [
        Request([ChunkId(number.to_bytes(32, "little")) for number in range(start, start + 2048)])
        for start in range(0, count, 2048)
    ]
    flood = HELLO + b"".join(b"".join(request.wire_parts()) for request in requests)
    answers = 24 + 48 * count
    client = ends[1]
    results: list[object] = []

    def run() -> None:
        try:
            results.append(serve(ends[0]))
        except Exception as error:
            results.append(error)

    def write() -> None:
        client.sendall(flood[sent:])

    server, writer = threading.Thread(target=run), threading.Thread(target=write)
    server.start()
    client.settimeout(0.3)
    sent = 0
    with suppress(TimeoutError):
        while sent < len(flood):
            sent += client.send(flood[sent : sent + 4096])
    assert sent < len(flood)
    client.settimeout(None)
    writer.start()
    while answers > 0:
        answers -= len(client.recv(1 << 20)) or answers
    writer.join()
    client.shutdown(1)
    server.join()
    assert results == [True]
