"""A server in a thread: its beginning, its end, and TLS that does not come."""

from __future__ import annotations

import resource
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from casync_py.remotes.http.server import run
from casync_py.remotes.http.server.guard import Limits
from casync_py.remotes.http.server.run import Running, WebServer, connections_max
from casync_py.transport.admission import server_tls
from casync_py.transport.listen import Listen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

begun = threading.Event()


async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    body = bytes(300_000)
    if scope["path"] == "/body":
        begun.set()
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def server(tls: ssl.SSLContext | None = None) -> tuple[WebServer, int]:
    listening = Listen("localhost" if tls else "127.0.0.1").open()
    return WebServer(app, listening, Limits(10, 5), tls=tls), listening.port


def everything(client: socket.socket) -> bytes:
    found = b""
    while data := client.recv(65536):
        found += data
    return found


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 30).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.usefixtures("nothing_left")
def test_the_end_waits_for_what_is_in_flight() -> None:
    web, port = server()
    in_flight: list[int] = []
    web.on_stopping = in_flight.append
    running = Running(web)
    with socket.create_connection(("127.0.0.1", port), 30) as client, socket.create_connection(("127.0.0.1", port)):
        begun.clear()
        client.sendall(b"PUT /body HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
        assert begun.wait(30)
        ender = threading.Thread(target=running.stop)
        ender.start()
        while not in_flight:
            pass
        while listens(port):
            pass
        client.sendall(b"def")
        assert everything(client).endswith(b"\r\n\r\nabcdef")
        ender.join()
    running.stop()
    assert in_flight == [1]


@pytest.mark.usefixtures("nothing_left")
def test_what_keeps_it_from_starting_is_raised() -> None:
    listening = Listen("127.0.0.1").open()
    web = WebServer(app, listening, Limits(10, 5))
    listening.close()
    with pytest.raises(OSError, match="descriptor"):
        Running(web)


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(name="tls")
def _tls(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    path = str(tmp_path / "both.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return server_tls(path)


def test_tls(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    web, port = server(tls)
    with (
        Running(web),
        socket.create_connection(("localhost", port), 30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        assert client.selected_alpn_protocol() == "http/1.1"
        client.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert everything(client).endswith(b"\r\n\r\n" + bytes(300_000))


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_handshake_has_its_time(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(run, "_TLS_HANDSHAKE_SECONDS", 0.2)
    web, port = server(tls)
    trouble: list[str] = []
    web.on_trouble = trouble.append
    with Running(web), socket.create_connection(("localhost", port), 30) as client:
        client.sendall(sent)
        assert len(everything(client)) < 10  # an alert of TLS at most
    assert trouble == []


def test_old_tls_is_refused(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    web, port = server(tls)
    with Running(web), socket.create_connection(("localhost", port), 30) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


def test_connections_are_fewer_than_files() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 1 <= connections_max() <= max(1, soft // 2)
