"""What a connection may take: heads, bodies, readers, how many there are. Raw sockets against a small app."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from casync_py.remotes.http.server import guard
from casync_py.remotes.http.server.guard import Limits
from casync_py.remotes.http.server.outlet import LINGER_SECONDS
from casync_py.remotes.http.server.run import Running, WebServer
from casync_py.transport.listen import Listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Connect = Callable[[], socket.socket]

TIMEOUT = 5
LARGE = 8 << 20


class SmallApp:
    """Answers by path; counts what it sees.

    /length: the length of the body. /look/N: N seconds pass at once. /large: many bytes. /refuse: 413 at once.
    /hold: answers when `held` is set.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.ended: list[str] = []
        self.seen = threading.Semaphore(0)
        self.held = threading.Event()

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        path: str = scope["path"]
        self.seen.release()
        try:
            body, status, headers = await self._answer(path, receive)
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            for start in range(0, len(body), 65536):
                await send({"type": "http.response.body", "body": body[start : start + 65536], "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.ended.append(path)

    async def _answer(self, path: str, receive: Callable[[], Any]) -> tuple[bytes, int, list[tuple[bytes, bytes]]]:
        if path.startswith("/look/"):
            for _ in range(int(path[6:])):
                self.limits.look()
                await asyncio.sleep(0)
            return b"looked", 200, []
        if path == "/refuse":
            return b"too large", 413, [(b"connection", b"close")]
        if path == "/large":
            return bytes(LARGE), 200, []
        if path == "/hold":
            await asyncio.to_thread(self.held.wait, 30)
        length, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.ended.append("disconnected")
                return b"", 500, []
            length += len(message["body"])
            more = message["more_body"]
        return b"%d" % length, 200, []


@pytest.fixture(name="limits")
def _limits() -> Limits:
    return Limits(connections_max=10, timeout=TIMEOUT)


@pytest.fixture(name="app")
def _app(limits: Limits) -> SmallApp:
    return SmallApp(limits)


@pytest.fixture(name="connect")
def _connect(limits: Limits, app: SmallApp) -> Iterator[Connect]:
    listening = Listen("127.0.0.1").open()
    with contextlib.ExitStack() as cleanup, Running(WebServer(app, listening, limits)):

        def connect() -> socket.socket:
            return cleanup.enter_context(socket.create_connection(("127.0.0.1", listening.port), 30))

        yield connect
        app.held.set()


def everything(connection: socket.socket) -> bytes:
    """What comes until the other end closes or resets the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            found += data
    return found


def ask(connection: socket.socket, line: str, *headers: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request on a connection that stays."""
    if body:
        headers = (*headers, f"Content-Length: {len(body)}")
    connection.sendall("\r\n".join([f"{line} HTTP/1.1", "Host: x", *headers, "", ""]).encode() + body)
    return answer_of(connection)


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = connection.recv(1)
        assert data, head
        head += data
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = b""
    while len(body) < length:
        data = connection.recv(length - len(body))
        assert data
        body += data
    return int(head.split()[1]), body


def status_of(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0


def test_requests_on_one_connection(connect: Connect, limits: Limits) -> None:
    connection = connect()
    body = bytes(300_000)
    assert ask(connection, "POST /length", body=body) == (200, b"300000")
    assert ask(connection, "GET /length") == (200, b"0")
    connection.sendall(b"POST /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n1\r\ne\r\n0\r\n\r\n")
    assert answer_of(connection) == (200, b"5")
    assert limits.received == 300_005
    assert not limits.refused


def test_pipelined_requests_are_answered_in_order(connect: Connect) -> None:
    connection = connect()
    posts = [b"POST /length HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (size, bytes(size)) for size in range(20)]
    connection.sendall(b"".join(posts))
    assert [answer_of(connection)[1] for _ in range(20)] == [b"%d" % size for size in range(20)]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /length HTTP/1.1\r\nX: " + bytes([65]) * 100_000,
        b"GET /" + b"a" * 100_000,
        b"GET /length HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(guard.HEADERS_MAX + 2)),
        b"GET /length HTTP/1.1\r\n" + (b"X: " + b"y" * 8000 + b"\r\n") * 12,
        b"POST /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=" + b"y" * 200_000,
        b"POST /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: " + b"y" * 200_000,
        b"POST /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 1000,
    ],
    ids=["header", "url", "headers", "in-lines", "chunk-extension", "trailer", "trailers"],
)
def test_what_has_no_end_is_refused(connect: Connect, limits: Limits, head: bytes) -> None:
    connection = connect()
    connection.sendall(head)
    assert status_of(everything(connection)) in {400, 431}
    assert sum(limits.refused.values()) == 1
    assert ask(connect(), "GET /length") == (200, b"0")


def test_large_heads_within_the_limits_are_fine(connect: Connect) -> None:
    headers = [f"X-{number}: {'y' * 600}" for number in range(guard.HEADERS_MAX - 1)]
    assert ask(connect(), "GET /length", *headers) == (200, b"0")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01", b"nonsense\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n", b"\0" * 100]
)
def test_what_is_no_http(connect: Connect, sent: bytes) -> None:
    connection = connect()
    connection.sendall(sent)
    assert everything(connection).endswith(b"\r\n\r\nThis is no HTTP\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"", 0), (b"GET /length HT", 408), (b"GET /length HTTP/1.1\r\nX: y\r\n", 408), (b"\r\n\r\n", 408)],
    ids=["silent", "line", "header", "empty-lines"],
)
def test_a_head_has_its_time(connect: Connect, sent: bytes, status: int) -> None:
    slow, other = connect(), connect()
    slow.sendall(sent)
    assert ask(other, "GET /look/15") == (200, b"looked")
    slow.sendall(sent[:0] + b"\r\n" * (status == 408 and sent.endswith(b"\n") and sent.startswith(b"\r")))
    assert ask(other, "GET /look/6") == (200, b"looked")
    assert status_of(everything(slow)) == status


def test_a_head_after_a_request_has_its_time_too(connect: Connect) -> None:
    slow, other = connect(), connect()
    assert ask(slow, "GET /length") == (200, b"0")
    assert ask(other, f"GET /look/{guard.HEAD_SECONDS + 5}") == (200, b"looked")  # uvicorn minds it
    assert ask(slow, "GET /length") == (200, b"0")
    slow.sendall(b"GET ")
    until_seen(slow, other)
    assert status_of(everything(slow)) == 408


def until_seen(_slow: socket.socket, other: socket.socket) -> None:
    """Let time pass after what was sent has arrived: the loop reads sockets in turn."""
    for _ in range(3):
        assert ask(other, f"GET /look/{guard.HEAD_SECONDS + 1}") == (200, b"looked")


def test_a_body_that_does_not_come(connect: Connect, app: SmallApp, limits: Limits) -> None:
    slow, other = connect(), connect()
    slow.sendall(b"POST /length HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc")
    assert app.seen.acquire(timeout=30)
    assert ask(other, f"GET /look/{TIMEOUT - 1}") == (200, b"looked")
    slow.sendall(b"d")  # a drop does not help
    assert ask(other, "GET /look/3") == (200, b"looked")
    assert status_of(everything(slow)) == 408
    assert ask(other, "GET /length") == (200, b"0")
    assert "disconnected" in app.ended
    assert limits.refused == {"the body of the request took too long": 1}


def test_a_body_that_comes_slowly_is_waited_for(connect: Connect) -> None:
    slow, other = connect(), connect()
    slow.sendall(b"POST /length HTTP/1.1\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(10):
        slow.sendall(bytes(1000))
        assert ask(other, "GET /look/1") == (200, b"looked")
        assert ask(other, "GET /length") == (200, b"0")
    assert answer_of(slow) == (200, b"10000")


def test_a_body_that_comes_slowly_is_not_waited_for_where_others_wait(connect: Connect, limits: Limits) -> None:
    limits.timeout = 120
    slow, other = connect(), connect()
    slow.sendall(b"POST /length HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
    for crowded in (False, True):
        limits.crowded = lambda crowded=crowded: crowded  # type: ignore[misc]
        for _ in range(guard.CROWDED_SECONDS):
            received = limits.received
            slow.sendall(bytes(1000))
            while limits.received == received:
                pass
            assert ask(other, "GET /look/1") == (200, b"looked")
        assert not limits.refused
    assert ask(other, "GET /look/1") == (200, b"looked")
    assert status_of(everything(slow)) == 408


def test_a_reader_that_does_not_read(connect: Connect, app: SmallApp, limits: Limits) -> None:
    slow, other = connect(), connect()
    slow.sendall(b"GET /large HTTP/1.1\r\n\r\n")
    assert app.seen.acquire(timeout=30)
    while not limits.refused:
        assert ask(other, "GET /look/1") == (200, b"looked")
    assert limits.refused == {"slow reader": 1}
    assert len(everything(slow)) < LARGE
    while "/large" not in app.ended:
        ask(other, "GET /length")


def test_a_reader_that_reads_slowly_gets_everything(connect: Connect) -> None:
    slow, other = connect(), connect()
    slow.sendall(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")
    found = 0
    while data := slow.recv(200_000):
        found += len(data)
        assert ask(other, "GET /look/1") == (200, b"looked")
    assert found > LARGE


def test_the_longest_idle_connection_makes_room(connect: Connect, limits: Limits) -> None:
    limits.connections_max = 3
    kept = [connect() for _ in range(3)]
    for connection in kept:
        assert ask(connection, "GET /length") == (200, b"0")
    assert ask(kept[0], "GET /length") == (200, b"0")
    assert ask(connect(), "GET /length") == (200, b"0")
    assert everything(kept[1]) == b""
    assert ask(kept[0], "GET /length") == (200, b"0")
    assert ask(kept[2], "GET /length") == (200, b"0")


def test_busy_connections_are_not_given_up(connect: Connect, limits: Limits, app: SmallApp) -> None:
    limits.connections_max = 2
    busy = [connect() for _ in range(2)]
    for connection in busy:
        connection.sendall(b"GET /hold HTTP/1.1\r\n\r\n")
        assert app.seen.acquire(timeout=30)
    refused = everything(connect())
    assert status_of(refused) == 503
    assert b"\r\nretry-after: 1\r\n" in refused
    app.held.set()
    assert [answer_of(connection) for connection in busy] == [(200, b"0")] * 2


def test_a_client_that_has_said_all_gets_its_answer(connect: Connect, app: SmallApp) -> None:
    connection = connect()
    connection.sendall(b"GET /hold HTTP/1.1\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)
    assert app.seen.acquire(timeout=30)
    ask(connect(), "GET /length")
    app.held.set()
    assert everything(connection).endswith(b"\r\n\r\n0")


def test_a_refusal_arrives_although_the_body_is_still_coming(connect: Connect) -> None:
    connection, other = connect(), connect()
    body = bytes(4 << 20)
    assert ask(connection, "POST /refuse", body=body) == (413, b"too large")
    connection.sendall(b"GET /length HTTP/1.1\r\n\r\n")
    assert ask(other, f"GET /look/{LINGER_SECONDS}") == (200, b"looked")
    assert everything(connection) == b""


def test_too_many_requests_before_an_answer(connect: Connect, app: SmallApp) -> None:
    connection = connect()
    with contextlib.suppress(OSError):
        connection.sendall(b"GET /hold HTTP/1.1\r\n\r\n" * (guard.PIPELINED_MAX + 10))
    assert everything(connection) == b""
    app.held.set()
    assert ask(connect(), "GET /length") == (200, b"0")


def test_what_is_large_is_not_kept_while_nobody_wants_it(connect: Connect, app: SmallApp, limits: Limits) -> None:
    connection, other = connect(), connect()
    connection.settimeout(1)
    head = b"POST /hold HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n"
    connection.sendall(head)
    assert app.seen.acquire(timeout=30)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while True:
            sent += connection.send(bytes(1 << 20))
    assert ask(other, "GET /length") == (200, b"0")
    assert limits.received < 1 << 20 < sent
    connection.close()
