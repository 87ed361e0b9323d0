"""TLS: whom we trust, who we are, and HTTP/2 where a server offers it; with the real nginx where that speaks it."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography.hazmat.primitives import serialization as s

from casync_py.errors import UsageError
from casync_py.monitor import Monitor
from casync_py.options import Access
from casync_py.remotes.http import origins, trust
from casync_py.remotes.http.web import Web, WebError
from casync_py.testing.web import CLOSE, RESET, Asked, ScriptedServer, Step, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from casync_py.testing.nginx import Nginx

    MakeWeb = Callable[..., Web]

BODY = os.urandom(30_000)


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(name="files")
def _files(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """PEM files: the authority, our certificate, its key, and both in one."""
    ours = authority.issue_cert("client@example.org")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key", "both", "other")}
    authority.cert_pem.write_to_path(paths["ca"])
    ours.cert_chain_pems[0].write_to_path(paths["cert"])
    ours.private_key_pem.write_to_path(paths["key"])
    ours.private_key_and_cert_chain_pem.write_to_path(paths["both"])
    trustme.CA().cert_pem.write_to_path(paths["other"])
    return paths


def server_tls(authority: trustme.CA, *names: str, client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


@pytest.fixture(name="make_web")
def _make_web() -> Iterator[MakeWeb]:
    webs: list[Web] = []

    def make(origin: str = "", monitor: Monitor | None = None, **access: str) -> Web:
        origins = [origin] if origin else []
        webs.append(
            Web(Access(**access), timeout=5, retries=0, monitor=monitor or Monitor(), user_origins=origins)  # type: ignore[arg-type]
        )
        return webs[-1]

    yield make
    for web in webs:
        web.close()


def plain(_asked: Asked) -> list[Step]:
    return [answer(200, BODY)]


def test_an_authority_that_the_user_names(make_web: MakeWeb, authority: trustme.CA, files: dict[str, str]) -> None:
    with ScriptedServer(plain, server_tls(authority)) as server:
        web = make_web(server.origin, tls_ca=files["ca"])
        for _ in range(3):
            assert web.request("GET", server.url()).body == BODY
        with web.stream("GET", server.url()) as reply:
            assert b"".join(reply.iter_bytes()) == BODY
        assert server.connections == 2  # one that offers HTTP/2, one that does not


def test_an_authority_of_the_environment(
    make_web: MakeWeb, authority: trustme.CA, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", files["ca"])
    with ScriptedServer(plain, server_tls(authority)) as server:
        assert make_web().request("GET", server.url()).body == BODY
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
        with pytest.raises(UsageError, match="/nowhere: Cannot be certificates of authorities"):
            make_web().request("GET", server.url())


@pytest.mark.parametrize("known", ["other", None])
def test_an_unknown_authority(
    make_web: MakeWeb, authority: trustme.CA, files: dict[str, str], known: str | None
) -> None:
    access = {} if known is None else {"tls_ca": files[known]}
    with ScriptedServer(plain, server_tls(authority)) as server:
        with pytest.raises(WebError, match="Its certificate is not trusted: ") as caught:
            make_web(**access).request("GET", server.url())
        assert not caught.value.transient
        assert not server.asked


def test_a_certificate_for_another_host(make_web: MakeWeb, authority: trustme.CA, files: dict[str, str]) -> None:
    with (
        ScriptedServer(plain, server_tls(authority, "other.example")) as server,
        pytest.raises(WebError, match=r"not trusted: IP address mismatch"),
    ):
        make_web(tls_ca=files["ca"]).request("GET", server.url())


@pytest.mark.parametrize("one_file", [False, True])
def test_our_certificate(make_web: MakeWeb, authority: trustme.CA, files: dict[str, str], one_file: bool) -> None:
    ours = {"tls_cert": files["both"]} if one_file else {"tls_cert": files["cert"], "tls_key": files["key"]}
    with ScriptedServer(plain, server_tls(authority, client=True)) as server:
        assert make_web(server.origin, tls_ca=files["ca"], **ours).request("GET", server.url()).body == BODY
        for web in (make_web(server.origin, tls_ca=files["ca"]), make_web(tls_ca=files["ca"], **ours)):
            with pytest.raises(WebError, match="TLS failed") as caught:
                web.request("GET", server.url())
            assert not caught.value.transient
        assert len(server.asked) == 1


def test_our_certificate_is_not_shown_elsewhere(
    make_web: MakeWeb, authority: trustme.CA, files: dict[str, str]
) -> None:
    shown: list[object] = []
    tls = server_tls(authority)
    tls.verify_mode = ssl.CERT_OPTIONAL
    authority.configure_trust(tls)

    class Looking(ScriptedServer):
        def _answer(self, sock: ssl.SSLSocket, asked: Asked) -> bool:  # type: ignore[override]
            shown.append(sock.getpeercert())
            return super()._answer(sock, asked)

    with Looking(plain, tls) as other:
        redirect = [answer(302, b"", f"Location: {other.url()}")]
        with Looking(lambda _asked: redirect, tls) as named:
            web = make_web(named.origin, tls_ca=files["ca"], tls_cert=files["both"])
            assert web.request("GET", named.url()).body == BODY
    assert [bool(certificate) for certificate in shown] == [True, False]


def test_from_https_to_http(make_web: MakeWeb, authority: trustme.CA, files: dict[str, str]) -> None:
    with ScriptedServer(plain) as other:
        redirect = [answer(301, b"", f"Location: {other.url('/x?secret')}")]
        with ScriptedServer(lambda _asked: redirect, server_tls(authority)) as server:
            with pytest.raises(WebError, match="Redirects from https to http: ") as caught:
                make_web(tls_ca=files["ca"]).request("GET", server.url())
            assert "secret" not in str(caught.value)
        assert not other.asked


def test_files_that_cannot_be_used(make_web: MakeWeb, authority: trustme.CA, files: dict[str, str]) -> None:
    with ScriptedServer(plain, server_tls(authority)) as server:
        for access, reason in (
            ({"tls_ca": "/nowhere"}, "/nowhere: Cannot be certificates of authorities: No such file"),
            ({"tls_ca": files["key"]}, "Cannot be certificates of authorities"),
            ({"tls_ca": files["ca"], "tls_cert": files["cert"]}, "Cannot be our certificate"),
            ({"tls_ca": files["ca"], "tls_cert": "/nowhere"}, "/nowhere: Cannot be our certificate: No such file"),
        ):
            with pytest.raises(UsageError, match=reason):
                make_web(server.origin, **access).request("GET", server.url())


def test_a_key_with_a_password_asks_nobody(make_web: MakeWeb, authority: trustme.CA, tmp_path: Path) -> None:
    issued = authority.issue_cert("client@example.org")
    key = s.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"hush"))
    (tmp_path / "locked.pem").write_bytes(locked + issued.cert_chain_pems[0].bytes())
    with ScriptedServer(plain, server_tls(authority)) as server, pytest.raises(UsageError, match="by a password"):
        make_web(server.origin, tls_cert=str(tmp_path / "locked.pem")).request("GET", server.url())


def test_a_server_that_speaks_no_tls(make_web: MakeWeb) -> None:
    """It answers with an error in HTTP to what it takes for a request."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            sock, _address = listening.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(answer(400, b"", "Connection: close"))

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(WebError, match="TLS failed: "):
            make_web().request("GET", f"https://127.0.0.1:{listening.getsockname()[1]}/")
        thread.join()


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_connection_that_breaks_in_the_middle(
    make_web: MakeWeb, authority: trustme.CA, files: dict[str, str], end: Step
) -> None:
    steps: list[Step] = [answer(200, BODY, length=10**6), end]
    with ScriptedServer(lambda _asked: steps, server_tls(authority)) as server:
        with pytest.raises(WebError) as caught:
            make_web(tls_ca=files["ca"]).request("GET", server.url())
        assert caught.value.transient


# HTTP/2.


@pytest.fixture(name="start_http2")
def _start_http2(start_nginx: Callable[..., Nginx], tmp_path: Path, authority: trustme.CA) -> Callable[..., Nginx]:
    certificate = authority.issue_cert("127.0.0.1")
    paths = tmp_path / "server.pem", tmp_path / "server.key"
    certificate.cert_chain_pems[0].write_to_path(str(paths[0]))
    certificate.private_key_pem.write_to_path(str(paths[1]))
    (tmp_path / "root").mkdir()
    (tmp_path / "root/body").write_bytes(BODY)
    return partial(start_nginx, tmp_path / "root", tls=paths, http2=True)


@pytest.fixture(name="http2_server")
def _http2_server(start_http2: Callable[..., Nginx]) -> Nginx:
    return start_http2()


def test_http2_where_it_is_offered(
    make_web: MakeWeb, http2_server: Nginx, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monitor = Monitor()
    web = make_web(http2_server.url, monitor, tls_ca=files["ca"])

    def ask(_: int) -> None:
        assert web.request("GET", f"{http2_server.url}/body").body == BODY
        assert web.request("GET", f"{http2_server.url}/none", expect=(404,)).status == 404
        assert web.request("HEAD", f"{http2_server.url}/body").headers["content-length"] == "30000"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(80)))
    with web.stream("GET", f"{http2_server.url}/body") as reply:
        assert b"".join(reply.iter_bytes()) == BODY
    with pytest.raises(WebError, match="Answers with more than 1000 bytes"):
        web.request("GET", f"{http2_server.url}/body", limit=1000)
    web.close()
    http2_server.stop()
    requests = http2_server.requests()
    assert requests.count("GET /body 200 HTTP/2.0") == 81
    assert requests.count("GET /body 200 HTTP/1.1") == 1  # the stream
    assert monitor.received > 82 * len(BODY)


def test_http2_connections_that_the_server_ends(
    make_web: MakeWeb, start_http2: Callable[..., Nginx], files: dict[str, str]
) -> None:
    """nginx does so after 1000 requests."""
    nginx = start_http2(server="keepalive_requests 20;\n")
    web = make_web(nginx.url, tls_ca=files["ca"])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: web.request("GET", f"{nginx.url}/body").body, range(200)))
    assert set(answers) == {BODY}


def test_without_the_extra_it_is_http1(
    make_web: MakeWeb, http2_server: Nginx, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trust.http2_is_there()
    monkeypatch.setattr(origins, "http2_is_there", lambda: False)
    web = make_web(http2_server.url, tls_ca=files["ca"])
    assert web.request("GET", f"{http2_server.url}/body").body == BODY
    web.close()
    http2_server.stop()
    assert http2_server.requests() == ["GET /body 200 HTTP/1.1"]
