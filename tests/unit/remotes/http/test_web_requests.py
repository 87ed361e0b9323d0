"""Requests to servers that answer well, badly, late, in pieces, without end, or not at all."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casync_py.errors import UsageError
from casync_py.monitor import Monitor
from casync_py.options import Access
from casync_py.remotes.http.web import Web, WebError
from casync_py.testing.web import CLOSE, RESET, Asked, ScriptedServer, Step, answer
from casync_py.transport.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BODY = os.urandom(30_000)
# Which of them it is, is up to the machine: who watches the silence and who watches the head may be late.
STALLED = r".*(Sends nothing for|Sends next to nothing for|Does not answer within) 0\.\d+ s"


def make_web(timeout: float = 5.0, retries: int = 0, monitor: Monitor | None = None) -> Web:
    web = Web(Access(), timeout=timeout, retries=retries, monitor=monitor or Monitor(), user_origins=())
    web.retry = Retry(retries, first_s=0.001, most_s=0.002)
    return web


@pytest.fixture(name="web")
def _web() -> Iterator[Web]:
    web = make_web()
    yield web
    web.close()


@pytest.fixture(name="patient")
def _patient() -> Iterator[Web]:
    web = make_web(retries=3)
    yield web
    web.close()


def serve(*steps: Step) -> ScriptedServer:
    """A server that answers every request with the same steps."""
    return ScriptedServer(lambda _asked: steps)


def in_turn(*answers: Iterable[Step]) -> Callable[[Asked], Iterable[Step]]:
    """The answers one after the other, the last one for all that follow."""
    return lambda asked: answers[min(asked.number, len(answers) - 1)]


def error_of(web: Web, server: ScriptedServer, **more: int) -> WebError:
    with pytest.raises(WebError) as caught:
        web.request("GET", server.url("/a"), **more)  # type: ignore[arg-type]
    assert caught.value.name == server.url("/a")
    return caught.value


# What is well.


def test_a_connection_is_used_again(web: Web) -> None:
    with ScriptedServer(lambda _asked: [answer(200, BODY, "ETag: y")]) as server:
        for _ in range(5):
            got = web.request("GET", server.url("/a/b?c"))
            assert (got.status, got.body, got.headers["etag"]) == (200, BODY, "y")
        assert server.connections == 1
        assert {asked.target for asked in server.asked} == {"/a/b?c"}
        assert server.asked[0].headers["host"] == f"127.0.0.1:{server.port}"
        assert server.asked[0].headers["accept-encoding"] == "identity"


def test_as_many_connections_as_threads_and_no_more(web: Web) -> None:
    together = threading.Barrier(4)

    def script(asked: Asked) -> Iterator[Step]:
        together.wait(10)
        yield answer(200, BODY)

    with ScriptedServer(script) as server:
        threads = [
            threading.Thread(target=lambda: [web.request("GET", server.url()) for _ in range(5)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.connections == 4
        assert len(server.asked) == 20


@pytest.mark.parametrize("size", [1, 7, 100, 65536])
def test_an_answer_in_pieces(web: Web, size: int) -> None:
    chunked = b"".join(
        b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:3], BODY[3:20_000], BODY[20_000:])
    )
    whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked
    whole += b"0\r\nTrailer: ignored\r\n\r\n"
    plain = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(200, BODY)
    for data in (whole, plain):
        head, rest = data[:400], data[400:]
        pieces = [head[at : at + size] for at in range(0, len(head), size)]
        with serve(*pieces, rest) as server:
            for _ in range(2):
                assert web.request("GET", server.url()).body == BODY
            assert server.connections == 1


def test_a_body_that_ends_with_the_connection(web: Web) -> None:
    with serve(b"HTTP/1.0 200 OK\r\n\r\n", BODY, CLOSE) as server:
        for _ in range(2):
            assert web.request("GET", server.url()).body == BODY
        assert server.connections == 2


def test_head_and_empty_answers_keep_the_connection(web: Web) -> None:
    with ScriptedServer(in_turn([answer(200, b"", length=12345)], [answer(204, length=-1)], [answer(304)])) as server:
        assert web.request("HEAD", server.url()).headers["content-length"] == "12345"
        assert web.request("PUT", server.url(), content=b"", expect=(204,)).body == b""
        assert web.request("GET", server.url(), expect=(304,)).status == 304
        assert server.connections == 1
        assert server.asked[1].headers["content-length"] == "0"


def test_bodies_arrive(web: Web) -> None:
    large = os.urandom(1 << 20)
    with serve(answer(201)) as server:
        for content in (b"small", large, lambda: [large, b"", b"more"]):
            web.request("PUT", server.url(), content=content, expect=(201,))
        told = {"Content-Length": str(len(large) + 4)}
        web.request("PUT", server.url(), content=lambda: iter([large, b"more"]), headers=told, expect=(201,))
        bodies = [asked.body for asked in server.asked]
        assert bodies == [b"small", large, large + b"more", large + b"more"]
        assert ["transfer-encoding" in asked.headers for asked in server.asked] == [False, False, True, False]
        assert server.connections == 2  # one for what is small


def test_bytes_are_counted() -> None:
    monitor = Monitor()
    web = make_web(monitor=monitor)
    with serve(answer(200, BODY)) as server:
        web.request("GET", server.url())
        with web.stream("PUT", server.url(), content=BODY) as reply:
            assert b"".join(reply.iter_bytes()) == BODY
    web.close()
    assert 60_000 < monitor.received < 61_000
    assert 30_000 < monitor.sent < 31_000


# What is broken.


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([CLOSE], "without an answer"),
        ([RESET], "Connection broke"),
        ([b"HTTP/1.1 200 O", CLOSE], "ends early"),
        ([answer(200, BODY, length=30_001), CLOSE], "ends early"),
        ([answer(200, BODY, length=500_000), RESET], "Connection broke|early"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", CLOSE], "ends early"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", CLOSE], "ends early"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n", CLOSE], "ends early"),
        ([b"220 mail.example ESMTP\r\n\r\n"], "Does not speak HTTP"),
        ([BODY + b"\r\n\r\n"], "Does not speak HTTP"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"], "Does not speak HTTP"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], "Does not speak HTTP"),
    ],
)
def test_trouble_is_tried_again_and_then_told(steps: list[Step], reason: str) -> None:
    web = make_web(retries=2)
    with ScriptedServer(lambda _asked: steps) as server:
        error = error_of(web, server)
        assert error.transient
        assert len(server.asked) == 3
        with pytest.raises(WebError, match=reason):
            web.request("GET", server.url("/a"))
    web.close()


@pytest.mark.parametrize("steps", [[60.0], [answer(200, b"", length=5), 60.0]], ids=["head", "body"])
def test_a_stall_is_tried_again_and_then_told(steps: list[Step]) -> None:
    """How often is counted on our side: on a busy machine the server has not seen yet what was given up."""
    monitor = Monitor()
    details: list[str] = []
    monitor.on_detail = details.append
    web = make_web(timeout=0.1, retries=2, monitor=monitor)
    with ScriptedServer(lambda _asked: steps) as server:
        error = error_of(web, server)
        assert error.transient
        assert re.fullmatch(STALLED, error.reason)
        assert len(details) == 2
    web.close()


def test_a_server_that_recovers(patient: Web) -> None:
    good = [answer(200, BODY)]
    with ScriptedServer(in_turn([answer(503)], [RESET], [answer(200, BODY, length=40_000), CLOSE], good)) as server:
        assert patient.request("GET", server.url()).body == BODY
        assert len(server.asked) == 4


def test_no_server(patient: Web) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(WebError, match=rf"^http://127.0.0.1:{port}/x: No connection: Connection refused$"):
        patient.request("GET", f"http://127.0.0.1:{port}/x")


def test_an_idle_connection_that_the_server_closed_costs_no_retry(web: Web) -> None:
    with serve(answer(200, BODY), CLOSE) as server:
        for _ in range(5):
            web.request("GET", server.url())
        assert len(server.asked) == 5


def test_a_connection_that_breaks_as_the_request_arrives_costs_no_retry(web: Web) -> None:
    """Not seen beforehand: the server closes when it has read the second request."""
    again: Iterator[list[Step]] = iter(
        [[answer(200, BODY)], [RESET], [answer(200, BODY)], [CLOSE], [answer(200, BODY)]]
    )
    with ScriptedServer(lambda _asked: next(again)) as server:
        for _ in range(3):
            assert web.request("GET", server.url()).body == BODY
        assert [asked.connection for asked in server.asked] == [0, 0, 1, 1, 2]


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next(web: Web) -> None:
    """It comes while the connection is idle."""
    idle, poisoned = threading.Event(), threading.Event()

    def script(asked: Asked) -> Iterator[Step]:
        yield answer(200, BODY)
        if asked.number == 0:
            idle.wait(10)
            yield answer(200, b"poison")
            poisoned.set()

    with ScriptedServer(script) as server:
        assert web.request("GET", server.url()).body == BODY
        idle.set()
        assert poisoned.wait(10)
        assert web.request("GET", server.url()).body == BODY
        assert server.connections == 2


def test_a_stall_on_a_used_connection_is_a_failure() -> None:
    """Not one of the connections that were closed while idle, of which none counts."""
    web = make_web(timeout=0.7)  # in which a busy machine manages the first answer
    with ScriptedServer(in_turn([answer(200)], [60.0])) as server:
        web.request("GET", server.url())
        with pytest.raises(WebError, match=STALLED):
            web.request("GET", server.url())
        assert len(server.asked) == 2
    web.close()


class Hasty(set[Any]):
    """Those whom the watch looks after, which looks as soon as there is one."""

    def add(self, client: Any) -> None:
        super().add(client)
        client.check(time.monotonic(), 0.05)


def test_how_long_a_connection_was_idle_counts_for_no_request() -> None:
    web = make_web()
    web._origins._watch.waiting = Hasty()
    with ScriptedServer(lambda _asked: [answer(200)]) as server:
        for _ in range(2):
            web.request("GET", server.url())
            web.stopped.wait(0.1)
        assert server.connections == 1
    web.close()


# What is too much.


def test_endless_head(web: Web) -> None:
    def script(asked: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            yield b"X-Header: " + b"x" * 1000 + b"\r\n"

    with ScriptedServer(script) as server:
        error = error_of(web, server)
        assert "head that is too long" in error.reason
        assert not error.transient


@pytest.mark.parametrize("start", [b"X: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: "])
def test_endless_line(web: Web, start: bytes) -> None:
    def script(asked: Asked) -> Iterator[bytes]:
        yield start if start.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n" + start
        while True:
            yield b"x" * 4096

    with ScriptedServer(script) as server:
        assert "head that is too long" in error_of(web, server).reason


def test_endless_interim_answers(web: Web) -> None:
    def script(asked: Asked) -> Iterator[bytes]:
        while True:
            yield b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100

    with ScriptedServer(script) as server:
        assert "answers 103" in error_of(web, server).reason


@pytest.mark.parametrize("lines", [(), ("Transfer-Encoding: chunked",)])
def test_endless_body(web: Web, lines: tuple[str, ...]) -> None:
    def script(asked: Asked) -> Iterator[bytes]:
        yield answer(200, b"", *lines, length=-1)
        while True:
            yield b"1000\r\n" + b"x" * 4096 + b"\r\n"

    with ScriptedServer(script) as server:
        error = error_of(web, server, limit=100_000)
        assert error.reason == "Answers with more than 100000 bytes"
        assert not error.transient


def test_a_body_that_says_it_is_too_large_is_not_read(web: Web) -> None:
    with serve(answer(200, b"", length=10**15), 10.0) as server:
        assert error_of(web, server, limit=1000).reason == "Answers with more than 1000 bytes"


def test_a_slow_drip_is_a_stall() -> None:
    """Each byte comes in time, the answer never."""

    def script(asked: Asked) -> Iterator[Step]:
        yield from ([b"HTTP/1.1 200 OK\r\nX: "] if asked.target == "/head" else [answer(200, b"", length=10**6)])
        while True:
            yield b"x"
            yield 0.02

    web = make_web(timeout=0.25)
    with ScriptedServer(script) as server:
        for target in ("/head", "/body"):
            with pytest.raises(WebError, match=STALLED):
                web.request("GET", server.url(target))
    web.close()


def test_a_reader_that_takes_its_time_is_no_stall() -> None:
    web = make_web(timeout=0.7)
    with serve(answer(200, b"abc")) as server, web.stream("GET", server.url()) as reply:
        web.stopped.wait(1.1)
        assert b"".join(reply.iter_bytes()) == b"abc"
    web.close()


# Statuses.


@pytest.mark.parametrize(
    ("status", "tries"),
    [
        *[(status, 4) for status in (408, 425, 429, 500, 502, 503, 504, 520)],
        *[(status, 1) for status in (201, 206, 304, 400, 401, 403, 404, 409, 410, 413, 422, 501, 505, 507)],
    ],
)
def test_which_statuses_are_tried_again(patient: Web, status: int, tries: int) -> None:
    with serve(answer(status)) as server:
        error = error_of(patient, server)
        assert error.status == status
        assert error.transient == (tries > 1)
        assert len(server.asked) == tries


def test_half_of_all_answers_are_500() -> None:
    web = make_web(retries=20)
    with ScriptedServer(lambda asked: [answer(500 if asked.number % 2 else 200, BODY)]) as server:
        for _ in range(20):
            assert web.request("GET", server.url()).body == BODY
        assert server.connections == 1
    web.close()


@pytest.mark.parametrize("text", ["1", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-1", "99999999999999999999"])
def test_retry_after(web: Web, text: str) -> None:
    with serve(answer(503, b"", f"Retry-After: {text}")) as server:
        expected = {"1": 1.0, "Wed, 21 Oct 2015 07:28:00 GMT": 0.0, "99999999999999999999": 999999.0}.get(text)
        assert error_of(web, server).retry_after == expected


def test_a_refusal_says_why(web: Web) -> None:
    why = b"Chunk abc: Is not what\x1b[31m it says\r\nsecond line"
    with serve(answer(422, why, "Content-Type: text/plain; charset=utf-8")) as server:
        expected = "Server answers 422 Unprocessable Entity: Chunk abc: Is not what[31m it says"
        assert error_of(web, server).reason == expected
    with serve(answer(404, b"<html>", "Content-Type: text/html")) as server:
        assert str(error_of(web, server)) == f"{server.url('/a')}: No such file"
    with serve(answer(999, b"x" * 100, "Content-Type: text/plain")) as server:
        assert error_of(web, server).reason == "Server answers 999: " + "x" * 100


def test_a_refusal_before_the_whole_request_came_is_heard(web: Web) -> None:
    refusal = answer(413, b"Too large", "Content-Type: text/plain")
    ends = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            sock, _address = listening.accept()
            with sock:
                sock.recv(100)
                sock.sendall(refusal)
                while sock.recv(1 << 20):
                    pass
                ends.append("by the client")

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(WebError, match=r"413 .*: Too large"):
            web.request(
                "PUT", f"http://127.0.0.1:{listening.getsockname()[1]}/", content=lambda: [bytes(1 << 16)] * 400
            )
        web.close()
        thread.join(10)
        assert ends


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_an_encoding_that_nobody_asked_for(web: Web, coding: str) -> None:
    with serve(answer(200, b"xx", f"Content-Encoding: {coding}")) as server:
        assert f"Content-Encoding '{coding}'" in error_of(web, server).reason
    with serve(answer(200, b"xx", "Content-Encoding: identity")) as server:
        assert web.request("GET", server.url()).body == b"xx"


def test_a_protocol_that_nobody_asked_for(web: Web) -> None:
    with serve(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n") as server:
        assert re.search("Does not speak HTTP|answers 101|ends early", error_of(web, server).reason)
    with serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n") as server:
        assert re.search("Does not speak HTTP|answers 101|ends early", error_of(web, server).reason)


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\0", "\n"])
def test_nothing_gets_into_a_head_that_does_not_belong_there(web: Web, value: str) -> None:
    with serve(answer()) as server:
        with pytest.raises(UsageError):
            web.request("GET", server.url(), headers={"X": value})
        with pytest.raises(UsageError):
            web.request("GET", server.url("/" + value))
        assert not server.asked


# The end.


def test_closing_ends_what_is_under_way() -> None:
    web = make_web(timeout=60, retries=5)
    asked = threading.Event()
    failures: list[BaseException] = []

    def script(_asked: Asked) -> Iterator[Step]:
        asked.set()
        yield 60.0

    def ask() -> None:
        try:
            web.request("GET", server.url())
        except WebError as error:
            failures.append(error)

    with ScriptedServer(script) as server:
        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(10)
        web.close()
        web.close()
        thread.join(10)
        assert not thread.is_alive()
        assert len(failures) == 1
        with pytest.raises(WebError):
            web.request("GET", server.url())


def test_a_stream_that_is_left_closes_its_connection(web: Web) -> None:
    with serve(answer(200, BODY, length=10**9)) as server:
        for _ in range(2):
            with web.stream("GET", server.url()) as reply:
                assert next(reply.iter_bytes())
        assert server.connections == 2


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_raise_anything_else(data: bytes, cut: int) -> None:
    """What comes after a good beginning is anything."""
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"[:cut]
    web = make_web()
    with ScriptedServer(lambda _asked: [start + data, CLOSE]) as server, suppress(WebError):
        web.request("GET", server.url(), limit=10_000)
    web.close()
