"""PUT: what is right is kept, durable before success is told; what is wrong leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from casync_py import native
from casync_py.compression import COMPRESSORS, DEFAULT_COMPRESSION
from casync_py.digest import BLAKE3, DEFAULT_DIGEST, SHA256, Digest
from casync_py.format.index import Index
from casync_py.format.records import EntryRecord
from casync_py.ids import ChunkId
from casync_py.store.chunk import Chunk
from casync_py.testing.castr import store_faults
from casync_py.testing.hostile import index_of
from casync_py.testing.serving import Served

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_STORE = "/default.castr"


def _chunk(seed: int, size: int = 3000, digest: Digest = DEFAULT_DIGEST) -> Chunk:
    data = random.Random(seed).randbytes(size // 2) + bytes(size - size // 2)
    return Chunk(ChunkId(digest.of(data)), plain=data)


def _index(chunks: Sequence[Chunk]) -> bytes:
    return index_of(*(bytes(chunk.plain()) for chunk in chunks))


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, writable=True) as server:
        yield server


@pytest.mark.parametrize("suffix", ["", ".cacnk"])
@pytest.mark.parametrize("size", [1, 3000, 3_000_000])
def test_a_chunk_is_kept(tmp_path: Path, served: Served, suffix: str, size: int) -> None:
    chunk = _chunk(1, size)
    assert served.put(_STORE, chunk, suffix=suffix).status == 201
    assert _files(tmp_path / "default.castr") == [chunk.chunk_id.store_path(".cacnk")]
    assert store_faults(tmp_path / "default.castr") == []
    assert served.put(_STORE, chunk, suffix=suffix).status == 204
    answer = served.ask("GET", f"{_STORE}/{chunk.chunk_id.store_path(suffix)}")
    assert (answer.status, Chunk(chunk.chunk_id, stored=answer.body).plain() if suffix else answer.body) == (
        200,
        chunk.plain(),
    )


def test_a_body_in_pieces(tmp_path: Path, served: Served) -> None:
    for size in (3000, 3_000_000):
        chunk = _chunk(1, size)
        data = bytes(chunk.plain())
        pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        assert served.ask("PUT", f"{_STORE}/{chunk.chunk_id.store_path()}", pieces).status == 201
    assert store_faults(tmp_path / "default.castr") == []


def test_what_does_not_match_its_id_is_not_kept(tmp_path: Path, served: Served) -> None:
    chunk, other = _chunk(1), _chunk(2)
    stored = other.stored(DEFAULT_COMPRESSION)
    assert stored is not None
    path = f"{_STORE}/{chunk.chunk_id.store_path('.cacnk')}"
    bomb = COMPRESSORS["zstd"].compress(bytes((128 << 20) + 1), 1)
    for body in (stored, stored[:-1], stored + b"x", b"", b"\x28\xb5\x2f\xfd", bytes(chunk.plain()), bomb):
        answer = served.ask("PUT", path, body)
        assert answer.status == 422
        assert str(chunk.chunk_id) in answer.text
    for body in (b"", b"x", stored):
        assert served.ask("PUT", f"{_STORE}/{chunk.chunk_id.store_path()}", body).status == 422
    empty = ChunkId(DEFAULT_DIGEST.of(b""))
    assert served.ask("PUT", f"{_STORE}/{empty.store_path()}", b"").status == 422
    assert _files(tmp_path) == []


def test_the_digest_is_found_out(tmp_path: Path, served: Served) -> None:
    for number, digest in enumerate((DEFAULT_DIGEST, SHA256, BLAKE3)):
        chunk = _chunk(number, digest=digest)
        body, path = bytes(chunk.plain()), f"{_STORE}/{chunk.chunk_id.store_path()}"
        assert served.ask("PUT", path, body, {"Casync-Digest": "md5"}).status == 400
        assert served.ask("PUT", path, body, {"Casync-Digest": SHA256.name}).status == 201
    assert len(_files(tmp_path)) == 3


def test_bodies_that_are_too_large_or_of_no_length(served: Served) -> None:
    chunk = _chunk(1)
    path = f"{_STORE}/{chunk.chunk_id.store_path()}"
    assert served.ask("PUT", path, None, {"Content-Length": str((64 << 20) + 1)}).status == 413
    assert served.ask("PUT", path, None, {"Content-Length": "9" * 30}).status in (400, 413)
    endless = (bytes(1 << 20) for _ in range(70))
    assert served.ask("PUT", path, endless).status == 413


def test_a_request_without_a_length(served: Served) -> None:
    import socket

    with socket.create_connection(served.address) as client:
        client.sendall(f"PUT {_STORE}/{_chunk(1).chunk_id.store_path()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(1000).split()[1] == b"411"


def test_who_goes_away_leaves_nothing(tmp_path: Path, served: Served) -> None:
    import socket

    for path in (f"{_STORE}/{_chunk(1).chunk_id.store_path()}", "/a.caibx", "/a.catar", f"{_STORE}?send"):
        with socket.create_connection(served.address) as client:
            method = "POST" if "?" in path else "PUT"
            kind = "Content-Type: application/vnd.casync.messages\r\n" if "?" in path else ""
            client.sendall(
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: 1000\r\n\r\n".encode()
            )
            client.sendall(EntryRecord(0, 0, 0, 0, 0, 0).encode() if path == "/a.catar" else b"")
    served.close()
    assert _files(tmp_path) == []
    assert served.monitor.notices == []


def test_two_writers_of_one_chunk(tmp_path: Path, served: Served) -> None:
    chunks = [_chunk(number) for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        statuses = [answer.status for answer in pool.map(partial(served.put, _STORE), chunks * 4)]
    assert sorted(statuses) == [201] * 20 + [204] * 60
    assert store_faults(tmp_path / "default.castr") == []
    assert len(_files(tmp_path)) == 20


def test_many_writers_share_what_makes_them_durable(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One flush is held up; all that come meanwhile share the next one."""
    syncs = 0
    held, go_on = threading.Event(), threading.Event()

    def syncfs(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        held.set()
        assert go_on.wait(30)

    monkeypatch.setattr(native, "syncfs", syncfs)
    chunks = [_chunk(number) for number in range(13)]
    with ThreadPoolExecutor(13) as pool:
        first = pool.submit(served.put, _STORE, chunks[0])
        assert held.wait(30)
        rest = [pool.submit(served.put, _STORE, chunk) for chunk in chunks[1:]]
        while len(list(tmp_path.rglob("*.tmp"))) < 13:
            assert not any(future.done() for future in rest)
        assert _files(tmp_path / "default.castr") == sorted(
            str(path.relative_to(tmp_path / "default.castr")) for path in tmp_path.rglob("*.tmp")
        )
        assert not first.done()
        go_on.set()
        assert [future.result().status for future in (first, *rest)] == [201] * 13
    # Two for each flush; of the rest, the last two that wrote may have come too late for the second one
    assert 4 <= syncs <= 8


def test_gc_gets_its_turn(tmp_path: Path, served: Served) -> None:
    assert served.put(_STORE, _chunk(1)).status == 201
    fd = os.open(tmp_path / "default.castr", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # once the server lets go
        with ThreadPoolExecutor() as pool:
            waiting = [pool.submit(served.put, _STORE, _chunk(2 + number)) for number in range(5)]
            assert served.ask("GET", "/default.castr/" + _chunk(1).chunk_id.store_path(".cacnk")).status == 200
            assert served.put("/other.castr", _chunk(1)).status == 201, "who waits for gc keeps nobody else waiting"
            assert not any(future.done() for future in waiting)
            fcntl.flock(fd, fcntl.LOCK_UN)
            assert {future.result().status for future in waiting} == {201}
    finally:
        os.close(fd)


def test_a_disk_that_fails_once(tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.put(_STORE, _chunk(1)).status == 201
    real = native.syncfs

    def syncfs(fd: int) -> None:
        monkeypatch.setattr(native, "syncfs", real)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(native, "syncfs", syncfs)
    answer = served.put(_STORE, _chunk(2))
    assert answer.status == 500
    assert str(tmp_path) not in answer.text
    assert "/proc" not in answer.text
    assert served.put(_STORE, _chunk(2)).status == 201
    assert store_faults(tmp_path / "default.castr") == []
    assert len(_files(tmp_path)) == 2


@pytest.mark.root
def test_a_full_disk(small_disk: Path) -> None:
    with Served(small_disk, writable=True) as served:
        chunk = Chunk(ChunkId(DEFAULT_DIGEST.of(data := random.Random(1).randbytes(400_000))), plain=data)
        assert served.put(_STORE, chunk).status == 507
        (small_disk / "index").write_bytes(b"")
        assert served.ask("PUT", "/a.catar", EntryRecord(0, 0, 0, 0, 0, 0).encode() + bytes(400_000)).status == 507
        assert _files(small_disk) == ["index"]
        assert served.put(_STORE, _chunk(2)).status == 201


def test_a_server_that_only_gives(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        for path in (f"{_STORE}/{_chunk(1).chunk_id.store_path()}", "/a.caibx", "/a.catar"):
            answer = served.ask("PUT", path, b"x")
            assert answer.status == 403
            assert path in answer.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", ["/0123", "/.hidden", "/a.caibx", "/none/s.castr", "/out", "/out/s.castr"])
def test_where_no_store_can_be_made(tmp_path: Path, store: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/out").symlink_to(tmp_path / "outside")
    with Served(tmp_path / "root", writable=True) as served:
        assert served.put(store, _chunk(1)).status in (403, 404)
    assert _files(tmp_path) == []


def test_a_directory_that_is_a_store(tmp_path: Path, served: Served) -> None:
    assert served.put("", _chunk(1)).status == 201
    assert store_faults(tmp_path) == []
    assert served.ask("GET", f"/{_chunk(1).chunk_id.store_path('.cacnk')}").status == 200


# Indexes.


def test_an_index_after_its_chunks(tmp_path: Path, served: Served) -> None:
    chunks = [_chunk(number) for number in range(5)]
    index = _index(chunks)
    answer = served.ask("PUT", "/a.caibx", index)
    assert answer.status == 409
    assert "5 chunks are not in /default.castr" in answer.text
    assert str(chunks[0].chunk_id) in answer.text
    for chunk in chunks[:-1]:
        assert served.put(_STORE, chunk).status == 201
    answer = served.ask("PUT", "/a.caibx", index)
    assert answer.status == 409
    assert f"1 chunk is not in /default.castr, the first is {chunks[-1].chunk_id}" in answer.text
    assert not (tmp_path / "a.caibx").exists()
    assert served.put(_STORE, chunks[-1]).status == 201
    assert served.ask("PUT", "/a.caibx", index).status == 201
    assert (tmp_path / "a.caibx").read_bytes() == index
    shorter = _index(chunks[:3])
    assert served.ask("PUT", "/a.caibx", [shorter[:100], shorter[100:]]).status == 204
    assert (tmp_path / "a.caibx").read_bytes() == shorter
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.caibx", "default.castr"]


def test_an_index_makes_old_chunks_young(tmp_path: Path, served: Served) -> None:
    chunk = _chunk(1)
    served.put(_STORE, chunk)
    file = tmp_path / "default.castr" / chunk.chunk_id.store_path(".cacnk")
    os.utime(file, (0, 0))
    assert served.ask("PUT", "/a.caibx", _index([chunk])).status == 201
    assert file.stat().st_mtime > 1e9


def test_which_stores_an_index_may_use(tmp_path: Path, served: Served) -> None:
    (tmp_path / "sub").mkdir()
    first, second = _chunk(1), _chunk(2)
    index = _index([first, second])
    served.put("/default.castr", first)
    served.put("/z.castr", second)
    served.put("/sub/elsewhere", first)
    served.put("/sub/elsewhere", second)
    assert served.ask("PUT", "/a.caibx", index).status == 201, "each in one of those beside it"
    answer = served.ask("PUT", "/sub/a.caibx", index)
    assert (answer.status, "in /sub/default.castr" in answer.text) == (409, True)
    answer = served.ask("PUT", "/sub/a.caibx", index, {"Casync-Store": "/default.castr"})
    assert (answer.status, "1 chunk is not in /default.castr" in answer.text) == (409, True)
    for store in ("/none.castr", "/../x", "/%2e%2e"):
        assert served.ask("PUT", "/a.caibx", index, {"Casync-Store": store}).status in (404, 409)
    assert served.ask("PUT", "/sub/a.caibx", index, {"Casync-Store": "/sub/elsewhere"}).status == 201


def test_what_is_no_index(tmp_path: Path, served: Served) -> None:
    chunk = _chunk(1)
    served.put(_STORE, chunk)
    good = _index([chunk])
    for body in (b"", b"x", good[:-1], good[:60], good + b"x", bytes(len(good)), good[:64] + good[104:]):
        answer = served.ask("PUT", "/a.caibx", body)
        assert answer.status == 400
        assert "/a.caibx" in answer.text
        assert "/proc" not in answer.text
    assert not (tmp_path / "a.caibx").exists()


def test_an_index_of_nothing(tmp_path: Path, served: Served) -> None:
    assert served.ask("PUT", "/a.caibx", _index([])).status == 201
    with Index.open(tmp_path / "a.caibx") as index:
        assert len(index) == 0


def test_places_of_files(tmp_path: Path) -> None:
    (tmp_path / "secret.catar").write_bytes(b"secret")
    (tmp_path / "root/folder.catar").mkdir(parents=True)
    (tmp_path / "root/link.catar").symlink_to(tmp_path / "secret.catar")
    (tmp_path / "root/out").symlink_to(tmp_path)
    body = EntryRecord(0, 0, 0, 0, 0, 0).encode()
    with Served(tmp_path / "root", writable=True) as served:
        assert served.ask("PUT", "/folder.catar", body).status == 409
        assert served.ask("PUT", "/none/a.catar", body).status == 404
        assert served.ask("PUT", "/out/secret.catar", body).status == 404
        assert served.ask("PUT", "/../secret.catar", body).status == 404
        assert served.ask("PUT", "/a.txt", body).status == 405
        assert served.ask("PUT", "/link.catar", body).status == 204, "a link is replaced, never written through"
    assert (tmp_path / "secret.catar").read_bytes() == b"secret"
    assert (tmp_path / "root/link.catar").read_bytes() == body
    assert not (tmp_path / "root/link.catar").is_symlink()


def test_archives(tmp_path: Path, served: Served) -> None:
    body = EntryRecord(0, 0, 0, 0, 0, 0).encode() + bytes(100)
    assert served.ask("PUT", "/a.catar", body).status == 201
    assert served.ask("PUT", "/a.catar", [body[:3], body[3:]]).status == 204
    assert (tmp_path / "a.catar").read_bytes() == body
    for wrong in (b"", body[:15], b"x" + body, bytes(200)):
        assert served.ask("PUT", "/b.catar", wrong).status == 400
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.catar"]


def test_a_part_does_not_become_the_whole(tmp_path: Path, served: Served) -> None:
    part = EntryRecord(0, 0, 0, 0, 0, 0).encode() + bytes(100)
    refused = served.ask("PUT", "/a.catar", part, {"Content-Range": "bytes 0-163/5000"})
    assert (refused.status, refused.text) == (400, "/a.catar: Only a whole file can be put\n")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_too_large(tmp_path: Path) -> None:
    body = EntryRecord(0, 0, 0, 0, 0, 0).encode() + bytes(1000)
    with Served(tmp_path, writable=True, max_upload=500) as served:
        assert served.ask("PUT", "/a.catar", body).status == 413
        assert served.ask("PUT", "/a.catar", [body]).status == 413
        assert served.ask("PUT", "/a.caibx", _index([_chunk(n) for n in range(20)])).status == 413
        assert served.ask("PUT", "/a.catar", body[:500]).status == 201
    assert [path.name for path in tmp_path.iterdir()] == ["a.catar"]


def test_two_writers_of_one_index(tmp_path: Path, served: Served) -> None:
    chunks = [_chunk(number) for number in range(10)]
    for chunk in chunks:
        served.put(_STORE, chunk)
    bodies = [_index(chunks[: number + 1]) for number in range(10)]
    with ThreadPoolExecutor(8) as pool:
        statuses = {answer.status for answer in pool.map(lambda body: served.ask("PUT", "/a.caibx", body), bodies * 3)}
    assert statuses <= {201, 204}
    assert (tmp_path / "a.caibx").read_bytes() in bodies
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.caibx", "default.castr"]


def test_nothing_is_left_open(tmp_path: Path, nothing_left: Any) -> None:
    with Served(tmp_path, writable=True) as served:
        served.put(_STORE, _chunk(1))
        served.ask("PUT", "/a.caibx", _index([_chunk(1)]))
        served.ask("PUT", "/b.caibx", _index([_chunk(2)]))
        served.ask("PUT", "/a.catar", b"x")
        served.ask("GET", "/a.caibx")
        served.ask("GET", f"{_STORE}/{_chunk(1).chunk_id.store_path()}")
