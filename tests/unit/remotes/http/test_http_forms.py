"""Servers that know chunks in one form answer 400 to the other's name, as desync's do; the other form is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from casync_py.monitor import Monitor
from casync_py.options import Access
from casync_py.protocol.messages import ChunkData, Missing
from casync_py.remotes.http.errors import WebError
from casync_py.remotes.http.getting import ByGets
from casync_py.remotes.http.present import has_by_head
from casync_py.remotes.http.web import Web
from casync_py.testing.store_contract import absent, sample
from casync_py.testing.web import Asked, ScriptedServer, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.ids import ChunkId

CHUNK = sample(1)


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web(Access(), timeout=10, retries=0, monitor=Monitor(), user_origins=[])
    yield web
    web.close()


class Knows:
    """A server of one form of chunks, or of none."""

    def __init__(self, suffix: str | None) -> None:
        self._suffix = suffix

    def __call__(self, asked: Asked) -> list[bytes]:
        name = asked.target.rpartition("/")[2]
        if self._suffix is None or name[64:] != self._suffix:
            return [answer(400, b"unexpected file extension")]
        content = b"content" if name.startswith(CHUNK.chunk_id.hex()) else b""
        return [answer(200 if content else 404, content)]


class Taken:
    """What a fetch takes in."""

    limit = 1000

    def __init__(self) -> None:
        self.answers: list[object] = []

    def arrived(self, answer: object) -> None:
        self.answers.append(answer)

    def wait_for_room(self) -> bool:
        return True


def fetched(web: Web, server: ScriptedServer, chunk_id: ChunkId) -> object:
    taken = Taken()
    ByGets(web, server.origin, ".cacnk", 0.0).fetch([chunk_id], taken)
    (found,) = taken.answers
    return found


@pytest.mark.parametrize("suffix", [".cacnk", ""])
def test_the_form_that_is_known_is_found(web: Web, suffix: str) -> None:
    with ScriptedServer(Knows(suffix)) as server:
        assert has_by_head(web, server.origin, [".cacnk", ""], CHUNK.chunk_id)
        assert fetched(web, server, CHUNK.chunk_id) == ChunkData(CHUNK.chunk_id, b"content", bool(suffix))


@pytest.mark.parametrize("suffix", [".cacnk", ""])
def test_what_is_not_there_is_missing(web: Web, suffix: str) -> None:
    missing = absent(1)
    with ScriptedServer(Knows(suffix)) as server:
        assert not has_by_head(web, server.origin, [".cacnk", ""], missing)
        assert fetched(web, server, missing) == Missing(missing)


def test_a_server_that_knows_neither_is_no_store(web: Web) -> None:
    with ScriptedServer(Knows(None)) as server:
        with pytest.raises(WebError, match="400"):
            has_by_head(web, server.origin, [".cacnk", ""], CHUNK.chunk_id)
        with pytest.raises(WebError, match="400"):
            fetched(web, server, CHUNK.chunk_id)
