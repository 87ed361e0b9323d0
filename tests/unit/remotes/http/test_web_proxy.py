"""Proxies that the environment names."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
import trustme

from casync_py.errors import UsageError
from casync_py.monitor import Monitor
from casync_py.options import Access
from casync_py.remotes.http.web import Web, WebError
from casync_py.testing.web import Asked, ScriptedServer, Step, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = os.urandom(30_000)
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def make_web(origin: str = "", monitor: Monitor | None = None, **access: object) -> Web:
    origins = [origin] if origin else []
    return Web(Access(**access), timeout=5, retries=0, monitor=monitor or Monitor(), user_origins=origins)  # type: ignore[arg-type]


def plain(_asked: Asked) -> list[Step]:
    return [answer(200, BODY)]


def test_requests_go_to_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = Monitor()

    def script(asked: Asked) -> list[Step]:
        return [answer(200, b"", length=30_000)] if asked.method == "HEAD" else plain(asked)

    with ScriptedServer(script) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin.replace("//", "//user:word@"))
        web = make_web("http://joe:hush@server.example", monitor)
        assert web.request("GET", "http://server.example/a?b").body == BODY
        assert web.request("HEAD", "http://server.example/a").headers["content-length"] == "30000"
        web.request("PUT", "http://server.example/a", content=b"content")
        web.request("PUT", "http://server.example/a", content=lambda: [b"con", b"tent"])
        with web.stream("POST", "http://server.example/a", content=b"") as reply:
            assert b"".join(reply.iter_bytes()) == BODY
        web.close()
        assert [asked.lines[0].split()[:2] for asked in proxy.asked[:2]] == [
            ["GET", "http://server.example/a?b"],
            ["HEAD", "http://server.example/a"],
        ]
        assert [asked.body for asked in proxy.asked[2:]] == [b"content", b"content", b""]
        assert proxy.asked[2].headers["content-length"] == "7"
        assert proxy.asked[0].headers["authorization"] == "Basic am9lOmh1c2g="
        assert proxy.asked[0].headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
        assert set(proxy.asked[0].headers) <= {
            *("host", "user-agent", "accept-encoding", "authorization", "proxy-authorization", "accept")
        }
        assert proxy.connections == 2  # the other one is for answers of any size
    assert monitor.received > 4 * len(BODY)
    assert 14 + 5 * 20 < monitor.sent < 14 + 5 * 500


def test_cookies_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(lambda _asked: [answer(200, b"", "Set-Cookie: a=b; Path=/")]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin)
        web = make_web()
        for _ in range(2):
            web.request("GET", "http://server.example/")
        web.close()
        assert "cookie" not in proxy.asked[1].headers


@pytest.mark.parametrize("which", ["127.0.0.1", "*", "localhost,127.0.0.1"])
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    with ScriptedServer(plain) as server, ScriptedServer(plain) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.origin)
        monkeypatch.setenv("NO_PROXY", which)
        web = make_web()
        assert web.request("GET", server.url()).body == BODY
        web.close()
        assert not proxy.asked


def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, transient in ((407, False), (502, True)):
        with ScriptedServer(lambda _asked, status=status: [answer(status)]) as proxy:  # type: ignore[misc]
            monkeypatch.setenv("https_proxy", proxy.origin.replace("//", "//user:hush@"))
            web = make_web()
            with pytest.raises(WebError, match=f"The proxy failed: {status}") as caught:
                web.request("GET", "https://server.example/a")
            web.close()
            assert caught.value.transient is transient
            assert "hush" not in str(caught.value)
            assert proxy.asked[0].lines[0] == "CONNECT server.example:443 HTTP/1.1"


def test_no_proxy_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    web = make_web()
    with pytest.raises(WebError, match=r"No connection: Connection refused") as caught:
        web.request("GET", "http://server.example/a")
    assert caught.value.transient
    web.close()


@pytest.mark.parametrize("value", ["gopher://127.0.0.1:1", "http://user:hush@[::1"])
def test_an_impossible_proxy(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("http_proxy", value)
    web = make_web()
    with pytest.raises(UsageError, match="proxy") as caught:
        web.request("GET", "http://server.example/a")
    assert "hush" not in str(caught.value)
    web.close()


def test_bodies_are_bounded_and_broken_ones_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(lambda _asked: [answer(200, BODY, length=40_000), 60.0]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin)
        web = Web(Access(), timeout=0.7, retries=0, monitor=Monitor(), user_origins=())
        with pytest.raises(WebError, match="Answers with more than 1000 bytes"):
            web.request("GET", "http://server.example/a", limit=1000)
        with pytest.raises(WebError, match="Sends nothing") as caught:
            web.request("GET", "http://server.example/a")
        assert caught.value.transient
        web.close()


def test_closing_ends_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    failures: list[BaseException] = []

    def script(_asked: Asked) -> Iterator[Step]:
        asked.set()
        yield 60.0

    def ask() -> None:
        try:
            web.request("GET", "http://server.example/")
        except WebError as error:
            failures.append(error)

    with ScriptedServer(script) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin)
        web = Web(Access(), timeout=60, retries=5, monitor=Monitor(), user_origins=())
        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(10)
        web.close()
        thread.join(10)
        assert not thread.is_alive()
        assert len(failures) == 1


@pytest.fixture(name="tunnel")
def _tunnel() -> Iterator[tuple[int, list[bytes]]]:
    """A proxy for one CONNECT, wherever to: it leads to the port that is appended to the list of what was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            near, _address = listening.accept()
            with near:
                head = near.recv(10_000)
                port = int(asked.pop())
                asked.append(head)
                with socket.create_connection(("127.0.0.1", port)) as far:
                    near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    other = {near: far, far: near}
                    while True:
                        for ready in select.select(list(other), [], [], 10)[0]:
                            data = ready.recv(1 << 16)
                            if not data:
                                return
                            other[ready].sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], asked
        thread.join(10)


def test_through_a_tunnel_with_tls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tunnel: tuple[int, list[bytes]]
) -> None:
    """The proxy sees the name and nothing of what is said; our certificate is shown at the other end."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("c@example.org").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ours.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("server.example").configure_cert(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    port, asked = tunnel
    with ScriptedServer(plain, tls) as server:
        asked.append(str(server.port).encode())
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        web = make_web(
            "https://joe:hush@server.example", tls_ca=str(tmp_path / "ca.pem"), tls_cert=str(tmp_path / "ours.pem")
        )
        for _ in range(2):
            assert web.request("GET", "https://server.example/x").body == BODY
        web.close()
        assert asked[0].startswith(b"CONNECT server.example:443 HTTP/1.1\r\n")
        assert b"uthorization" not in asked[0]
        assert server.asked[0].headers["authorization"] == "Basic am9lOmh1c2g="
