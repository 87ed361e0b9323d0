"""GET and HEAD: forms, types, conditions, ranges."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from casync_py.compression import COMPRESSORS, NO_COMPRESSION, Compression
from casync_py.digest import DEFAULT_DIGEST
from casync_py.ids import ChunkId
from casync_py.options import Settings, StoreOptions
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.testing.serving import Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STORE = "/default.castr"


def _chunk(seed: int, size: int = 3000) -> Chunk:
    data = random.Random(seed).randbytes(size // 2) + bytes(size - size // 2)
    return Chunk(ChunkId(DEFAULT_DIGEST.of(data)), plain=data)


def _store(folder: Path, *chunks: Chunk, name: str = "default.castr", compression: Any = None) -> Path:
    options = StoreOptions() if compression is None else StoreOptions(compression)
    with LocalStore(folder / name, options, create=True) as store:
        for chunk in chunks:
            store.put(chunk)
        store.flush()
    return folder / name


def _path(chunk: Chunk, suffix: str = ".cacnk", store: str = _STORE) -> str:
    return f"{store}/{chunk.chunk_id.store_path(suffix)}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "media_type"), [("zstd", "application/zstd"), ("xz", "application/x-xz"), ("gzip", "application/gzip")]
)
def test_a_compressed_chunk_is_served_as_it_is_stored(
    tmp_path: Path, served: Served, name: str, media_type: str
) -> None:
    chunk = _chunk(1)
    store = _store(tmp_path, chunk, compression=Compression(COMPRESSORS[name]))
    stored = (store / chunk.chunk_id.store_path(".cacnk")).read_bytes()
    answer = served.ask("GET", _path(chunk))
    assert (answer.status, answer.body) == (200, stored)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["etag"] == f'"{chunk.chunk_id}"'
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "content-encoding" not in answer.headers
    head = served.ask("HEAD", _path(chunk))
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "date": ""} == {**answer.headers, "date": ""}


def test_a_plain_chunk_is_served_as_it_is_stored(tmp_path: Path, served: Served) -> None:
    chunk = _chunk(1)
    _store(tmp_path, chunk, compression=NO_COMPRESSION)
    answer = served.ask("GET", _path(chunk, ""))
    assert (answer.status, answer.body) == (200, chunk.plain())
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["etag"] == f'"{chunk.chunk_id}"'


@pytest.mark.parametrize("size", [3000, 3_000_000])
def test_the_other_form_is_made_on_the_way(tmp_path: Path, served: Served, size: int) -> None:
    compressed, plain = _chunk(1, size), _chunk(2, size)
    _store(tmp_path, compressed)
    _store(tmp_path, plain, compression=NO_COMPRESSION)
    answer = served.ask("GET", _path(compressed, ""), headers={"Range": "bytes=0-9"})
    assert (answer.status, answer.body) == (200, compressed.plain())
    assert answer.headers["etag"] == f'W/"{compressed.chunk_id}"'
    assert answer.headers["content-type"] == "application/octet-stream"
    answer = served.ask("GET", _path(plain), headers={"Range": "bytes=0-9"})
    assert answer.status == 200
    assert Chunk(plain.chunk_id, stored=answer.body).plain() == plain.plain()
    assert answer.headers["etag"] == f'W/"{plain.chunk_id}"'
    assert answer.headers["content-type"] == "application/zstd"
    for chunk, suffix in ((compressed, ""), (plain, ".cacnk")):
        head = served.ask("HEAD", _path(chunk, suffix))
        assert head.status == 200
        assert head.headers["etag"] == f'W/"{chunk.chunk_id}"'
        assert head.headers["content-type"] == ("application/zstd" if suffix else "application/octet-stream")
        assert "content-length" not in head.headers


@pytest.mark.parametrize("suffix", ["", ".cacnk"])
def test_a_large_chunk_goes_out_in_pieces(tmp_path: Path, served: Served, suffix: str) -> None:
    chunk = _chunk(1, 5_000_000)
    store = _store(tmp_path, chunk, compression=None if suffix else NO_COMPRESSION)
    stored = (store / chunk.chunk_id.store_path(suffix)).read_bytes()
    answer = served.ask("GET", _path(chunk, suffix))
    assert (answer.status, answer.body) == (200, stored)
    assert answer.headers["etag"] == f'"{chunk.chunk_id}"'
    answer = served.ask("GET", _path(chunk, suffix), headers={"Range": "bytes=1000000-2000000"})
    assert (answer.status, answer.body) == (206, stored[1_000_000:2_000_001])


def test_what_is_not_there_is_not_found(tmp_path: Path, served: Served) -> None:
    there, empty, link, folder = (_chunk(number) for number in range(4))
    store = _store(tmp_path, there)
    for chunk in (empty, link, folder):
        (store / chunk.chunk_id.store_path()).parent.mkdir(exist_ok=True)
    (store / empty.chunk_id.store_path(".cacnk")).touch()
    (store / link.chunk_id.store_path(".cacnk")).symlink_to(store / there.chunk_id.store_path(".cacnk"))
    (store / folder.chunk_id.store_path(".cacnk")).mkdir()
    for chunk in (_chunk(9), empty, link, folder):
        for method in ("GET", "HEAD"):
            for suffix in ("", ".cacnk"):
                answer = served.ask(method, _path(chunk, suffix))
                assert answer.status == 404
                assert answer.headers["cache-control"] == "no-store"
        assert str(chunk.chunk_id) in served.ask("GET", _path(chunk)).text
    assert served.ask("GET", _path(there, store="/other.castr")).status == 404
    assert served.ask("GET", _path(there, ".xz")).status == 404
    upper = str(there.chunk_id).upper()
    assert served.ask("GET", f"{_STORE}/{upper[:4]}/{upper}.cacnk").status == 404
    digits = str(there.chunk_id)
    assert served.ask("GET", f"{_STORE}/0000/{digits}.cacnk").status == 404


def test_a_damaged_chunk_is_given_as_it_is_and_never_converted(tmp_path: Path, served: Served) -> None:
    chunk = _chunk(1)
    file = _store(tmp_path, chunk) / chunk.chunk_id.store_path(".cacnk")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-10])
    assert served.ask("GET", _path(chunk)).body == file.read_bytes()
    answer = served.ask("GET", _path(chunk, ""))
    assert answer.status == 404
    assert "invalid" in answer.text


def test_a_bomb_is_not_decompressed(tmp_path: Path, served: Served) -> None:
    chunk = _chunk(1)
    file = _store(tmp_path, chunk) / chunk.chunk_id.store_path(".cacnk")
    file.chmod(0o644)
    zstd = COMPRESSORS["zstd"]
    file.write_bytes(zstd.compress(bytes((128 << 20) + 1), 1))
    answer = served.ask("GET", _path(chunk, ""))
    assert answer.status == 404
    assert "more than" in answer.text


def test_a_chunk_that_is_known_is_not_sent_again(tmp_path: Path, served: Served) -> None:
    chunk = _chunk(1)
    _store(tmp_path, chunk)
    for suffix in ("", ".cacnk"):
        for tags in (f'"{chunk.chunk_id}"', f'W/"{chunk.chunk_id}"', f'"x", "{chunk.chunk_id}"', "*"):
            answer = served.ask("GET", _path(chunk, suffix), headers={"If-None-Match": tags})
            assert (answer.status, answer.body) == (304, b"")
            assert str(chunk.chunk_id) in answer.headers["etag"]
    assert served.ask("GET", _path(chunk), headers={"If-None-Match": '"x"'}).status == 200
    assert served.ask("GET", _path(_chunk(2)), headers={"If-None-Match": "*"}).status == 404


def test_the_suffix_is_that_of_the_settings(tmp_path: Path) -> None:
    chunk = _chunk(1)
    options = StoreOptions(Compression(COMPRESSORS["xz"]), ".xz")
    with LocalStore(tmp_path / "s.castr", options, create=True) as store:
        store.put(chunk)
        store.flush()
    with Served(tmp_path, settings=Settings(store_options=options)) as served:
        assert served.ask("GET", _path(chunk, ".xz", "/s.castr")).status == 200
        assert served.ask("GET", _path(chunk, ".cacnk", "/s.castr")).status == 404


def test_with_tokens_nobody_in_between_keeps_anything(tmp_path: Path) -> None:
    chunk = _chunk(1)
    _store(tmp_path, chunk)
    (tmp_path / "x.catar").write_bytes(b"content")
    with Served(tmp_path, private=True) as served:
        assert served.ask("GET", _path(chunk)).headers["cache-control"] == "private, max-age=31536000, immutable"
        assert served.ask("GET", "/x.catar").headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.catar", "application/vnd.casync.archive"),
        ("a.caidx", "application/vnd.casync.index"),
        ("a b?;ü%.caibx", "application/vnd.casync.index"),
    ],
)
def test_files(tmp_path: Path, served: Served, name: str, media_type: str) -> None:
    from urllib.parse import quote

    content = random.Random(7).randbytes(1_500_000)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / name).write_bytes(content)
    path = f"/sub/{quote(name)}"
    answer = served.ask("GET", path)
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["accept-ranges"] == "bytes"
    head = served.ask("HEAD", path)
    assert {**head.headers, "date": ""} == {**answer.headers, "date": ""}
    tag = answer.headers["etag"]
    assert served.ask("GET", path, headers={"If-None-Match": tag}).status == 304
    since = {"If-Modified-Since": answer.headers["last-modified"]}
    assert served.ask("GET", path, headers=since).status == 304
    assert served.ask("GET", path, headers={**since, "If-None-Match": '"x"'}).status == 200
    (tmp_path / "sub" / name).write_bytes(content[:-1])
    os.utime(tmp_path / "sub" / name, ns=(0, 2**61))
    answer = served.ask("GET", path, headers={"If-None-Match": tag})
    assert (answer.status, answer.body) == (200, content[:-1])


_CONTENT = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("ranged")
    (folder / "a.catar").write_bytes(_CONTENT)
    with Served(folder) as server:
        yield server


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=1000-", (1000, 1024)),
        ("bytes=1000-999999999999999", (1000, 1024)),
        ("bytes=-24", (1000, 1024)),
        ("bytes=-99999", (0, 1024)),
        ("bytes= 5 - 6", (5, 7)),
        ("bytes=0-1,5-6", None),
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=x-y", None),
        ("lines=0-1", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_ranges(ranged: Served, text: str, part: tuple[int, int] | None) -> None:
    answer = ranged.ask("GET", "/a.catar", headers={"Range": text})
    if part is None:
        assert (answer.status, answer.body) == (200, _CONTENT)
        assert "content-range" not in answer.headers
    else:
        start, end = part
        assert (answer.status, answer.body) == (206, _CONTENT[start:end])
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1024"


@pytest.mark.parametrize("text", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_of_nothing(ranged: Served, text: str) -> None:
    answer = ranged.ask("GET", "/a.catar", headers={"Range": text})
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */1024"


def test_a_range_of_what_has_not_changed(tmp_path: Path, served: Served) -> None:
    (tmp_path / "a.catar").write_bytes(_CONTENT)
    before = served.ask("HEAD", "/a.catar").headers
    wanted = {"Range": "bytes=0-9"}
    for condition in (before["etag"], before["last-modified"]):
        assert served.ask("GET", "/a.catar", headers={**wanted, "If-Range": condition}).status == 206
    for condition in ('"other"', "W/" + before["etag"], "Thu, 01 Jan 1970 00:00:00 GMT", "nonsense"):
        assert served.ask("GET", "/a.catar", headers={**wanted, "If-Range": condition}).status == 200


def test_an_empty_file(tmp_path: Path, served: Served) -> None:
    (tmp_path / "a.catar").touch()
    answer = served.ask("GET", "/a.catar")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_a_file_that_changes_while_it_is_sent_does_not_end_well(tmp_path: Path, served: Served) -> None:
    import socket

    path = tmp_path / "a.catar"
    path.write_bytes(bytes(64 << 20))  # more than the buffers of both ends
    with socket.create_connection(served.address) as client:
        client.sendall(b"GET /a.catar HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = len(client.recv(1000))
        with path.open("r+b") as file:
            file.write(b"changed")
        while data := client.recv(1 << 20):
            received += len(data)
    assert 1000 < received < 64 << 20
    assert any("changed" in notice for notice in served.monitor.notices)


def test_other_methods(tmp_path: Path, served: Served) -> None:
    chunk = _chunk(1)
    _store(tmp_path, chunk)
    (tmp_path / "a.catar").write_bytes(_CONTENT)
    for path in ("/a.catar", _path(chunk)):
        answer = served.ask("DELETE", path)
        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD, PUT, OPTIONS"
        assert served.ask("POST", path, b"").status == 405
        answer = served.ask("OPTIONS", path)
        assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, PUT, OPTIONS")
        assert served.ask("PUT", path, b"x").status == 403
    assert served.ask("DELETE", _STORE).status == 405
    assert served.ask("POST", _STORE, b"").status == 400


def test_what_a_store_says_it_can(tmp_path: Path) -> None:
    for writable, exchanges in ((False, "pull, has"), (True, "pull, has, ask, send")):
        with Served(tmp_path, writable=writable) as served:
            for path in ("/", "/default.castr", "/not/there/"):
                answer = served.ask("OPTIONS", path)
                assert (answer.status, answer.headers["casync-protocol"]) == (204, exchanges)


def test_a_store_that_is_replaced_is_found_again(tmp_path: Path, served: Served, monkeypatch: Any) -> None:
    from casync_py.remotes.http.server import shelf

    monkeypatch.setattr(shelf, "_CHECK_S", 0)
    first, second, third = _chunk(1), _chunk(2), _chunk(3)
    _store(tmp_path, first)
    assert served.ask("GET", _path(first)).status == 200
    (tmp_path / "default.castr").rename(tmp_path / "old.castr")
    assert served.ask("GET", _path(first)).status == 404
    _store(tmp_path, second)
    assert served.ask("GET", _path(second)).status == 200
    assert served.ask("GET", _path(first)).status == 404
    assert served.ask("GET", _path(first, store="/old.castr")).status == 200
    (tmp_path / "default.castr").rename(tmp_path / "older.castr")
    _store(tmp_path, third, name="real.castr")
    (tmp_path / "default.castr").symlink_to("real.castr")
    assert served.ask("GET", _path(third)).status == 200
    assert served.ask("GET", _path(second)).status == 404


def test_more_stores_than_stay_open(tmp_path: Path, monkeypatch: Any, nothing_left: None) -> None:
    from casync_py.remotes.http.server import shared

    monkeypatch.setattr(shared, "_OPEN_MAX", 3)
    chunk = _chunk(1)
    for number in range(8):
        _store(tmp_path, chunk, name=f"{number}.castr")
    with Served(tmp_path) as served:
        for _ in range(2):
            for number in range(8):
                assert served.ask("GET", _path(chunk, store=f"/{number}.castr")).status == 200
        assert len(served.app._shelf._stores) == 3
