"""Chunks to web servers: what is asked, what is sent, in which memory, and what becomes of trouble."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest

from casync_py.chunking.params import ChunkParams
from casync_py.compression import DEFAULT_COMPRESSION, NO_COMPRESSION, Compression
from casync_py.digest import BLAKE3, SHA256, SHA512_256, Digest
from casync_py.errors import PeerError, ProtocolError, UsageError
from casync_py.ids import ChunkId
from casync_py.monitor import Monitor
from casync_py.options import Access, Resources, Settings, StoreOptions
from casync_py.protocol.messages import CHUNK_DATA_MAX, Abort, Goodbye, Request
from casync_py.protocol.posted import MEDIA_TYPE, Exchange, Side, greeting, joined
from casync_py.remotes.http.address import parse_web
from casync_py.remotes.http.errors import WebError
from casync_py.remotes.http.upload import HttpSink
from casync_py.remotes.http.web import Web
from casync_py.store.chunk import Chunk
from casync_py.store.memory import MemoryStore
from casync_py.sync.make import blob_stream, make_index
from casync_py.sync.upload import LocalFile, PairedUpload, UploadPlan, local_upload
from casync_py.testing.scripted_store import StoreServer
from casync_py.testing.web import RESET, Asked, ScriptedServer, Step, answer
from casync_py.transport.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

PARAMS = ChunkParams.derive(1 << 10, 1 << 12, 1 << 14)
MEMORY = 3 << 20


class BytesSource:
    """A blob in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.readings = 0
        self._at = 0

    def rewind(self) -> None:
        self.readings += 1
        self._at = 0

    def read_into(self, view: memoryview) -> int:
        piece = self.data[self._at : self._at + len(view)]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def make_web(retries: int = 0) -> Web:
    web = Web(Access(), timeout=20.0, retries=retries, monitor=Monitor(), user_origins=())
    web.retry = Retry(retries, first_s=0.001, most_s=0.002)
    return web


def settings(compression: Compression = DEFAULT_COMPRESSION) -> Settings:
    return Settings(resources=Resources(jobs=2, memory=MEMORY), store_options=StoreOptions(compression))


def make_sink(
    server: StoreServer,
    monitor: Monitor | None = None,
    *,
    retries: int = 0,
    params: ChunkParams = PARAMS,
    compression: Compression = DEFAULT_COMPRESSION,
) -> HttpSink:
    plan = UploadPlan(server.digest.flag, params)
    address = parse_web(server.server.url("/s"))
    return HttpSink(make_web(retries), address, plan, settings(compression), monitor or Monitor())


def push(
    data: bytes, server: StoreServer, folder: Path, *, retries: int = 0, compression: Compression = DEFAULT_COMPRESSION
) -> tuple[Monitor, BytesSource]:
    """Make an index here, whose chunks go to the server; check both."""
    monitor, source = Monitor(), BytesSource(data)
    sink = make_sink(server, monitor, retries=retries, compression=compression)
    plan = UploadPlan(server.digest.flag, PARAMS)
    _make(source, PairedUpload(LocalFile(str(folder / "made.caibx")), sink, plan), monitor, server.digest)
    near = MemoryStore()
    there = Monitor()
    _make(BytesSource(data), local_upload(str(folder / "local.caibx"), near, plan), there, server.digest)
    assert (folder / "made.caibx").read_bytes() == (folder / "local.caibx").read_bytes()
    assert server.chunks.items() >= {chunk_id: near.get(chunk_id).plain() for chunk_id in near.iter_ids()}.items()
    assert monitor.chunks_new + monitor.chunks_reused == there.chunks_new + there.chunks_reused
    assert monitor.bytes_new + monitor.bytes_reused == len(data)
    return monitor, source


def _make(source: BytesSource, upload: PairedUpload, monitor: Monitor, digest: Digest) -> None:
    resources = Resources(jobs=2, memory=MEMORY)
    make_index(blob_stream(source), upload, PARAMS, digest, stream_digest=False, resources=resources, monitor=monitor)


def noise(size: int, seed: int = 1) -> bytes:
    """Half of it compresses."""
    rng = random.Random(seed)
    return b"".join(rng.randbytes(500).hex().encode() for _ in range(size // 1000))


DATA = noise(4 << 20)


@pytest.mark.parametrize("speaks", [True, False], ids=["speaks", "plain"])
@pytest.mark.parametrize("compression", [DEFAULT_COMPRESSION, NO_COMPRESSION], ids=["zstd", "none"])
def test_everything_arrives_once_and_nothing_the_second_time(
    tmp_path: Path, speaks: bool, compression: Compression
) -> None:
    data = DATA if speaks else DATA[: 1 << 20]  # with two requests for each chunk
    with StoreServer(speaks) as server:
        monitor, source = push(data, server, tmp_path, compression=compression)
        assert monitor.chunks_new == len(server.chunks)
        assert monitor.bytes_stored > 0
        assert source.readings == 1
        written = len(server.asked("PUT")) + sum(map(len, server.sends))
        assert written == len(server.chunks)
        monitor, _ = push(data, server, tmp_path, compression=compression)
        assert (monitor.chunks_new, monitor.bytes_stored) == (0, 0)
        assert len(server.asked("PUT")) + sum(map(len, server.sends)) == written


def test_many_chunks_in_few_requests(tmp_path: Path) -> None:
    with StoreServer() as server:
        push(DATA, server, tmp_path)
        assert len(server.chunks) > 500
        # A quarter of the memory's third in each question, and in each body
        most = 1 + len(DATA) // (MEMORY // 12)
        assert len(server.asks) <= most
        assert len(server.sends) <= len(server.asks) + most  # one half full for each question: nothing else was at hand


@pytest.mark.parametrize("digest", [SHA256, BLAKE3], ids=lambda digest: digest.name)
def test_the_digest_is_told(tmp_path: Path, digest: Digest) -> None:
    with StoreServer(digest=digest) as server:
        push(DATA[: 1 << 20], server, tmp_path)
        sends = [asked for asked in server.asked("POST") if asked.target == "/s?send"]
        assert {asked.headers["casync-digest"] for asked in sends} == {digest.name}


def test_only_what_is_lacking_is_sent(tmp_path: Path) -> None:
    with StoreServer() as server:
        push(DATA, server, tmp_path)
        sent = sum(map(len, server.sends))
        monitor, _ = push(DATA[:2_000_000] + noise(100_000, seed=2) + DATA[2_000_000:], server, tmp_path)
        assert sum(map(len, server.sends)) == sent + monitor.chunks_new
        assert monitor.chunks_new < 60


def test_a_chunk_that_is_wanted_again_while_it_is_on_its_way_is_sent_once(tmp_path: Path) -> None:
    """The server asks for it with every question until it has it; the first bodies take their time."""
    repeated = noise(40_000, seed=3) * 60
    released = threading.Event()

    def before(asked: Asked) -> Iterable[Step] | None:
        if asked.target == "/s?send" and not released.is_set():
            released.wait(20)
        elif asked.target == "/s?ask" and len(server.asks) >= 6:
            released.set()
        return None

    with StoreServer() as server:
        server.before = before
        push(repeated, server, tmp_path)
        ids = [chunk_id for sent in server.sends for chunk_id in sent]
        assert len(ids) == len(set(ids))
        assert len(server.asks) >= 6


def test_a_chunk_that_fits_into_no_message_goes_as_a_file(tmp_path: Path) -> None:
    plain = random.Random(4).randbytes(CHUNK_DATA_MAX + 5)
    chunk = Chunk(ChunkId(SHA512_256.of(plain)), plain=plain)
    small = Chunk(ChunkId(SHA512_256.of(b"small")), plain=b"small")
    with StoreServer() as server:
        sink = make_sink(server, params=ChunkParams.derive(1, 1 << 24, 1 << 25))
        for put, end in ((small, 5), (chunk, 5 + len(plain))):
            sink.put(put)
            sink.append(end, put.chunk_id)
        sink.commit()
        assert set(server.chunks) == {chunk.chunk_id, small.chunk_id}
        assert [asked.target for asked in server.asked("PUT")] == [f"/s/{chunk.chunk_id.store_path('.cacnk')}"]


def test_what_was_put_and_never_appended_is_not_sent() -> None:
    chunk = Chunk(ChunkId(SHA512_256.of(b"x")), plain=b"x")
    with StoreServer() as server:
        sink = make_sink(server)
        sink.put(chunk)
        sink.commit()
        assert not server.chunks


# Trouble.


@pytest.mark.parametrize("speaks", [True, False], ids=["speaks", "plain"])
def test_half_of_the_answers_are_errors(tmp_path: Path, speaks: bool) -> None:
    def before(asked: Asked) -> Iterable[Step] | None:
        if asked.number % 4 == 1:
            return [answer(503, b"", "Retry-After: 0")]
        return [RESET] if asked.number % 4 == 3 else None

    with StoreServer(speaks, before=before) as server:
        push(DATA[: 1 << 20], server, tmp_path, retries=12)


def refusing(target: str, *steps: bytes) -> Callable[[Asked], Iterable[Step] | None]:
    return lambda asked: steps if target in asked.target and asked.method != "OPTIONS" else None


def said(exchange: Exchange, content: bytes) -> bytes:
    return answer(200, greeting(exchange, Side.SERVER) + content, f"Content-Type: {MEDIA_TYPE}")


FOREIGN = joined([Request([ChunkId(bytes(32))]), Goodbye()])
BAD: dict[str, tuple[str, bytes, type[PeerError], str]] = {
    "disk full": ("?send", answer(507, b"Disk full\n", "Content-Type: text/plain"), WebError, "Disk full"),
    "wrong chunk": ("?send", answer(422, b"Bad chunk\n", "Content-Type: text/plain"), WebError, "Bad chunk"),
    "gives up": ("?send", said(Exchange.SEND, joined([Abort(5, "Disk on fire")])), PeerError, "Disk on fire"),
    "no word": ("?send", said(Exchange.SEND, b""), ProtocolError, "ended early"),
    "a page": ("?ask", answer(200, b"<html>"), ProtocolError, "no media type"),
    "ask gives up": ("?ask", said(Exchange.ASK, joined([Abort(5, "Disk on fire")])), PeerError, "Disk on fire"),
    "asks for another": ("?ask", said(Exchange.ASK, FOREIGN), ProtocolError, "not asked about"),
    "asks without end": ("?ask", answer(200, bytes(1 << 21)), WebError, "more than"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_answer_ends_it(tmp_path: Path, case: str) -> None:
    target, steps, kind, words = BAD[case]
    with StoreServer(before=refusing(target, steps)) as server:
        with pytest.raises(kind, match=words) as caught:
            push(DATA, server, tmp_path)
        assert "127.0.0.1" in str(caught.value)
        assert not (tmp_path / "made.caibx").exists()


def test_a_chunk_that_the_server_had_and_lost() -> None:
    """It was not asked for, so it was let go; then it is asked for: there is nothing to be sent."""
    plain = noise(MEMORY // 12 + 2000)  # a question of its own
    chunk = Chunk(ChunkId(SHA512_256.of(plain)), plain=plain)
    with StoreServer() as server:
        server.chunks[chunk.chunk_id] = plain
        sink = make_sink(server, params=ChunkParams.derive(1, 1 << 12, 1 << 20))
        sink.put(chunk)
        sink.append(len(plain), chunk.chunk_id)
        with sink._changed:
            sink._wait_until(lambda: not sink._asked)
        server.chunks.clear()
        sink.append(2 * len(plain), chunk.chunk_id)
        with pytest.raises(PeerError, match=f"Lost chunk {chunk.chunk_id}"):
            sink.commit()
        sink.abort()


def test_a_server_that_lets_nobody_write_says_so_before_anything_is_read() -> None:
    server = ScriptedServer(lambda _asked: [answer(204, b"", "Casync-Protocol: pull, has", length=-1)])
    web = make_web()
    plan = UploadPlan(SHA512_256.flag, PARAMS)
    with server, pytest.raises(UsageError, match="lets nobody write"):
        HttpSink(web, parse_web(server.url("/s")), plan, settings(), Monitor())
    web.close()


@pytest.mark.parametrize("target", ["?ask", "?send"])
def test_ended_in_the_middle_it_ends_at_once(target: str) -> None:
    came = threading.Event()

    def before(asked: Asked) -> Iterator[Step] | None:
        if target not in asked.target:
            return None
        came.set()
        return iter([30.0])

    with StoreServer(before=before) as server:
        sink = make_sink(server)
        threads = threading.active_count()
        chunk = Chunk(ChunkId(SHA512_256.of(DATA[:100])), plain=DATA[:100])
        sink.put(chunk)
        sink.append(100, chunk.chunk_id)

        def commit() -> None:
            with pytest.raises(PeerError):
                sink.commit()

        waiting = threading.Thread(target=commit)
        waiting.start()
        assert came.wait(10)
        sink.abort()
        waiting.join(10)
        assert not waiting.is_alive()
        assert threading.active_count() < threads


def test_no_more_is_kept_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes its time with every body holds the stream up, and the memory is bounded."""
    most = 0
    full = threading.Event()

    def before(asked: Asked) -> None:
        if asked.target == "/s?send":
            assert full.wait(20)

    monitor = Monitor()
    with StoreServer(before=before) as server:
        sink = make_sink(server, monitor)
        is_full = sink._is_full

        def watched() -> bool:
            nonlocal most
            most = max(most, sink._spool.in_doubt + sink._under_way)
            if is_full():
                full.set()
            return is_full()

        monkeypatch.setattr(sink, "_is_full", watched)
        plan = UploadPlan(SHA512_256.flag, PARAMS)
        upload = PairedUpload(LocalFile(str(tmp_path / "i.caibx")), sink, plan)
        _make(BytesSource(noise(8 << 20)), upload, monitor, SHA512_256)
        assert MEMORY // 3 < most <= MEMORY // 3 + PARAMS.max
