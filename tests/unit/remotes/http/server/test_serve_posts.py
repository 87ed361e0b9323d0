"""POST: pull, has, ask and send, and what becomes of bodies that are none."""

from __future__ import annotations

import io
import random
import socket
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import COMPRESSORS, DEFAULT_COMPRESSION, NO_COMPRESSION
from casync_py.digest import BLAKE3, DEFAULT_DIGEST, SHA256, Digest
from casync_py.format.index import IndexWriter
from casync_py.ids import ChunkId
from casync_py.options import Resources, Settings, StoreOptions
from casync_py.protocol.messages import ChunkData, Goodbye, Hello, IndexData, IndexEnd, Message, Missing, Request
from casync_py.protocol.posted import (
    FAREWELL,
    IDS_MAX,
    MEDIA_TYPE,
    ROWS_MAX,
    BodyReader,
    Exchange,
    Side,
    body,
    greeting,
    joined,
)
from casync_py.remotes.http.server import guard, work
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.testing.castr import store_faults
from casync_py.testing.hostile import index_of
from casync_py.testing.serving import Served

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from casync_py.testing.serving import Answered

_STORE = "/default.castr"
_TYPE = {"Content-Type": MEDIA_TYPE}
_IDS = {"Content-Type": "application/vnd.casync.ids"}


def _chunk(seed: int, size: int = 3000, digest: Digest = DEFAULT_DIGEST) -> Chunk:
    data = random.Random(seed).randbytes(size // 2) + bytes(size - size // 2)
    return Chunk(ChunkId(digest.of(data)), plain=data)


def _fill(folder: Path, *chunks: Chunk, plain: bool = False) -> None:
    options = StoreOptions(NO_COMPRESSION) if plain else StoreOptions()
    with LocalStore(folder / "default.castr", options, create=True) as store:
        for chunk in chunks:
            store.put(chunk)
        store.flush()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, writable=True) as server:
        yield server


def _post(served: Served, exchange: Exchange, messages: Sequence[Message], path: str = _STORE) -> Answered:
    return served.ask("POST", f"{path}?{exchange.value}", body(exchange, Side.CLIENT, messages), _TYPE)


def _messages(exchange: Exchange, answer: Answered) -> list[Message]:
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    reader = BodyReader(exchange, Side.SERVER)
    messages = reader.feed(answer.body)
    reader.finish()
    return messages


def _index(chunks: Sequence[Chunk]) -> bytes:
    return index_of(*(bytes(chunk.plain()) for chunk in chunks))


def _sent(chunk: Chunk, *, compressed: bool = True) -> ChunkData:
    data = chunk.stored(DEFAULT_COMPRESSION) if compressed else bytes(chunk.plain())
    assert data is not None
    return ChunkData(chunk.chunk_id, data, compressed)


# Pull.


def test_a_pull_gives_chunks_in_the_order_asked_for(tmp_path: Path, served: Served) -> None:
    compressed, plain, absent = [_chunk(n) for n in range(20)], [_chunk(n) for n in range(20, 30)], _chunk(99)
    large = [_chunk(50, 700_000), _chunk(51, 3_000_000)]
    _fill(tmp_path, *compressed, large[0])
    _fill(tmp_path, *plain, large[1], plain=True)
    wanted = [*plain, absent, *large, *compressed, plain[0]]
    requests = [Request([chunk.chunk_id for chunk in wanted[:5]]), Request([chunk.chunk_id for chunk in wanted[5:]])]
    messages = _messages(Exchange.PULL, _post(served, Exchange.PULL, requests))
    assert len(messages) == len(wanted)
    for message, chunk in zip(messages, wanted, strict=True):
        if chunk is absent:
            assert message == Missing(chunk.chunk_id)
            continue
        assert isinstance(message, ChunkData)
        assert message.chunk_id == chunk.chunk_id
        data = bytes(message.data)
        got = Chunk(chunk.chunk_id, stored=data) if message.compressed else Chunk(chunk.chunk_id, plain=data)
        assert got.plain() == chunk.plain()
        assert message.compressed == (chunk in compressed or chunk is large[0])


def test_a_chunk_that_fits_into_no_message_is_compressed(tmp_path: Path, served: Served) -> None:
    chunk = _chunk(1, 17 << 20)
    _fill(tmp_path, chunk, _chunk(2), plain=True)
    request = Request([_chunk(2).chunk_id, chunk.chunk_id, _chunk(2).chunk_id])
    messages = _messages(Exchange.PULL, _post(served, Exchange.PULL, [request]))
    assert [type(message) for message in messages] == [ChunkData] * 3
    assert isinstance(messages[1], ChunkData)
    assert messages[1].compressed
    assert Chunk(chunk.chunk_id, stored=bytes(messages[1].data)).plain() == chunk.plain()


def test_what_cannot_be_used_is_missing(tmp_path: Path, served: Served) -> None:
    chunk, huge, link = _chunk(1), _chunk(2), _chunk(3)
    _fill(tmp_path, chunk)
    store = tmp_path / "default.castr"
    for each in (huge, link):
        (store / each.chunk_id.store_path()).parent.mkdir(exist_ok=True)
    with (store / huge.chunk_id.store_path(".cacnk")).open("wb") as file:
        file.truncate(1 << 40)
    (store / link.chunk_id.store_path(".cacnk")).symlink_to(store / chunk.chunk_id.store_path(".cacnk"))
    request = Request([huge.chunk_id, link.chunk_id, chunk.chunk_id])
    messages = _messages(Exchange.PULL, _post(served, Exchange.PULL, [request]))
    assert messages[:2] == [Missing(huge.chunk_id), Missing(link.chunk_id)]
    assert isinstance(messages[2], ChunkData)


def test_a_pull_of_nothing_and_of_as_much_as_may_be(tmp_path: Path, served: Served) -> None:
    (tmp_path / "default.castr").mkdir()
    assert _messages(Exchange.PULL, _post(served, Exchange.PULL, [])) == []
    ids = [ChunkId(number.to_bytes(32, "big")) for number in range(IDS_MAX + 1)]
    each_alone = [Request([chunk_id]) for chunk_id in ids[:-1]]
    assert _messages(Exchange.PULL, _post(served, Exchange.PULL, each_alone)) == [Missing(each) for each in ids[:-1]]
    assert _post(served, Exchange.PULL, [Request(ids)]).status == 413


@pytest.mark.parametrize("query", ["pull", "has"])
def test_a_store_that_is_not_there(tmp_path: Path, query: str) -> None:
    (tmp_path / "a.catar").touch()
    with Served(tmp_path) as served:
        for path in ("/none.castr", "/a.catar/x"):
            answer = served.ask("POST", f"{path}?{query}", body(Exchange.PULL, Side.CLIENT, []), _TYPE)
            assert answer.status in (404, 415)
        assert served.ask("POST", "/none.castr?has", b"", _IDS).status == 404


def test_a_store_that_cannot_be_read_says_so_at_the_end(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = _chunk(1)
    _fill(tmp_path, chunk)
    real = LocalStore.get

    def get(self: LocalStore, chunk_id: ChunkId, limit: int) -> Chunk:
        if chunk_id != chunk.chunk_id:
            raise OSError(5, "Input/output error", "/secret/path")
        return real(self, chunk_id, limit)

    monkeypatch.setattr(LocalStore, "get", get)
    answer = _post(served, Exchange.PULL, [Request([chunk.chunk_id, _chunk(2).chunk_id])])
    reader = BodyReader(Exchange.PULL, Side.SERVER)
    with pytest.raises(Exception, match="Input/output error") as failed:
        reader.feed(answer.body)
    assert "secret" not in str(failed.value)


# Has.


def test_which_chunks_are_there(tmp_path: Path, served: Served) -> None:
    _fill(tmp_path, _chunk(1), _chunk(2))
    ids = [_chunk(n).chunk_id for n in (3, 1, 2, 1, 4)]
    answer = served.ask("POST", f"{_STORE}?has", b"".join(ids), _IDS)
    assert (answer.status, answer.body) == (200, b"\0\1\1\1\0")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert served.ask("POST", f"{_STORE}?has", b"", _IDS).body == b""
    assert served.ask("POST", f"{_STORE}?has", b"x" * 33, _IDS).status == 400
    assert len(served.ask("POST", f"{_STORE}?has", bytes(32) * 32768, _IDS).body) == 32768
    assert served.ask("POST", f"{_STORE}?has", bytes(32) * 32769, _IDS).status == 413
    assert served.ask("POST", f"{_STORE}?has", b"", _TYPE).status == 415


# Ask.


def test_what_is_lacking_is_asked_for(tmp_path: Path, served: Served) -> None:
    chunks = [_chunk(n) for n in range(10)]
    _fill(tmp_path, *chunks[::2])
    rows = [*chunks, chunks[1], chunks[0]]
    index = _index(rows)
    for pieces in ([index], [index[at : at + 17] for at in range(0, len(index), 17)]):
        answer = _post(served, Exchange.ASK, [*map(IndexData, pieces), IndexEnd()])
        assert _messages(Exchange.ASK, answer) == [Request([chunk.chunk_id for chunk in chunks[1::2]])]
    everything = _post(served, Exchange.ASK, [IndexData(_index(chunks[::2])), IndexEnd()])
    assert _messages(Exchange.ASK, everything) == []


def test_a_store_that_is_to_be_made(tmp_path: Path, served: Served) -> None:
    chunk = _chunk(1)
    answer = _post(served, Exchange.ASK, [IndexData(_index([chunk])), IndexEnd()], "/new.castr")
    assert _messages(Exchange.ASK, answer) == [Request([chunk.chunk_id])]
    assert not (tmp_path / "new.castr").exists()
    assert _messages(Exchange.SEND, _post(served, Exchange.SEND, [_sent(chunk)], "/new.castr")) == []
    assert store_faults(tmp_path / "new.castr") == []


def test_an_ask_of_as_much_as_may_be(served: Served) -> None:
    def index(rows: int) -> bytes:
        raw = io.BytesIO()
        writer = IndexWriter(raw.write, DEFAULT_DIGEST.flag, (1, 1, 1))
        for number in range(rows):
            writer.append(number + 1, number.to_bytes(32, "big"))
        writer.finish()
        return raw.getvalue()

    answer = _messages(Exchange.ASK, _post(served, Exchange.ASK, [IndexData(index(ROWS_MAX)), IndexEnd()]))
    assert [len(request.ids) for request in answer if isinstance(request, Request)] == [2048] * 8
    assert _post(served, Exchange.ASK, [IndexData(index(ROWS_MAX + 1)), IndexEnd()]).status == 413


@pytest.mark.parametrize("index", [b"x", _index([_chunk(1)])[:-1], _index([_chunk(1)]) + b"x", bytes(200)])
def test_what_is_no_index(served: Served, index: bytes) -> None:
    assert _post(served, Exchange.ASK, [IndexData(index), IndexEnd()]).status == 400


# Send.


@pytest.mark.parametrize("digest", [DEFAULT_DIGEST, SHA256, BLAKE3])
def test_what_is_sent_is_kept(tmp_path: Path, served: Served, digest: Digest) -> None:
    chunks = [_chunk(n, size, digest) for n, size in enumerate((1, 1000, 700_000, 3000, 5_000_000, 10))]
    messages = [_sent(chunk, compressed=number % 2 == 0) for number, chunk in enumerate(chunks)]
    assert _messages(Exchange.SEND, _post(served, Exchange.SEND, messages)) == []
    assert store_faults(tmp_path / "default.castr", digest) == []
    assert len(list(tmp_path.rglob("*.cacnk"))) == len(chunks)
    assert _messages(Exchange.SEND, _post(served, Exchange.SEND, messages)) == []


def test_a_send_of_unknown_length_and_many_pieces(tmp_path: Path, served: Served) -> None:
    chunks = [_chunk(n, 60_000) for n in range(60)]
    raw = body(Exchange.SEND, Side.CLIENT, map(_sent, chunks))
    pieces = (raw[at : at + 5000] for at in range(0, len(raw), 5000))
    answer = served.ask("POST", f"{_STORE}?send", pieces, _TYPE)
    assert _messages(Exchange.SEND, answer) == []
    assert len(list(tmp_path.rglob("*.cacnk"))) == 60


@pytest.mark.parametrize("size", [3000, 3_000_000])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_bad_chunk_is_not_kept(tmp_path: Path, served: Served, size: int, compressed: bool) -> None:
    good, other = _chunk(1, size), _chunk(2, size)
    bad = _sent(other, compressed=compressed)._replace(chunk_id=_chunk(3).chunk_id)
    answer = _post(served, Exchange.SEND, [_sent(good), bad, _sent(other)])
    assert answer.status == 422
    assert str(_chunk(3).chunk_id) in answer.text
    assert not list(tmp_path.rglob(f"{bad.chunk_id}*"))


def test_bombs_are_not_kept(tmp_path: Path, served: Served) -> None:
    bomb = COMPRESSORS["zstd"].compress(bytes((128 << 20) + 1), 1)
    answer = _post(served, Exchange.SEND, [ChunkData(_chunk(1).chunk_id, bomb, compressed=True)])
    assert answer.status == 422
    assert not list(tmp_path.rglob("*.*"))


# Bodies that are none.

_REQUEST = Request([_chunk(1).chunk_id])


@pytest.mark.parametrize(
    ("exchange", "raw"),
    [
        *((exchange, b"") for exchange in Exchange),
        *((exchange, b"nonsense" * 10) for exchange in Exchange),
        *((exchange, greeting(exchange, Side.CLIENT)) for exchange in Exchange),
        *((exchange, FAREWELL) for exchange in Exchange),
        *((exchange, joined([Hello(1 << 63), Goodbye()])) for exchange in Exchange),
        *((exchange, greeting(exchange, Side.CLIENT) + FAREWELL + b"x") for exchange in (Exchange.PULL, Exchange.SEND)),
        (Exchange.PULL, body(Exchange.PULL, Side.CLIENT, [_sent(_chunk(1))])),
        (Exchange.SEND, body(Exchange.SEND, Side.CLIENT, [_REQUEST])),
        (Exchange.ASK, body(Exchange.ASK, Side.CLIENT, [IndexData(_index([_chunk(1)]))])),
        (Exchange.SEND, body(Exchange.SEND, Side.CLIENT, [_sent(_chunk(1))])[:-20]),
        (Exchange.SEND, greeting(Exchange.SEND, Side.CLIENT) + b"\xff" * 16),
    ],
)
def test_a_body_that_is_none(tmp_path: Path, served: Served, exchange: Exchange, raw: bytes) -> None:
    (tmp_path / "default.castr").mkdir()
    answer = served.ask("POST", f"{_STORE}?{exchange.value}", raw, _TYPE)
    assert answer.status == 400
    assert exchange.value in answer.text
    assert answer.text.count("\n") == 1


@pytest.mark.parametrize("exchange", Exchange)
def test_a_body_of_another_type(tmp_path: Path, served: Served, exchange: Exchange) -> None:
    (tmp_path / "default.castr").mkdir()
    for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):
        assert served.ask("POST", f"{_STORE}?{exchange.value}", b"", headers).status == 415


def test_bodies_without_end(tmp_path: Path, served: Served) -> None:
    (tmp_path / "default.castr").mkdir()
    endless = (bytes(1 << 20) for _ in range(200))
    assert served.ask("POST", f"{_STORE}?pull", endless, _TYPE).status == 413
    for exchange in Exchange:
        length = {"Content-Length": str(1 << 40), **_TYPE}
        assert served.ask("POST", f"{_STORE}?{exchange.value}", None, length).status == 413


def test_who_sends_next_to_nothing_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All the memory that bodies may take is promised to him."""
    settings = Settings(resources=Resources(memory=3 * work.SMALL))
    monkeypatch.setattr(guard, "CROWDED_SECONDS", 1)
    chunk = _chunk(1)
    _fill(tmp_path, chunk)
    lines = [f"POST {_STORE}?has HTTP/1.1", "Host: localhost", f"Content-Type: {_IDS['Content-Type']}"]
    lines += [f"Content-Length: {work.SMALL}", "", ""]
    with Served(tmp_path, settings=settings) as served, socket.create_connection(served.address, 30) as slow:
        slow.sendall("\r\n".join(lines).encode())
        slow.sendall(bytes(1000))
        while served.limits.received < 1000:
            pass
        answer = served.ask("POST", f"{_STORE}?has", chunk.chunk_id, _IDS)
        assert (answer.status, answer.body) == (200, b"\1")
        assert slow.recv(12) == b"HTTP/1.1 408"


def test_a_store_that_only_gives(tmp_path: Path) -> None:
    _fill(tmp_path, _chunk(1))
    with Served(tmp_path) as served:
        for exchange in (Exchange.ASK, Exchange.SEND):
            assert _post(served, exchange, [IndexEnd()] if exchange is Exchange.ASK else []).status == 403
        assert len(_messages(Exchange.PULL, _post(served, Exchange.PULL, [_REQUEST]))) == 1


def test_queries_that_mean_nothing(served: Served) -> None:
    for query in ("", "?", "?PULL", "?pull=1", "?pull&ask", "?delete"):
        answer = served.ask("POST", f"{_STORE}{query}", b"", _TYPE)
        assert answer.status == 400
        assert "?pull" in answer.text
