"""Stores on web servers that only hand out files: the contract of stores, forms, and what becomes of trouble."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import NO_COMPRESSION
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.options import StoreOptions
from casync_py.remotes.http.errors import WebError
from casync_py.testing.http_store import FileServer, Opened, all_of, files, fill
from casync_py.testing.store_contract import StoreContract, absent, plain_of, sample
from casync_py.testing.web import Asked, ScriptedServer, Step, answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from casync_py.store.base import Store
    from casync_py.store.chunk import Chunk

WITH_FILES = StoreOptions(NO_COMPRESSION)
SAMPLES = [sample(number, 900 + 700 * number) for number in range(12)]
IDS = [chunk.chunk_id for chunk in SAMPLES]


@pytest.mark.parametrize("options", [StoreOptions(), WITH_FILES], ids=["compressed", "plain"])
class TestPlainServer(StoreContract):
    @pytest.fixture(autouse=True)
    def _options(self, options: StoreOptions) -> Iterator[None]:
        self.options = options
        self.servers: list[FileServer] = []
        yield
        for server in self.servers:
            server.__exit__(None, None, None)

    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> Store:
        fill(tmp_path / "s.castr", chunks, self.options)
        self.servers.append(FileServer(tmp_path))
        return Opened(self.servers[-1].__enter__().url("/s.castr"))


def gets(server: ScriptedServer) -> list[str]:
    return [asked.target for asked in server.asked if asked.method == "GET"]


def test_the_form_that_was_there_last_is_asked_for_first(tmp_path: Path) -> None:
    fill(tmp_path / "s", SAMPLES, WITH_FILES)
    with FileServer(tmp_path) as server, Opened(server.url("/s")) as store:
        for chunk in SAMPLES:
            assert store.get(chunk.chunk_id).plain() == chunk.plain()
        with pytest.raises(ChunkMissing):
            store.get(absent())
        assert len(gets(server)) == len(SAMPLES) + 1 + 2


def test_an_empty_file_is_no_chunk(tmp_path: Path) -> None:
    fill(tmp_path / "s", SAMPLES[:1], StoreOptions())
    for chunk_id, suffix in ((IDS[0], ""), (IDS[1], ".cacnk"), (IDS[1], "")):
        path = tmp_path / "s" / chunk_id.store_path(suffix)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with FileServer(tmp_path) as server, Opened(server.url("/s")) as store:
        assert store.get(IDS[0]).plain() == SAMPLES[0].plain()
        with pytest.raises(ChunkMissing):
            store.get(IDS[1])
        assert store.has_many(IDS[:3]) == [True, False, False]


@pytest.mark.parametrize("status", [403, 400, 418])
def test_trouble_is_never_a_missing_chunk(tmp_path: Path, status: int) -> None:
    fill(tmp_path / "s", SAMPLES, StoreOptions())
    bad = IDS[5].hex()
    server = ScriptedServer(lambda asked: [answer(status) if bad in asked.target else files(tmp_path, asked)])
    with server, Opened(server.url("/s")) as store:
        stream = store.get_many(IDS)
        with pytest.raises(WebError, match=str(status)):
            list(stream)


def test_half_of_the_answers_are_errors(tmp_path: Path) -> None:
    fill(tmp_path / "s", SAMPLES, StoreOptions())
    server = ScriptedServer(
        lambda asked: [answer(500) if asked.number % 2 else files(tmp_path, asked)],
    )
    with server, Opened(server.url("/s"), retries=10) as store:
        assert all_of(store, IDS * 3) == [chunk.plain() for chunk in SAMPLES] * 3


def test_a_chunk_that_is_too_large_is_invalid_and_the_others_come(tmp_path: Path) -> None:
    fill(tmp_path / "s", SAMPLES, WITH_FILES)
    bad = os.urandom(1 << 20)
    (tmp_path / "s" / IDS[3].store_path("")).write_bytes(bad)
    with FileServer(tmp_path) as server, Opened(server.url("/s")) as store:
        stream = store.get_many(IDS, limit=10_000)
        for chunk in SAMPLES[:3]:
            assert plain_of(next(stream)[1]) == chunk.plain()
        with pytest.raises(ChunkInvalid, match="more than"):
            next(stream)
        stream.close()
        assert store.get(IDS[4]).plain() == SAMPLES[4].plain()


def test_questions_of_which_one_fails_do_not_wait_for_the_others() -> None:
    def script(asked: Asked) -> Iterator[Step]:
        if asked.method == "HEAD" and IDS[0].hex() not in asked.target:
            yield 60.0
        yield answer(403)

    with ScriptedServer(script) as server, Opened(server.url("/s"), timeout=30) as store:
        began = time.monotonic()
        with pytest.raises(WebError, match="403"):
            store.has_many(IDS[:3])
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("large", [False, True])
def test_answers_that_may_be_large_are_few_at_once(large: bool) -> None:
    """What an index and a server from far away can make us hold in memory."""
    chunks = [sample(number, 100) for number in range(30)]
    under_way, seen, lock = 0, [0], threading.Lock()

    def script(asked: Asked) -> Iterator[Step]:
        nonlocal under_way
        if asked.method == "OPTIONS":
            yield 0.05  # far enough for many threads
            yield answer(405)
            return
        with lock:
            under_way += 1
            seen.append(under_way)
        yield 0.02
        with lock:
            under_way -= 1
        yield answer(404)

    with ScriptedServer(script) as server, Opened(server.url("/s")) as store:
        stream = store.get_many([chunk.chunk_id for chunk in chunks], limit=128 << 20 if large else 1 << 20)
        assert all(isinstance(found, ChunkMissing) for _, found in stream)
        stream.close()
    assert (max(seen) > 3) is not large


@pytest.mark.parametrize("status", [200, 204, 400, 403, 404, 405, 501])
def test_a_server_that_does_not_speak_is_asked_for_files(tmp_path: Path, status: int) -> None:
    fill(tmp_path / "s", SAMPLES, StoreOptions())
    server = ScriptedServer(
        lambda asked: (
            [answer(status, length=-1 if status == 204 else None)]
            if asked.method == "OPTIONS"
            else [files(tmp_path, asked)]
        )
    )
    with server, Opened(server.url("/s")) as store:
        assert all_of(store, IDS) == [chunk.plain() for chunk in SAMPLES]


def test_who_asks_is_wanted_to_be_known() -> None:
    server = ScriptedServer(lambda _asked: [answer(401, b"A token is needed\n", "Content-Type: text/plain")])
    with server, Opened(server.url("/s")) as store, pytest.raises(WebError, match="A token is needed"):
        all_of(store, IDS)


def test_streams_that_were_closed_cost_nothing_more(tmp_path: Path) -> None:
    """What nobody wants any more when its turn comes is not got."""
    fill(tmp_path / "s", SAMPLES, StoreOptions())
    closed = threading.Event()

    def script(asked: Asked) -> Iterator[Step]:
        if asked.method == "OPTIONS":  # which comes before anything is got
            assert closed.wait(20)
        yield files(tmp_path, asked)

    with ScriptedServer(script) as server, Opened(server.url("/s"), timeout=30) as store:
        stream = store.get_many(IDS)
        stream.close()
        closed.set()
        assert store.get(IDS[-1]).plain() == SAMPLES[-1].plain()
        assert gets(server) == [f"/s/{IDS[-1].store_path('.cacnk')}"]
