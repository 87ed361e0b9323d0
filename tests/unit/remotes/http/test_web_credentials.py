"""Who we are is told to the servers that the user named, and to nobody else, wherever they send us."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import UsageError
from casync_py.monitor import Monitor
from casync_py.options import Access
from casync_py.remotes.http.web import Web, WebError
from casync_py.testing.web import Asked, ScriptedServer, Step, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    MakeWeb = Callable[..., Web]

SECRETS = ("hush", "aHVzaA", "am9lOmh1c2g=")  # also in base64
HEADER = ("X-Token", "hush")


@pytest.fixture(name="make_web")
def _make_web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWeb]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    webs: list[Web] = []

    def make(*origins: str, headers: tuple[tuple[str, str], ...] = ()) -> Web:
        access = Access(headers=headers)
        webs.append(Web(access, timeout=5, retries=0, monitor=Monitor(), user_origins=origins))
        return webs[-1]

    yield make
    for web in webs:
        web.close()


def redirect(status: int, location: str) -> list[Step]:
    return [answer(status, b"", f"Location: {location}")]


def plain(_asked: Asked) -> list[Step]:
    return [answer(200, b"here")]


def authorization(asked: Asked) -> str | None:
    header = asked.headers.get("authorization")
    return None if header is None else b64decode(header.removeprefix("Basic ")).decode()


def test_user_and_password_of_a_url(make_web: MakeWeb) -> None:
    with ScriptedServer(plain) as server:
        origin = server.origin.replace("//", "//j%C3%B6:p%40%3A%2Fw@")
        make_web(f"{origin}/whatever?x").request("GET", server.url())
        make_web(server.origin).request("GET", server.url())
        make_web().request("GET", server.url())
        assert list(map(authorization, server.asked)) == ["jö:p@:/w", None, None]


def test_headers_go_to_named_servers_only(make_web: MakeWeb) -> None:
    with ScriptedServer(plain) as named, ScriptedServer(plain) as other:
        web = make_web(named.origin, headers=(HEADER, ("User-Agent", "me")))
        web.request("GET", named.url())
        web.request("GET", other.url())
        assert named.asked[0].headers["x-token"] == "hush"
        assert [line for line in named.asked[0].lines if line.startswith("User-Agent")] == ["User-Agent: me"]
        assert "x-token" not in other.asked[0].headers
        assert other.asked[0].headers["user-agent"] == "casync-py"


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Range"])
def test_headers_that_are_ours(make_web: MakeWeb, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        make_web(headers=((name, "1"),))


NETRC = """
machine other.example login a password b
machine 127.0.0.1
  login joe
  password hush
"""


def test_netrc(make_web: MakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text(NETRC)
    (tmp_path / "mine").write_text("machine 127.0.0.1 login ann password x\n")
    with ScriptedServer(plain) as server:
        make_web(server.origin).request("GET", server.url())
        make_web(server.origin.replace("//", "//u:p@")).request("GET", server.url())
        make_web(server.origin, headers=(("authorization", "Bearer t"),)).request("GET", server.url())
        make_web().request("GET", server.url())
        monkeypatch.setenv("NETRC", str(tmp_path / "mine"))
        make_web(server.origin).request("GET", server.url())
        assert list(map(authorization, (*server.asked[:2], *server.asked[3:]))) == ["joe:hush", "u:p", None, "ann:x"]
        assert [line for line in server.asked[2].lines if "uthorization" in line] == ["authorization: Bearer t"]


@pytest.mark.parametrize("content", [b"machine 127.0.0.1 login joe pass hush\n", b"\xff\xfe"])
def test_a_netrc_that_cannot_be_understood(make_web: MakeWeb, tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".netrc").write_bytes(content)
    with pytest.raises(UsageError, match=r"\.netrc: Cannot be") as caught:
        make_web("http://127.0.0.1")
    assert "hush" not in str(caught.value)


# Redirects.


def test_within_a_server(make_web: MakeWeb) -> None:
    def script(asked: Asked) -> list[Step]:
        return [answer(200, b"here")] if asked.target == "/b/c?d" else redirect(302, "../b/c?d#e")

    with ScriptedServer(script) as server:
        web = make_web(server.origin, headers=(HEADER,))
        assert web.request("GET", server.url("/a/x")).body == b"here"
        assert [asked.headers["x-token"] for asked in server.asked] == ["hush", "hush"]
        assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("how", ["http://{}/elsewhere", "//{}/elsewhere", "http://joe:hush@{}/elsewhere"])
def test_to_another_server_nothing_of_ours_goes(make_web: MakeWeb, status: int, how: str, tmp_path: Path) -> None:
    """Not even to another port of the same host, for which ~/.netrc has a line."""
    (tmp_path / ".netrc").write_text(NETRC)
    with ScriptedServer(plain) as other:
        location = how.format(other.origin.removeprefix("http://"))
        with ScriptedServer(lambda _asked: redirect(status, location)) as named:
            web = make_web(named.origin.replace("//", "//joe:hush@"), headers=(HEADER, ("Cookie", "hush")))
            assert web.request("GET", named.url()).body == b"here"
        assert len(other.asked) == 1
        assert not any(secret in line for line in other.asked[0].lines for secret in SECRETS)
        assert set(other.asked[0].headers) == {"host", "user-agent", "accept-encoding"}


def test_back_again_everything_goes(make_web: MakeWeb) -> None:
    """Another server that the user named too gets what is its own."""
    with ScriptedServer(plain) as second, ScriptedServer(lambda _asked: redirect(307, second.url("/x"))) as first:
        web = make_web(first.origin.replace("//", "//a:1@"), second.origin.replace("//", "//b:2@"))
        assert web.request("PUT", first.url(), content=b"content").body == b"here"
        assert list(map(authorization, [*first.asked, *second.asked])) == ["a:1", "b:2"]
        assert second.asked[0].body == b"content"
        assert web.request("PUT", first.url(), content=lambda: [b"pie", b"ces"]).body == b"here"
        assert second.asked[1].body == b"pieces"


def test_cookies_are_not_kept(make_web: MakeWeb) -> None:
    with ScriptedServer(lambda _asked: [answer(200, b"", "Set-Cookie: a=b; Path=/")]) as server:
        web = make_web(server.origin)
        for _ in range(2):
            web.request("GET", server.url())
        assert "cookie" not in server.asked[1].headers


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/again", "Redirects more than 10 times"),
        ("ftp://127.0.0.1/x", "Redirects to what is no URL of a web server: ftp://127.0.0.1/x"),
        ("file:///etc/passwd", "Redirects to what is no URL"),
        ("http://[::1", "Redirects to what is no URL"),
        ("http://joe:hush@/", "Redirects to what is no URL"),
        ("http://a b/", "Redirects to what is no URL"),
        ("//:99999/", "Redirects to what is no URL"),
        ("http://127.0.0.1:99999/", "Redirects to what is no URL"),
        ("javascript:alert(1)", "Redirects to what is no URL"),
        ("x" * 20_000, "Redirects to what is no URL"),
    ],
)
def test_redirects_to_nowhere(make_web: MakeWeb, location: str, reason: str) -> None:
    with ScriptedServer(lambda _asked: redirect(302, location)) as server:
        with pytest.raises(WebError) as caught:
            make_web(server.origin).request("GET", server.url("/a"))
        assert caught.value.reason.startswith(reason)
        assert not caught.value.transient
        assert "hush" not in str(caught.value)
        assert len(server.asked) == (11 if location == "/again" else 1)


def test_a_redirect_that_leads_nowhere(make_web: MakeWeb) -> None:
    with ScriptedServer(lambda _asked: [answer(301)]) as server, pytest.raises(WebError, match="not where to go"):
        make_web().request("GET", server.url())


@pytest.mark.parametrize("status", [301, 302, 303])
def test_what_was_posted_is_not_turned_into_a_get(make_web: MakeWeb, status: int) -> None:
    with ScriptedServer(lambda _asked: redirect(status, "/x")) as server:
        with pytest.raises(WebError, match=f"Answers {status} to POST"):
            make_web().request("POST", server.url(), content=b"content")
        assert len(server.asked) == 1


def test_ever_more_servers(make_web: MakeWeb) -> None:
    """One that redirects to other names of itself costs no memory and gets nothing."""
    with ScriptedServer(plain) as target:
        names = iter(f"http://127.0.{high}.{low}:{target.port}/" for high in range(1, 9) for low in range(1, 20))
        with ScriptedServer(lambda _asked: redirect(302, next(names)), host="127.0.0.1") as server:
            web = make_web(server.origin, headers=(HEADER,))
            for _ in range(100):
                with pytest.raises(WebError, match="No connection"):  # it listens on 127.0.0.1 only
                    web.request("GET", server.url())
            assert sum(map(len, web._origins._lanes)) <= 64
            assert not target.asked


# Messages.


def test_messages_have_no_secrets(make_web: MakeWeb) -> None:
    with ScriptedServer(lambda _asked: [answer(403)]) as server:
        web = make_web(server.origin.replace("//", "//joe:hush@"), headers=(HEADER,))
        with pytest.raises(WebError) as caught:
            web.request("GET", server.url("/a?signature=hush"))
        assert str(caught.value) == f"{server.url('/a?...')}: Server answers 403 Forbidden"
