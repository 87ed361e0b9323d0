"""`serve --upstream`: what is not here is fetched from there, verified and kept, once for all who ask."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from casync_py.api import extract, make
from casync_py.compression import parse_compression
from casync_py.digest import BLAKE3, SHA256, SHA512_256, Digest
from casync_py.errors import UsageError
from casync_py.ids import ChunkId
from casync_py.options import Settings, StoreOptions
from casync_py.protocol.messages import ChunkData, Message, Missing, Request
from casync_py.protocol.posted import MEDIA_TYPE, BodyReader, Exchange, Side, body
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.testing.castr import store_faults
from casync_py.testing.serving import Served
from casync_py.testing.store_contract import absent, sample
from casync_py.testing.web import Asked, ScriptedServer, Step, answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

SAMPLES = [sample(number, 3000) for number in range(40)]
IDS = [chunk.chunk_id for chunk in SAMPLES]
FEW = Settings(retries=0, timeout=20.0)
PULL = {"Content-Type": MEDIA_TYPE}
HAS = {"Content-Type": "application/vnd.casync.ids"}


def fill(folder: Path, chunks: Sequence[Chunk] = SAMPLES, compression: str = "default") -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with LocalStore(folder, StoreOptions(parse_compression(compression)), create=True) as store:
        for chunk in chunks:
            store.put(chunk)
        store.flush()
    return folder


class Origin:
    """Where it all is: our own server, or one that only hands out files.

    Attributes:
        folder: what it serves.
        plain: requests that one of the other kind was asked.
        broken: what it answers in place of everything, while it is set.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.broken: int | None = None
        self.plain = ScriptedServer(self._answer) if kind == "plain" else None
        self.ours = Served(folder) if kind == "ours" else None
        if self.plain is not None:
            self.plain.__enter__()
            self.url = f"http://127.0.0.1:{self.plain.port}"
        else:
            assert self.ours is not None
            self.url = self.ours.url

    def _answer(self, asked: Asked) -> Iterable[Step]:
        path = self.folder / unquote(asked.target.lstrip("/"))
        if self.broken is not None:
            return [answer(self.broken)]
        if asked.method not in ("GET", "HEAD"):
            return [answer(405)]
        if not path.is_file():
            return [answer(404)]
        data = path.read_bytes()
        return [answer(200, b"" if asked.method == "HEAD" else data, 'ETag: "one"', length=len(data))]

    def fetched(self) -> Counter[str]:
        """How often each chunk was handed out, by a plain server."""
        assert self.plain is not None
        there = (asked.target.rpartition("/")[2][:64] for asked in self.plain.asked if asked.method == "GET")
        return Counter(name for name in there if len(name) == 64)

    def close(self) -> None:
        if self.ours is not None:
            self.ours.close()
        if self.plain is not None:
            self.plain.__exit__(None, None, None)


@pytest.fixture(params=["ours", "plain"])
def origin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Origin]:
    made = Origin(tmp_path / "origin", request.param)
    yield made
    made.close()


@pytest.fixture
def plain_origin(tmp_path: Path) -> Iterator[Origin]:
    made = Origin(tmp_path / "origin", "plain")
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def proxy(folder: Path, origin: Origin, **options: Any) -> Served:
    return Served(folder, upstream=origin.url, **{"settings": FEW, **options})


def chunk_path(chunk_id: ChunkId, store: str = "/default.castr", suffix: str = ".cacnk") -> str:
    return f"{store}/{chunk_id.store_path(suffix)}"


def pull(served: Served, ids: Sequence[ChunkId], store: str = "/default.castr") -> list[Message]:
    reply = served.ask("POST", f"{store}?pull", body(Exchange.PULL, Side.CLIENT, [Request(list(ids))]), PULL)
    assert reply.status == 200
    reader = BodyReader(Exchange.PULL, Side.SERVER)
    messages = reader.feed(reply.body)
    reader.finish()
    return messages


def plain_of(message: Message) -> bytes | None:
    if isinstance(message, Missing):
        return None
    assert isinstance(message, ChunkData)
    data = bytes(message.data)
    return bytes(Chunk(message.chunk_id, stored=data).plain()) if message.compressed else data


def test_chunks_in_both_forms_and_those_that_are_nowhere(folder: Path, origin: Origin) -> None:
    fill(origin.folder / "default.castr")
    with proxy(folder, origin) as served:
        for _ in range(2):
            stored = served.ask("GET", chunk_path(IDS[0]))
            assert (stored.status, stored.headers["content-type"]) == (200, "application/zstd")
            assert Chunk(IDS[0], stored=stored.body).plain() == SAMPLES[0].plain()
            plain = served.ask("GET", chunk_path(IDS[1], suffix=""))
            assert (plain.status, plain.body) == (200, SAMPLES[1].plain())
            head = served.ask("HEAD", chunk_path(IDS[2]))
            assert (head.status, head.headers["etag"]) == (200, f'"{IDS[2]}"')
            assert served.ask("GET", chunk_path(absent())).status == 404
            assert served.ask("GET", chunk_path(IDS[0], "/other.castr")).status == 404
        origin.close()
        assert served.ask("GET", chunk_path(IDS[0])).status == 200
        refused = served.ask("GET", chunk_path(IDS[9]))
        assert refused.status == 502
        assert refused.text.startswith(f"Chunk {IDS[9]} in /default.castr: The server that has it failed: ")
    assert store_faults(folder / "default.castr") == []
    assert LocalStore(folder / "default.castr").has_many(IDS[:4]) == [True, True, True, False]
    assert [path.name for path in folder.iterdir()] == ["default.castr"]


def test_the_protocol(folder: Path, origin: Origin) -> None:
    fill(origin.folder / "default.castr", SAMPLES[:30])
    fill(folder / "default.castr", SAMPLES[25:35])
    with proxy(folder, origin) as served:
        assert served.ask("OPTIONS", "/default.castr").headers["casync-protocol"] == "pull, has"
        ids = [*IDS, absent(), *IDS[:3]]
        there = bytes([1] * 35 + [0] * 6 + [1] * 3)
        asked = served.ask("POST", "/default.castr?has", b"".join(ids), HAS)
        assert (asked.status, asked.body) == (200, there)
        wanted = [bytes(chunk.plain()) for chunk in SAMPLES[:35]] + [None] * 6
        wanted += [bytes(chunk.plain()) for chunk in SAMPLES[:3]]
        for _ in range(2):
            assert [plain_of(message) for message in pull(served, ids)] == wanted
    assert store_faults(folder / "default.castr") == []
    assert all(LocalStore(folder / "default.castr").has_many(IDS[:35]))


def test_indexes_and_archives_are_passed_on_as_they_are_now(folder: Path, origin: Origin) -> None:
    data = random.Random(1).randbytes(300_000)
    (origin.folder / "a").mkdir()
    (origin.folder / "a" / "x y.caidx").write_bytes(data)
    (folder / "here.caibx").write_bytes(b"ours")
    (origin.folder / "here.caibx").write_bytes(b"theirs")
    with proxy(folder, origin) as served:
        got = served.ask("GET", "/a/x%20y.caidx")
        assert (got.status, got.body) == (200, data)
        assert got.headers["content-type"] == "application/vnd.casync.index"
        assert got.headers["cache-control"] == "no-cache"
        head = served.ask("HEAD", "/a/x%20y.caidx")
        assert (head.status, head.headers["content-length"], head.body) == (200, "300000", b"")
        assert served.ask("GET", "/here.caibx").body == b"ours"
        assert served.ask("GET", "/nowhere.caidx").status == 404
        if origin.ours is not None:
            tag = {"If-None-Match": got.headers["etag"]}
            assert served.ask("GET", "/a/x%20y.caidx", headers=tag).status == 304
            part = served.ask("GET", "/a/x%20y.caidx", headers={"Range": "bytes=10-19"})
            assert (part.status, part.body, part.headers["content-range"]) == (206, data[10:20], "bytes 10-19/300000")
        (origin.folder / "a" / "x y.caidx").write_bytes(b"new")
        assert served.ask("GET", "/a/x%20y.caidx").body == b"new"
        origin.close()
        refused = served.ask("GET", "/a/x%20y.caidx")
        assert refused.status == 502
        assert refused.text.startswith("/a/x%20y.caidx: The server that has it failed: ")
    assert [path.name for path in folder.iterdir()] == ["here.caibx"]


@pytest.mark.parametrize("tag", ['"\xe9"', '"\u20ac"'.encode().decode("latin-1")])
def test_headers_are_passed_on_byte_for_byte(folder: Path, tag: str) -> None:
    def script(asked: Asked) -> Iterable[Step]:
        return [answer(304 if asked.headers.get("if-none-match") == tag else 200, b"", f"ETag: {tag}")]

    with ScriptedServer(script) as server, Served(folder, upstream=server.origin, settings=FEW) as served:
        assert served.ask("GET", "/a.caidx").headers["etag"] == tag
        assert served.ask("GET", "/a.caidx", headers={"If-None-Match": tag}).status == 304


@pytest.mark.parametrize("line", ['ETag: "a"\r\n Set-Cookie: b', 'ETag: "a\x01"', 'ETag: "a"\rSet-Cookie: b'])
def test_what_no_header_may_have_is_not_passed_on(folder: Path, line: str) -> None:
    """A line that goes on in the next one, or a control character; which upstream servers' heads may have or not."""
    with (
        ScriptedServer(lambda _asked: [answer(200, b"abc", line)]) as server,
        Served(folder, upstream=server.origin, settings=replace(FEW, retries=0)) as served,
    ):
        got = served.ask("GET", "/a.caidx")
        assert got.status in (200, 502)
        assert "set-cookie" not in "".join(f"{name}: {value}" for name, value in got.headers.items()).lower()
        assert "Internal" not in "".join(served.monitor.notices)


@pytest.mark.parametrize("length", ["3", "9"])
def test_a_length_that_does_not_count_is_not_passed_on(folder: Path, length: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n".encode()
    with (
        ScriptedServer(lambda _asked: [head + b"5\r\nabcde\r\n0\r\n\r\n"]) as server,
        Served(folder, upstream=server.origin, settings=FEW) as served,
    ):
        assert served.ask("GET", "/a.caidx").body == b"abcde"
        assert served.monitor.notices == []


def test_our_client_extracts_through_it(tmp_path: Path, folder: Path, origin: Origin) -> None:
    data = random.Random(1).randbytes(3_000_000)
    (tmp_path / "blob").write_bytes(data)
    settings = Settings(store=str(origin.folder / "default.castr"), what="blob-index")
    make(str(origin.folder / "x.caibx"), str(tmp_path / "blob"), settings=settings)
    with proxy(folder, origin) as served:
        extract(f"{served.url}/x.caibx", str(tmp_path / "out"))
        assert (tmp_path / "out").read_bytes() == data
        origin.close()
        local = Settings(store=f"{served.url}/default.castr")
        extract(str(origin.folder / "x.caibx"), str(tmp_path / "again"), settings=local)
        assert (tmp_path / "again").read_bytes() == data
    assert store_faults(folder / "default.castr") == []


def test_whatever_so_many_ask_for_is_fetched_once(folder: Path, plain_origin: Origin) -> None:
    fill(plain_origin.folder / "default.castr")

    def by_get(seed: int) -> bool:
        order = random.Random(seed).sample(SAMPLES, 20)
        return all(
            Chunk(chunk.chunk_id, stored=served.ask("GET", chunk_path(chunk.chunk_id)).body).plain() == chunk.plain()
            for chunk in order
        )

    def by_pull(seed: int) -> bool:
        order = random.Random(seed).sample(SAMPLES, 40)
        found = pull(served, [chunk.chunk_id for chunk in order])
        return [plain_of(message) for message in found] == [chunk.plain() for chunk in order]

    with proxy(folder, plain_origin) as served, ThreadPoolExecutor(16) as pool:
        assert all(pool.map(by_get, range(16)))
        assert all(pool.map(by_pull, range(16)))
    assert plain_origin.fetched() == Counter(chunk_id.hex() for chunk_id in IDS)


@pytest.mark.parametrize("digest", [SHA512_256, SHA256, BLAKE3], ids=lambda digest: digest.name)
def test_ids_of_any_digest(folder: Path, origin: Origin, digest: Digest) -> None:
    plain = random.Random(1).randbytes(5000)
    chunk = Chunk(ChunkId(digest.of(plain)), plain=plain)
    fill(origin.folder / "default.castr", [chunk])
    with proxy(folder, origin) as served:
        assert served.ask("GET", chunk_path(chunk.chunk_id, suffix="")).body == plain


def test_what_is_not_what_it_should_be_is_neither_served_nor_kept(folder: Path, origin: Origin) -> None:
    lies = [Chunk(IDS[0], plain=b"something else"), *SAMPLES[1:5]]
    fill(origin.folder / "default.castr", lies)
    with proxy(folder, origin) as served:
        refused = served.ask("GET", chunk_path(IDS[0]))
        assert refused.status == 404
        assert "invalid" in refused.text
        found = pull(served, IDS[:5])
        assert [plain_of(message) for message in found] == [None, *(chunk.plain() for chunk in SAMPLES[1:5])]
    assert store_faults(folder / "default.castr") == []


def test_an_upstream_server_that_comes_back(folder: Path, plain_origin: Origin) -> None:
    fill(plain_origin.folder / "default.castr")
    with proxy(folder, plain_origin) as served:
        assert served.ask("GET", chunk_path(IDS[0])).status == 200
        plain_origin.broken = 500
        for _ in range(3):
            assert served.ask("GET", chunk_path(IDS[1])).status == 502
            assert served.ask("POST", "/default.castr?has", b"".join(IDS), HAS).status == 502
            reply = served.ask("POST", "/default.castr?pull", body(Exchange.PULL, Side.CLIENT, [Request(IDS)]), PULL)
            assert b"The server that has it failed" in reply.body
        plain_origin.broken = None
        assert [plain_of(message) for message in pull(served, IDS)] == [chunk.plain() for chunk in SAMPLES]


def kept_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*"))


def test_a_limit_is_for_what_came_and_not_for_what_was_here_or_was_put(folder: Path, plain_origin: Origin) -> None:
    random_chunks = [
        Chunk(ChunkId(SHA512_256.of(plain)), plain=plain)
        for plain in (random.Random(number).randbytes(1000) for number in range(300))
    ]
    fill(plain_origin.folder / "default.castr", random_chunks[100:], "none")
    fill(folder / "default.castr", random_chunks[:50], "none")
    with proxy(folder, plain_origin, cache_size=20_000, writable=True) as served:
        pull(served, [chunk.chunk_id for chunk in random_chunks[100:250]])
        for chunk in random_chunks[50:60]:
            assert served.put("/default.castr", chunk, suffix="").status == 201
        # One that is only kept, and then is put: it belongs to who put it.
        assert served.ask("GET", chunk_path(random_chunks[250].chunk_id, suffix="")).status == 200
        assert served.put("/default.castr", random_chunks[250], suffix="").status in (201, 204)
        pull(served, [chunk.chunk_id for chunk in random_chunks[100:300]])
    own = [*random_chunks[:60], random_chunks[250]]
    assert all(LocalStore(folder / "default.castr").has_many([chunk.chunk_id for chunk in own]))
    assert (
        kept_size(folder / "default.castr") <= 62_000 + 20_000
    )  # what was put, compressed, is a little more than its content
    assert store_faults(folder / "default.castr") == []


def test_folders_are_made_for_what_came_and_only_then(folder: Path, origin: Origin) -> None:
    fill(origin.folder / "a" / "b" / "default.castr")
    fill(origin.folder / ".hidden.castr")
    with proxy(folder, origin) as served:
        assert served.ask("GET", chunk_path(IDS[0], "/c/d/default.castr")).status == 404
        assert list(folder.iterdir()) == []
        assert served.ask("GET", chunk_path(IDS[0], "/.hidden.castr")).status == 200
        assert list(folder.iterdir()) == []
        assert served.ask("GET", chunk_path(IDS[0], "/a/b/default.castr")).status == 200
        assert [plain_of(found) for found in pull(served, IDS[:2], "/a/b/default.castr")] == [
            chunk.plain() for chunk in SAMPLES[:2]
        ]
    assert all(LocalStore(folder / "a" / "b" / "default.castr").has_many(IDS[:2]))


def test_several_directories(tmp_path: Path, origin: Origin) -> None:
    fill(origin.folder / "one" / "x.castr")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with Served(tmp_path / "one", tmp_path / "two", upstream=origin.url, settings=FEW) as served:
        assert served.ask("GET", chunk_path(IDS[0], "/one/x.castr")).status == 200
        assert served.ask("GET", chunk_path(IDS[0], "/two/x.castr")).status == 404
        assert served.ask("GET", chunk_path(IDS[0], "/three/x.castr")).status == 404
    assert LocalStore(tmp_path / "one" / "x.castr").has_many(IDS[:1]) == [True]


def test_a_directory_that_is_a_store_itself(folder: Path, origin: Origin) -> None:
    fill(origin.folder / "x.castr")
    with Served(folder, upstream=f"{origin.url}/x.castr/", settings=FEW) as served:
        assert [plain_of(found) for found in pull(served, IDS, "/")] == [chunk.plain() for chunk in SAMPLES]
        assert served.ask("GET", chunk_path(IDS[0], "")).status == 200
    assert all(LocalStore(folder).has_many(IDS))


def test_a_chunk_that_no_message_can_hold(folder: Path, origin: Origin) -> None:
    plain = random.Random(1).randbytes((16 << 20) + 5)
    chunk = Chunk(ChunkId(SHA512_256.of(plain)), plain=plain)
    fill(origin.folder / "default.castr", [chunk], "none")
    with proxy(folder, origin) as served:
        for _ in range(2):
            assert served.ask("GET", chunk_path(chunk.chunk_id, suffix="")).body == plain


def test_a_folder_that_cannot_be_written(folder: Path, origin: Origin) -> None:
    fill(origin.folder / "default.castr")
    (folder / "default.castr").write_bytes(b"in the way")
    with proxy(folder, origin) as served:
        for _ in range(2):
            assert [plain_of(found) for found in pull(served, IDS)] == [chunk.plain() for chunk in SAMPLES]
        assert served.ask("GET", chunk_path(IDS[0])).status == 200
        assert served.monitor.notices == [
            "/default.castr: What is fetched cannot be kept (Not a directory), trying again later"
        ]


@pytest.mark.parametrize("url", ["ftp://example.com/", "nonsense", "http://user:secret@/"])
def test_what_is_no_web_server(folder: Path, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Served(folder, upstream=url)
    assert "secret" not in str(caught.value)


def test_a_size_of_what_is_kept_needs_something_to_keep(folder: Path) -> None:
    with pytest.raises(UsageError, match="no upstream server"):
        Served(folder, cache_size=1000)


def test_so_many_stores_that_are_nowhere_cost_little(folder: Path, plain_origin: Origin) -> None:
    with proxy(folder, plain_origin) as served:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(150):
            assert served.ask("GET", chunk_path(IDS[0], f"/{number}.castr")).status == 404
        assert len(os.listdir("/proc/self/fd")) < before + 100
    assert list(folder.iterdir()) == []


def test_an_upstream_server_that_does_not_answer_costs_so_much_and_no_more(folder: Path) -> None:
    """However many stores it is asked for, by clients that do not wait."""
    asked = b"GET /%d" + chunk_path(IDS[0]).encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    silent = socket.create_server(("127.0.0.1", 0), backlog=1)
    with silent, Served(folder, upstream=f"http://127.0.0.1:{silent.getsockname()[1]}", settings=FEW) as served:
        before = threading.active_count()
        for number in range(300):
            with socket.create_connection(served.address) as client:
                client.sendall(asked % number)
        refused = served.ask("GET", chunk_path(IDS[0], "/x.castr"))
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert refused.text.startswith("/x.castr: Too many stores")
        assert threading.active_count() - before < 256 + 128 + 20
        silent.close()  # which ends the waiting


def test_credentials_of_the_upstream_url_go_there_and_into_no_message(folder: Path, plain_origin: Origin) -> None:
    fill(plain_origin.folder / "default.castr", SAMPLES[:1])
    assert plain_origin.plain is not None
    url = plain_origin.url.replace("http://", "http://me:secret@")
    with Served(folder, upstream=url, settings=replace(FEW)) as served:
        assert served.ask("GET", chunk_path(IDS[0])).status == 200
        assert all(asked.headers["authorization"].startswith("Basic ") for asked in plain_origin.plain.asked)
        plain_origin.broken = 500
        assert "secret" not in served.ask("GET", chunk_path(IDS[1])).text
    assert "secret" not in "".join(served.monitor.notices)
