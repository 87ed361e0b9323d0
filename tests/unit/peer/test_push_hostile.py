"""Push ends whose other end is broken or mean: one error that says what is wrong, no index, no bad chunk."""

from __future__ import annotations

import os
import struct
import threading
from typing import TYPE_CHECKING

import pytest
import zstandard

from casync_py.chunking.params import ChunkParams
from casync_py.compression import DEFAULT_COMPRESSION
from casync_py.digest import SHA512_256
from casync_py.errors import CasyncError, PeerError, ProtocolError, SourceChanged
from casync_py.format.index import IndexWriter
from casync_py.ids import ChunkId
from casync_py.monitor import Monitor
from casync_py.options import Resources
from casync_py.peer import pusher, received_index
from casync_py.peer.push_server import serve_push
from casync_py.peer.pusher import Pusher, push_connection
from casync_py.protocol import flags as f
from casync_py.protocol.messages import (
    Abort,
    ArchiveData,
    ChunkData,
    Examined,
    Goodbye,
    Hello,
    IndexData,
    IndexEnd,
    Message,
    Missing,
    Request,
)
from casync_py.store.chunk import Chunk
from casync_py.store.memory import MemoryStore
from casync_py.sync.upload import UploadPlan
from casync_py.transport.stream import DescriptorStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLIENT = Hello(f.PUSH_CHUNKS | f.PUSH_INDEX | f.PUSH_INDEX_CHUNKS)
ONE, TWO = b"one" * 100, b"two" * 200
IDS = [ChunkId(SHA512_256.of(plain)) for plain in (ONE, TWO)]


def wire(*messages: Message) -> bytes:
    return b"".join(bytes(part) for message in messages for part in message.wire_parts())


def index(*rows: tuple[int, bytes], chunk_max: int = 1 << 18) -> bytes:
    parts: list[bytes] = []
    writer = IndexWriter(parts.append, SHA512_256.flag, (1, 1, chunk_max))
    for end, chunk_id in rows:
        writer.append(end, chunk_id)
    writer.finish()
    return b"".join(parts)


INDEX = index((len(ONE), IDS[0]), (len(ONE) + len(TWO), IDS[1]))
ASKED = wire(CLIENT, IndexData(INDEX), IndexEnd())
GOOD = [ChunkData(chunk_id, plain, False) for chunk_id, plain in zip(IDS, (ONE, TWO), strict=True)]


class RawClient:
    """Says whatever it likes to `serve_push`.

    Attributes:
        store: the server's.
        outcome: what the server returned or raised.
    """

    def __init__(self, folder: Path, *, ours: bool = True, timeout: float = 20) -> None:
        server_in, self.out = os.pipe()
        self.into, server_out = os.pipe()
        self.store = MemoryStore()
        self.path = folder / "x.caibx"
        self.outcome: object = None
        stream = DescriptorStream(server_in, server_out, "client")

        def serve() -> None:
            try:
                self.outcome = serve_push(
                    stream, index=str(self.path), archive=None, store=self.store, ours=ours, timeout=timeout
                )
            except Exception as error:
                self.outcome = error
            finally:
                stream.close()

        self._thread = threading.Thread(target=serve)
        self._thread.start()

    def say(self, data: bytes) -> None:
        """Whole, unless the server has gone away."""
        try:
            while data:
                data = data[os.write(self.out, data) :]
        except BrokenPipeError:
            pass

    def hear(self, *names: type[Message]) -> None:
        """Read until messages of these types have come, in any order."""
        heard = b""
        wanted = {struct.pack("<Q", number) for number in _numbers(names)}
        while not all(number in heard for number in wanted):
            piece = os.read(self.into, 65536)
            assert piece, f"ended before {names}"
            heard += piece

    def end(self) -> bytes:
        """Close, wait for the server, return what was not heard yet."""
        os.close(self.out)
        rest = self.listen()
        os.close(self.into)
        self._thread.join()
        return rest

    def listen(self) -> bytes:
        """All that the server says until it closes."""
        rest = b""
        while piece := os.read(self.into, 65536):
            rest += piece
        return rest


def _numbers(kinds: tuple[type[Message], ...]) -> Iterator[int]:
    from casync_py.protocol.messages import BOUNDS

    return (number for number, bound in BOUNDS.items() if bound.kind in kinds)


@pytest.fixture(params=[True, False], ids=["dialect", "as casync"])
def ours(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def refused(client: RawClient, reason: str, *, ours: bool, ends: bool = False) -> None:
    """The server failed for that reason, told a client of its own kind, and no index has appeared."""
    rest = b"" if ends else client.listen()
    rest += client.end()
    if isinstance(client.outcome, CasyncError):
        assert reason in str(client.outcome)
    else:
        assert client.outcome is False
        assert ours
    if not isinstance(client.outcome, ProtocolError) and not ends and reason != "Silent":
        assert reason in rest.decode("latin-1")
    assert list(client.path.parent.iterdir()) == []


def test_a_good_client(tmp_path: Path, ours: bool) -> None:
    client = RawClient(tmp_path, ours=ours)
    client.say(ASKED)
    client.hear(Request)
    assert not client.path.exists()
    client.say(wire(GOOD[1]))
    assert not client.path.exists()
    client.say(wire(GOOD[0]))
    client.hear(Goodbye)
    assert client.end() == b""
    assert client.outcome is True
    assert client.path.read_bytes() == INDEX
    assert sorted(client.store.iter_ids()) == sorted(IDS)


def zeros(size: int) -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(bytes(size)) + compressor.flush()


PACKED = zstandard.compress(ONE)
BAD_CHUNKS: dict[str, tuple[Message, str]] = {
    "other content": (ChunkData(IDS[0], b"x" * len(ONE), False), "another sha512-256 digest"),
    "other compressed content": (ChunkData(IDS[0], zstandard.compress(b"x" * 300), True), "another sha512-256 digest"),
    "content of the other": (ChunkData(IDS[1], ONE, False), "another sha512-256 digest"),
    "not compressed": (ChunkData(IDS[0], ONE, True), "Not a compressed stream"),
    "cut": (ChunkData(IDS[0], PACKED[:-1], True), "zstd stream"),
    "trailing": (ChunkData(IDS[0], PACKED + b"x", True), "zstd stream"),
    "large": (ChunkData(IDS[0], b"x" * 301, False), "more than 300"),
    "a bomb": (ChunkData(IDS[0], zeros(64 << 20), True), "too large zstd stream"),
    "missing": (Missing(IDS[0]), "does not have chunk".capitalize()),
    "never requested": (ChunkData(ChunkId(bytes(32)), ONE, False), "without being requested"),
    "missing, never requested": (Missing(ChunkId(bytes(32))), "without being requested"),
    "abort": (Abort(5, "I have had enough"), "I have had enough"),
    "archive": (ArchiveData(b"x" * 100), "ARCHIVE"),
    "more index": (IndexData(INDEX), "INDEX"),
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_no_bad_chunk(tmp_path: Path, name: str, ours: bool) -> None:
    message, reason = BAD_CHUNKS[name]
    client = RawClient(tmp_path, ours=ours)
    client.say(ASKED)
    client.hear(Request)
    client.say(wire(message))
    refused(client, reason, ours=ours, ends=isinstance(message, Abort))
    assert list(client.store.iter_ids()) == []


def number(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack("<Q", value) + data[at + 8 :]


BAD_INDEXES = {
    "nonsense": (b"x" * 500, "Not an index"),
    "unknown flags": (number(INDEX, 16, 1 << 58), "Unknown feature flags"),
    "chunk sizes": (number(INDEX, 40, 1 << 40), "Impossible chunk sizes"),
    "a long row": (number(INDEX, 64, 1 << 20), "Chunk of 1048576 bytes"),
    "an empty row": (number(INDEX, 104, 300), "Chunk of 0 bytes"),
    "no tail": (INDEX[:-40], "Index ends early"),
    "a broken tail": (INDEX[:-1] + b"x", "No tail"),
    "more after it": (INDEX + b"x", "Bytes follow the end of the index"),
    "nothing but a bit": (INDEX[:64], "Index ends early"),
}


@pytest.mark.parametrize("name", BAD_INDEXES)
def test_no_bad_index(tmp_path: Path, name: str, ours: bool) -> None:
    data, reason = BAD_INDEXES[name]
    client = RawClient(tmp_path, ours=ours)
    client.say(wire(CLIENT, IndexData(data), IndexEnd()))
    refused(client, reason, ours=ours)


def test_a_row_that_lies_about_its_chunk(tmp_path: Path, ours: bool) -> None:
    client = RawClient(tmp_path, ours=ours)
    client.say(wire(CLIENT, IndexData(index((len(ONE) + 1, IDS[0]))), IndexEnd()))
    client.hear(Request)
    client.say(wire(GOOD[0]))
    refused(client, "Has 300 bytes, and 301 in the index", ours=ours)
    assert list(client.store.iter_ids()) == []


def test_an_index_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool) -> None:
    monkeypatch.setattr(received_index, "TRAVELLING_INDEX_MAX", 1 << 20)
    client = RawClient(tmp_path, ours=ours)
    client.store.put(Chunk(IDS[0], plain=ONE))
    client.say(wire(CLIENT, IndexData(INDEX[:64])))
    reader = threading.Thread(target=lambda: os.read(client.into, 1 << 20))
    reader.start()
    row = 0
    while client.outcome is None and row < 1 << 20:
        rows = range(row + 1, row + 1001)
        client.say(wire(IndexData(b"".join(struct.pack("<Q32s", 300 * end, IDS[0]) for end in rows))))
        row += 1000
    reader.join()
    refused(client, "Index of more than 1048576 bytes", ours=ours)


@pytest.mark.parametrize("count", range(4))
def test_goodbye_before_all_is_there(tmp_path: Path, count: int, ours: bool) -> None:
    """casync's server would let the index appear."""
    client = RawClient(tmp_path, ours=ours)
    said: list[Message] = [CLIENT, IndexData(INDEX), IndexEnd(), GOOD[0]]
    for message in said[: count + 1]:
        client.say(wire(message))
        if isinstance(message, IndexEnd):
            client.hear(Request)
    client.say(wire(Goodbye()))
    reason = "GOODBYE" if count < 2 else "chunks outstanding"
    refused(client, reason, ours=ours)


@pytest.mark.parametrize("at", [0, 10, 24, 40, 100, 150, len(ASKED) - 16, len(ASKED)])
def test_the_end_at_any_point(tmp_path: Path, at: int, ours: bool) -> None:
    client = RawClient(tmp_path, ours=ours)
    client.say(ASKED[:at])
    refused(client, "ended early", ours=ours, ends=True)


@pytest.mark.parametrize("at", [0, 10, 24, 100, len(ASKED)])
def test_silence_at_any_point(tmp_path: Path, at: int, ours: bool) -> None:
    client = RawClient(tmp_path, ours=ours, timeout=0.1)
    client.say(ASKED[:at])
    client._thread.join(20)
    refused(client, "Silent", ours=ours)
    assert isinstance(client.outcome, PeerError)


def test_what_came_before_the_end_stays(tmp_path: Path, ours: bool) -> None:
    client = RawClient(tmp_path, ours=ours)
    client.say(ASKED)
    client.hear(Request)
    client.say(wire(GOOD[1]))
    refused(client, "ended early", ours=ours, ends=True)
    assert list(client.store.iter_ids()) in ([IDS[1]], [])


# The pushing end


class RawServer:
    """Says whatever it likes to a pusher."""

    def __init__(self, *, dialect: bool, timeout: float = 20) -> None:
        self.into, client_out = os.pipe()
        client_in, self.out = os.pipe()
        plan = UploadPlan(SHA512_256.flag, ChunkParams.derive())
        self.pusher = Pusher(
            DescriptorStream(client_in, client_out, "server"),
            push_connection(ours=True),
            plan,
            compression=DEFAULT_COMPRESSION,
            resources=Resources(1, 1 << 20),
            monitor=Monitor(),
            timeout=timeout,
        )
        flags = f.WRITABLE_INDEX | f.WRITABLE_STORE | (f.OURS if dialect else 0)
        self.say(Hello(flags))

    def say(self, *messages: Message) -> None:
        os.write(self.out, wire(*messages))

    def push(self) -> None:
        """A stream of two chunks."""
        end = 0
        try:
            for chunk_id, plain in zip(IDS, (ONE, TWO), strict=True):
                end += len(plain)
                if not self.pusher.recognise([chunk_id])[0]:
                    self.pusher.put(Chunk(chunk_id, plain=plain))
                self.pusher.append(end, chunk_id)
            if self.pusher.wants_again():
                self.pusher.wants_again()
            self.pusher.commit()
        finally:
            os.close(self.out)
            self.pusher.abort()
            os.close(self.into)


MEAN: dict[str, tuple[Callable[[RawServer], None], type[CasyncError], str]] = {
    "asks for what nobody knows, and no more": (
        lambda server: server.say(Request([ChunkId(bytes(32))])),
        PeerError,
        "Silent",
    ),
    "gives up": (lambda server: server.say(Abort(28, "No space left")), PeerError, "server: No space left"),
    "says nothing": (lambda server: server.say(), PeerError, "server: Silent"),
    "says goodbye at once": (lambda server: server.say(Goodbye()), ProtocolError, "GOODBYE"),
    "sends a chunk": (lambda server: server.say(GOOD[0]), ProtocolError, "CHUNK"),
    "has examined rows to come": (lambda server: server.say(Examined(1 << 40)), ProtocolError, "EXAMINED"),
    "says hello again": (lambda server: server.say(Hello(f.WRITABLE_STORE)), ProtocolError, "HELLO"),
}


@pytest.mark.parametrize("name", MEAN)
def test_a_server_that_is_mean(name: str) -> None:
    does, kind, reason = MEAN[name]
    server = RawServer(dialect=True, timeout=0.2)
    does(server)
    with pytest.raises(kind, match=reason):
        server.push()


def test_a_server_that_asks_for_what_nobody_knows() -> None:
    server = RawServer(dialect=True)

    def answer() -> None:
        heard = b""
        while not heard.endswith(wire(IndexEnd())):
            heard += os.read(server.into, 65536)
        server.say(Request([ChunkId(bytes(32))]), Examined(2))

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(SourceChanged, match=f"chunk {bytes(32).hex()} is no longer part of it"):
        server.push()
    thread.join()


def test_a_server_that_is_never_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusher, "_READINGS_MAX", 3)
    server = RawServer(dialect=True)

    def answer() -> None:
        heard = b""
        while not heard.endswith(wire(IndexEnd())):
            heard += os.read(server.into, 65536)
        server.say(Examined(2), Request([IDS[0]]))
        while heard := os.read(server.into, 65536):
            server.say(Request([IDS[0]]))

    thread = threading.Thread(target=answer)
    thread.start()
    chunk = Chunk(IDS[0], plain=ONE)
    server.pusher.put(chunk)
    server.pusher.append(len(ONE), IDS[0])
    server.pusher.append(2 * len(ONE), IDS[0])
    assert server.pusher.wants_again()
    server.pusher.put(chunk)
    assert server.pusher.wants_again()
    server.pusher.put(chunk)
    with pytest.raises(PeerError, match="server: Asks for chunks again and again"):
        server.pusher.wants_again()
    server.pusher.abort()
    thread.join()
    os.close(server.out)
    os.close(server.into)


def test_a_server_that_ends() -> None:
    server = RawServer(dialect=True)
    server.pusher._session.await_hello()
    os.dup2(server.into, server.out)
    with pytest.raises(PeerError, match="server: The other end ended early, while the index is sent"):
        server.push()


def test_a_server_that_asks_without_end() -> None:
    server = RawServer(dialect=False, timeout=20)

    def flood() -> None:
        data = b"".join(struct.pack("<Q24x", number) for number in range(2048))
        try:
            for block in range(200):
                ids = [ChunkId(data[at : at + 31] + bytes([block])) for at in range(0, len(data), 32)]
                server.say(Request(ids))
        except OSError:
            pass

    thread = threading.Thread(target=flood)
    server.pusher._session.await_hello()
    thread.start()
    # The second where the flood is so slow that it is taken for all: the stream is read again, without those chunks.
    says = r"server: More than 262144 chunks were requested at once|is no longer part of it"
    with pytest.raises((ProtocolError, SourceChanged), match=says):
        server.push()
    thread.join()
