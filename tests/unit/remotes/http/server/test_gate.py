"""The way in: tokens, names, monitoring, counters and the access log, over real connections."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
import threading
import urllib.request
from contextlib import ExitStack, closing
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from casync_py.monitor import Monitor
from casync_py.remotes.http.server.gate import Gate
from casync_py.remotes.http.server.guard import Limits
from casync_py.remotes.http.server.log import AccessLog
from casync_py.remotes.http.server.metrics import kind_of_request
from casync_py.remotes.http.server.run import Running, WebServer
from casync_py.transport.admission import Tokens
from casync_py.transport.listen import Listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    Serve = Callable[..., "Reached"]

ID = b"ab" * 32
BEGUN, GO_ON = threading.Semaphore(0), threading.Event()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/wait":
        BEGUN.release()
        await asyncio.to_thread(GO_ON.wait)
    if scope["path"] == "/broken":
        raise ValueError("as it happens")
    length = (b"content-length", b"10")
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    if scope["path"] == "/half":
        await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        raise ValueError("in the middle")
    await send({"type": "http.response.body", "body": b"0123456789"})


class Reached:
    """A server of `app` behind a gate."""

    def __init__(self, url: str, monitor: Monitor) -> None:
        self.url = url
        self.monitor = monitor

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, headers=named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            with error:
                return error.code, error.read()

    def metrics(self, **headers: str) -> dict[tuple[str, frozenset[str]], float]:
        status, text = self.get("-/metrics", **headers)
        assert status == 200
        return {
            (sample.name, frozenset(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        }


@pytest.fixture(name="serve")
def _serve() -> Iterator[Serve]:
    with ExitStack() as cleanup:

        def serve(*, local: bool = True, **options: Any) -> Reached:
            monitor, limits, listening = Monitor(), Limits(10, 5), Listen("127.0.0.1").open()
            gate = Gate(app, monitor, limits, local=listening.local_names if local else None, **options)
            return Reached(cleanup.enter_context(Running(WebServer(gate, listening, limits))).url, monitor)

        yield serve


def test_tokens(serve: Serve) -> None:
    server = serve(tokens=Tokens([b"right", b"other"]))
    assert server.get("x") == (401, b"A token is needed: 'Authorization: Bearer TOKEN', or as a password\n")
    assert server.get("x", Authorization="Bearer wrong")[0] == 401
    assert server.get("x", Authorization="Bearer right") == (200, b"0123456789")
    assert server.get("x", Authorization="Basic dTpvdGhlcg==") == (200, b"0123456789")
    assert server.get("-/metrics")[0] == 401
    assert server.get("-/health") == (200, b"ok\n")
    found = server.metrics(Authorization="Bearer other")
    assert found["casync_requests_total", frozenset({"GET", "page", "401"})] == 2


def test_a_page_of_another_name_cannot_ask_us(serve: Serve) -> None:
    server = serve()
    assert server.get("x", Host="rebound.example:80")[0] == 421
    assert server.get("-/metrics", Host="rebound.example")[0] == 421
    for name in ("localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:5", "10.1.2.3", "a.localhost:80"):
        assert server.get("x", Host=name)[0] == 200
    assert serve(local=False).get("x", Host="name.example")[0] == 200
    assert serve(tokens=Tokens([b"t"])).get("x", Host="name.example", Authorization="Bearer t")[0] == 200


def test_monitoring_takes_only_reading(serve: Serve) -> None:
    server = serve()
    assert server.get("-/health", "PUT")[0] == 405
    assert server.get("-/health", "HEAD") == (200, b"")
    assert server.get("-/other") == (200, b"0123456789")  # the app's


def test_clients_that_do_not_wait_cannot_pile_up_requests(serve: Serve) -> None:
    server = serve()
    parts = urlsplit(server.url)
    GO_ON.clear()
    try:
        for number in range(30):  # connections are 10 at most, and so 20 requests
            with socket.create_connection((parts.hostname, parts.port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it ends with RST
                client.sendall(b"GET /wait HTTP/1.1\r\n\r\n")
                assert number >= 20 or BEGUN.acquire(timeout=10)
        assert server.get("x") == (503, b"Too many requests are being worked on\n")
        assert server.get("-/health")[0] == 200
    finally:
        GO_ON.set()
    while server.get("x")[0] == 503:
        pass
    assert server.get("x")[0] == 200


def test_what_goes_wrong_inside(serve: Serve) -> None:
    server = serve()
    details: list[str] = []
    server.monitor.on_detail = details.append
    assert server.get("broken") == (500, b"Internal error; the server's messages have more\n")
    assert "as it happens" in server.monitor.notices[0]
    assert any("Traceback" in line for line in details)
    with pytest.raises(IncompleteRead):
        server.get("half")
    assert server.get("x")[0] == 200


def test_counters(serve: Serve) -> None:
    server = serve()
    for path in ("a.caibx", "d.castr/abab/" + ID.decode() + ".cacnk", "d.castr/abab/" + ID.decode()):
        server.get(path)
    server.get("d.castr?pull", "POST")
    server.get("d.castr", "PROPFIND")
    found = server.metrics()
    assert found["casync_requests_total", frozenset({"GET", "index", "200"})] == 1
    assert found["casync_requests_total", frozenset({"GET", "chunk", "200"})] == 2
    assert found["casync_requests_total", frozenset({"POST", "pull", "200"})] == 1
    assert found["casync_requests_total", frozenset({"other", "page", "200"})] == 1
    assert found["casync_response_bytes_total", frozenset({"chunk"})] == 20
    assert found["casync_request_seconds_count", frozenset({"chunk"})] == 2
    assert found["casync_requests_in_flight", frozenset()] == 1
    assert found["process_resident_memory_bytes", frozenset()] > 1 << 20


@pytest.mark.parametrize(
    ("method", "path", "query", "kind"),
    [
        ("GET", b"/x.catar", b"", "archive"),
        ("PUT", b"/s/abab/" + ID, b"", "chunk"),
        ("GET", b"/s/abab/" + ID + b".other", b"", "chunk"),
        ("POST", b"/s", b"whatever", "other"),
        ("OPTIONS", b"/s", b"", "options"),
        ("GET", b"/-/health", b"", "monitoring"),
        ("GET", b"", b"", "page"),
        ("GET", b"/" + ID * 10, b"", "page"),
    ],
)
def test_kinds_are_few(method: str, path: bytes, query: bytes, kind: str) -> None:
    assert kind_of_request(method, path, query) == kind


_LINE = re.compile(
    r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "(.*?)" (\d+) (\d+) "(.*?)" "(.*?)" \d+\.\d{6}'
)


def test_the_access_log(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with closing(AccessLog(str(path))) as log:
        server = serve(log=log)
        server.get("a%22%0a?token=secret", User_Agent='an "agent" \xe9', Referer="http://x/?secret")
        server.get("d.castr?pull", "POST", Authorization="Bearer secret")
        server.get("broken")
        while path.read_text().count("\n") < 3:
            pass  # a line is written when its answer is on its way
    lines = path.read_text().splitlines()
    assert [_LINE.fullmatch(line).groups() for line in lines] == [  # type: ignore[union-attr]
        ("GET /a%22%0a?... HTTP/1.1", "200", "10", "http://x/", r"an \x22agent\x22 \xe9"),
        ("POST /d.castr?pull HTTP/1.1", "200", "10", "-", lines[1].split('"')[5]),
        ("GET /broken HTTP/1.1", "500", "48", "-", lines[2].split('"')[5]),
    ]
    assert "secret" not in path.read_text()


SCOPE: dict[str, Any] = {
    "client": None,
    "headers": [],
    "query_string": b"",
    "raw_path": b"/x",
    "method": "GET",
    "http_version": "1.1",
}


def test_a_log_that_is_renamed_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with closing(AccessLog(str(path))) as log:
        log.add(SCOPE, 200, 1, 0.1)
        while not path.read_text():
            pass
        path.rename(tmp_path / "log.1")
        log.add(SCOPE, 0, 2, 0.2)
    assert (tmp_path / "log.1").read_text().count("\n") == 1
    assert ' 499 2 "-" "-" 0.200000\n' in path.read_text()


def test_a_log_that_cannot_be_written_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr("casync_py.remotes.http.server.log.STDOUT", writer)
    with closing(AccessLog("-")) as log:
        for _ in range(30_000):
            log.add(SCOPE, 200, 1, 0.1)
        os.close(writer)
        text = b""
        with open(reader, "rb") as file:
            while b"missing" not in text:
                text += os.read(file.fileno(), 1 << 20)
                log.add(SCOPE, 200, 1, 0.1)
    assert re.search(rb"\n# \d+ lines are missing here", text)
