"""Stores on web servers that speak: the contract of stores, what each way costs, and what becomes of trouble."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import DEFAULT_COMPRESSION, NO_COMPRESSION
from casync_py.digest import SHA512_256
from casync_py.errors import PeerError, ProtocolError
from casync_py.options import StoreOptions
from casync_py.protocol.messages import CHUNK_DATA_MAX, Abort, ChunkData, Message, Missing, Request
from casync_py.protocol.posted import MEDIA_TYPE, BodyReader, Exchange, Side, body, greeting, joined
from casync_py.remotes.http.errors import WebError
from casync_py.testing.http_store import Opened, all_of, files, fill
from casync_py.testing.serving import Served
from casync_py.testing.store_contract import StoreContract, absent, plain_of, sample
from casync_py.testing.web import RESET, Asked, ScriptedServer, Step, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from casync_py.ids import ChunkId
    from casync_py.store.base import Store
    from casync_py.store.chunk import Chunk

    Script = Callable[[Asked], Iterable[Step]]

WITH_FILES = StoreOptions(NO_COMPRESSION)
SAMPLES = [sample(number, 900 + 700 * number) for number in range(12)]
IDS = [chunk.chunk_id for chunk in SAMPLES]
BY_ID = {chunk.chunk_id: chunk for chunk in SAMPLES}


# The contract.


@pytest.mark.parametrize("options", [StoreOptions(), WITH_FILES], ids=["compressed", "plain"])
class TestSpeakingServer(StoreContract):
    @pytest.fixture(autouse=True)
    def _options(self, options: StoreOptions) -> None:
        self.options = options

    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> Store:
        fill(tmp_path / "s.castr", chunks, self.options)
        server = Served(tmp_path)
        return Opened(server.url + "/s.castr", also=[server])


# A server that speaks.


def speaking(pull: Script) -> Script:
    """What it answers to POST ?pull is told."""

    def script(asked: Asked) -> Iterable[Step]:
        if asked.method == "OPTIONS":
            return [answer(204, b"", "Casync-Protocol: pull", length=-1)]
        assert (asked.method, asked.target) == ("POST", "/s?pull")
        assert asked.headers["content-type"] == MEDIA_TYPE
        return pull(asked)

    return script


def requested(asked: Asked) -> list[ChunkId]:
    reader = BodyReader(Exchange.PULL, Side.CLIENT)
    messages = reader.feed(asked.body)
    reader.finish()
    return [chunk_id for message in messages if isinstance(message, Request) for chunk_id in message.ids]


def found(chunk_id: ChunkId) -> ChunkData | Missing:
    chunk = BY_ID.get(chunk_id)
    if chunk is None:
        return Missing(chunk_id)
    stored = chunk.stored(DEFAULT_COMPRESSION)
    assert stored is not None
    return ChunkData(chunk_id, stored, compressed=True)


def messages(content: bytes) -> bytes:
    return answer(200, content, f"Content-Type: {MEDIA_TYPE}")


def whole(asked: Asked) -> bytes:
    return body(Exchange.PULL, Side.SERVER, map(found, requested(asked)))


def posts(server: ScriptedServer) -> list[Asked]:
    return [asked for asked in server.asked if asked.method == "POST"]


def test_many_chunks_are_one_question() -> None:
    server = ScriptedServer(speaking(lambda asked: [messages(whole(asked))]))
    with server, Opened(server.url("/s")) as store:
        assert all_of(store, [*IDS, absent(), *IDS]) == [*(chunk.plain() for chunk in SAMPLES), None] + [
            chunk.plain() for chunk in SAMPLES
        ]
        assert [asked.method for asked in server.asked] == ["OPTIONS", "POST"]
        assert requested(server.asked[1]) == [*IDS, absent()]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("how", ["reset", "short"])
def test_only_what_a_broken_answer_owes_is_asked_for_again(part: float, how: str) -> None:
    def pull(asked: Asked) -> Iterable[Step]:
        content = whole(asked)
        if len(posts(server)) > 1:
            return [messages(content)]
        cut = content[: int(part * len(content))]
        if how == "short":  # ended in order, by a proxy that lost its server
            return [messages(cut)]
        return [answer(200, cut, f"Content-Type: {MEDIA_TYPE}", length=len(content)), RESET]

    server = ScriptedServer(speaking(pull))
    with server, Opened(server.url("/s")) as store:
        assert all_of(store, IDS) == [chunk.plain() for chunk in SAMPLES]
        first, second = map(requested, posts(server))
        assert second == first[len(first) - len(second) :]
        if part:
            assert len(second) < len(first) or (how, part) == ("reset", 0.1)


def test_progress_counts_and_no_progress_is_given_up() -> None:
    """An answer that breaks after each chunk gets through; one that never brings any does not."""

    def pull(asked: Asked) -> Iterable[Step]:
        content = greeting(Exchange.PULL, Side.SERVER) + joined([found(requested(asked)[0])]) * gives
        return [answer(200, content, f"Content-Type: {MEDIA_TYPE}", length=len(content) + 1), RESET]

    for gives in (1, 0):
        server = ScriptedServer(speaking(pull))
        with server, Opened(server.url("/s"), retries=2) as store:
            if gives:
                assert all_of(store, IDS) == [chunk.plain() for chunk in SAMPLES]
                assert len(posts(server)) == len(IDS)
            else:
                with pytest.raises(WebError, match=r"127\.0\.0\.1.*/s"):
                    all_of(store, IDS)
                assert len(posts(server)) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_trouble_is_tried_again(status: int) -> None:
    server = ScriptedServer(
        speaking(lambda asked: [answer(status) if len(posts(server)) < 3 else messages(whole(asked))])
    )
    with server, Opened(server.url("/s")) as store:
        assert all_of(store, IDS) == [chunk.plain() for chunk in SAMPLES]


def other_chunk(asked: Asked) -> list[Message]:
    return [found(IDS[-1]), *map(found, requested(asked)[:-1])]


WRONG: dict[str, tuple[Callable[[Asked], bytes], type[PeerError], str]] = {
    "not asked for": (
        lambda asked: messages(body(Exchange.PULL, Side.SERVER, other_chunk(asked))),
        ProtocolError,
        "not asked for",
    ),
    "twice": (
        lambda asked: messages(body(Exchange.PULL, Side.SERVER, [found(requested(asked)[0])] * 2)),
        ProtocolError,
        "not asked for",
    ),
    "too few": (
        lambda asked: messages(body(Exchange.PULL, Side.SERVER, map(found, requested(asked)[1:]))),
        ProtocolError,
        "Did not answer for 1 of 11",
    ),
    "a page": (lambda _asked: answer(200, b"<html>", "Content-Type: text/html"), ProtocolError, "text/html"),
    "no messages": (lambda _asked: messages(b"<html>" * 10), ProtocolError, "no message"),
    "another exchange": (
        lambda _asked: messages(body(Exchange.SEND, Side.SERVER, [])),
        ProtocolError,
        "HELLO with flags",
    ),
    "gives up": (
        lambda _asked: messages(greeting(Exchange.PULL, Side.SERVER) + joined([Abort(5, "Disk on fire")])),
        PeerError,
        "Disk on fire",
    ),
    "refuses": (lambda _asked: answer(403, b"Go away\n", "Content-Type: text/plain"), WebError, "Go away"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_answer_is_an_error_at_once(case: str) -> None:
    reply, kind, words = WRONG[case]
    server = ScriptedServer(speaking(lambda asked: [reply(asked)]))
    with server, Opened(server.url("/s")) as store:
        with pytest.raises(kind, match=words) as caught:
            all_of(store, IDS[:-1])
        assert str(caught.value).startswith(server.url("/s"))
        assert len(posts(server)) == 1


def test_after_a_failure_the_next_question_starts_anew() -> None:
    server = ScriptedServer(
        speaking(lambda asked: [answer(403) if len(posts(server)) == 1 else messages(whole(asked))])
    )
    with server, Opened(server.url("/s")) as store:
        with pytest.raises(WebError):
            all_of(store, IDS)
        assert all_of(store, IDS) == [chunk.plain() for chunk in SAMPLES]
        assert store.get(IDS[0]).plain() == SAMPLES[0].plain()


def test_chunks_that_fit_into_no_message_are_got_as_files(tmp_path: Path) -> None:
    large = sample(1, CHUNK_DATA_MAX + 1000)
    fill(tmp_path / "s", [large], StoreOptions(NO_COMPRESSION))

    def script(asked: Asked) -> Iterable[Step]:
        if asked.method == "GET":
            return [files(tmp_path, asked)]
        return speaking(lambda asked: [messages(whole(asked))])(asked)

    server = ScriptedServer(script)
    with server, Opened(server.url("/s")) as store:
        assert store.get(large.chunk_id, 1 << 25).plain() == large.plain()
        assert plain_of(next(store.get_many([IDS[0]], limit=1 << 20))[1]) == SAMPLES[0].plain()


# Which chunks there are.


def test_many_are_asked_about_in_one_request(tmp_path: Path) -> None:
    fill(tmp_path / "s", SAMPLES[::2], StoreOptions())
    with Served(tmp_path) as server, Opened(server.url + "/s") as store:
        assert store.has_many([*IDS, absent()]) == [True, False] * 6 + [False]


@pytest.mark.parametrize("content", [b"", b"\1" * 13, b"\2" * 12, b"1" * 12])
def test_a_wrong_answer_to_has(content: bytes) -> None:
    def script(asked: Asked) -> Iterable[Step]:
        if asked.method == "OPTIONS":
            return [answer(204, b"", "Casync-Protocol: has, pull", length=-1)]
        return [answer(200, content)]

    with ScriptedServer(script) as server, Opened(server.url("/s")) as store, pytest.raises(ProtocolError, match="/s"):
        store.has_many(IDS)


# The end.


@pytest.mark.parametrize("speaks", [True, False])
def test_who_waits_is_let_go_at_once(speaks: bool) -> None:
    came = threading.Event()

    def script(asked: Asked) -> Iterator[Step]:
        if asked.method == "OPTIONS":
            yield answer(204, b"", "Casync-Protocol: pull" if speaks else "Allow: GET", length=-1)
        else:
            came.set()
            yield 30.0

    failures: list[BaseException] = []

    def read() -> None:
        try:
            list(opened.get_many(IDS))
        except PeerError as error:
            failures.append(error)

    with ScriptedServer(script) as server:
        opened = Opened(server.url("/s"), timeout=60)
        reader = threading.Thread(target=read)
        reader.start()
        assert came.wait(10)
        opened.close()
        reader.join(10)
        assert len(failures) == 1
        with pytest.raises(PeerError, match="closed"):
            opened.get(IDS[0])


def test_a_connection_that_is_being_made_holds_up_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as others:
        for _ in range(6):  # nobody accepts them, and the kernel drops what comes after them
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        opened = Opened(f"http://127.0.0.1:{full.getsockname()[1]}/s", timeout=60)
        began = time.monotonic()
        opened.close()
        assert time.monotonic() - began < 10
    for thread in threading.enumerate():  # now refused
        if thread.name.startswith("casync-http-fetch"):
            thread.join(20)


def test_a_reader_that_is_slow_holds_no_more_than_its_budget() -> None:
    """The server is not read from while what came was not taken; how much of it the kernel takes is not our affair."""
    large = [sample(number, 1 << 20) for number in range(40)]
    by_id = {chunk.chunk_id: chunk for chunk in large}

    def pull(asked: Asked) -> Iterator[Step]:
        yield answer(200, greeting(Exchange.PULL, Side.SERVER), f"Content-Type: {MEDIA_TYPE}", length=-1)
        for chunk_id in requested(asked):
            plain = by_id[chunk_id].plain()
            yield joined([ChunkData(chunk_id, plain, compressed=False)])
        yield joined([])

    with ScriptedServer(speaking(pull)) as server, Opened(server.url("/s")) as store:
        stream = store.get_many([chunk.chunk_id for chunk in large], budget=2 << 20, limit=4 << 20)
        assert plain_of(next(stream)[1]) == large[0].plain()
        exchange = store._pull.exchange
        with exchange.lock:
            assert exchange.lock.wait_for(lambda: exchange._paused, 20)
            assert exchange.wanted.held <= (2 << 20) + (1 << 20)  # the last one came when there was room yet
        stream.close()


def test_the_digest_is_told_to_who_may_fetch_from_elsewhere() -> None:
    server = ScriptedServer(speaking(lambda asked: [messages(whole(asked))]))
    with server, Opened(server.url("/s")) as store:
        assert store.get(IDS[0]).plain() == SAMPLES[0].plain()
        store.digest = SHA512_256
        assert store.get(IDS[1]).plain() == SAMPLES[1].plain()
        assert [asked.headers.get("casync-digest") for asked in posts(server)] == [None, "sha512-256"]
