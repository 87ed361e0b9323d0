"""Indexes and archives to web servers: sent when they are complete, and again where that may help."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from casync_py.monitor import Monitor
from casync_py.options import Access
from casync_py.remotes.http.address import parse_web
from casync_py.remotes.http.errors import WebError
from casync_py.remotes.http.put_file import HttpFile, folder_url
from casync_py.remotes.http.web import Web
from casync_py.testing.scripted_store import StoreServer
from casync_py.testing.web import RESET, Asked, ScriptedServer, Step, answer
from casync_py.transport.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterable


def make_file(server: ScriptedServer, store: str | None = None, retries: int = 0) -> HttpFile:
    web = Web(Access(), timeout=20.0, retries=retries, monitor=Monitor(), user_origins=())
    web.retry = Retry(retries, first_s=0.001, most_s=0.002)
    address = parse_web(server.url("/d%20x/name.caibx?v=1"))
    return HttpFile(web, address, store=None if store is None else parse_web(server.url(store)))


def test_a_file_is_put_when_it_is_complete() -> None:
    with StoreServer() as server:
        file = make_file(server.server, "/d%20x/s.castr/")
        file.write(bytearray(b"one "))
        file.write(memoryview(b"two"))
        assert not server.server.asked
        file.commit()
        file.abort()
        (asked,) = server.server.asked
        assert (asked.method, asked.target, asked.body) == ("PUT", "/d%20x/name.caibx?v=1", b"one two")
        assert asked.headers["content-length"] == "7"
        assert asked.headers["content-type"] == "application/vnd.casync.index"
        assert asked.headers["casync-store"] == "/d%20x/s.castr"


def test_a_large_file_is_put_again_from_its_beginning() -> None:
    content = random.Random(1).randbytes(1 << 20)

    def before(asked: Asked) -> Iterable[Step] | None:
        return [answer(503), RESET] if asked.number < 2 else None

    with StoreServer(before=before) as server:
        file = make_file(server.server, retries=3)
        file.write(content)
        file.commit()
        assert list(server.files.values()) == [content]
        assert "casync-store" not in server.server.asked[-1].headers


def test_the_server_says_why_it_does_not_take_a_file() -> None:
    refusal = answer(409, b"/s: Lacks 3 chunks, the first is 00ff\n", "Content-Type: text/plain")
    with ScriptedServer(lambda _asked: [refusal]) as server:
        file = make_file(server)
        file.write(b"x")
        with pytest.raises(WebError, match="Lacks 3 chunks, the first is 00ff"):
            file.commit()
        file.abort()


def test_a_file_that_was_given_up_is_not_put() -> None:
    with StoreServer() as server:
        file = make_file(server.server)
        file.write(b"x")
        file.abort()
        file.abort()
        assert not server.server.asked


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("http://h/a/b.caibx", "http://h/a/"),
        ("http://h/b.caibx?x=/y", "http://h/"),
        ("http://h/a/b.caibx;v=1/2", "http://h/a/"),
    ],
)
def test_the_directory_of_a_file(url: str, folder: str) -> None:
    assert folder_url(url) == folder
