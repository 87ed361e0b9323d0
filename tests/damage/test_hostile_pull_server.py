"""A pull client against servers that are broken or mean: one error, bounded memory, nothing unverified."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import COMPRESSORS
from casync_py.digest import SHA512_256
from casync_py.errors import ChunkInvalid, ChunkMissing, FormatError, PeerError, ProtocolError
from casync_py.peer import pull_index
from casync_py.peer.puller import Puller
from casync_py.protocol import Connection, Role
from casync_py.protocol import flags as f
from casync_py.protocol.messages import (
    Abort,
    ArchiveData,
    ChunkData,
    Goodbye,
    Hello,
    IndexData,
    IndexEnd,
    Message,
    Missing,
    Request,
)
from casync_py.store.verify import Verified
from casync_py.testing.store_contract import absent, sample
from casync_py.testing.streams import socket_pair
from casync_py.transport.stream import SocketStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from casync_py.ids import ChunkId
    from casync_py.transport.stream import Stream

    Script = Callable[["Far"], None]
    Start = Callable[..., Puller]

FLAGS = f.READABLE_STORE | f.READABLE_INDEX | f.READABLE_ARCHIVE
SAMPLES = [sample(number) for number in range(50)]
IDS = [chunk.chunk_id for chunk in SAMPLES]
BIG = bytes(200_000)


class Far:
    """A server that does what a script says; both HELLOs were said."""

    def __init__(self, stream: Stream) -> None:
        assert isinstance(stream, SocketStream)
        self.socket = stream._socket
        self.socket.setblocking(True)
        self._connection = Connection(Role.PULL_SERVER, FLAGS)
        self.say(self._connection.send(Hello()))
        self._connection.receive(self.socket.recv(24))  # a socket that is closed with input unread resets the other end

    def say(self, *what: bytes | Message) -> None:
        for each in what:
            self.socket.sendall(each if isinstance(each, bytes) else b"".join(each.wire_parts()))

    def asked(self, count: int) -> list[ChunkId]:
        """Wait for so many ids."""
        ids: list[ChunkId] = []
        while len(ids) < count:
            data = self.socket.recv(1 << 16)
            assert data
            for message in self._connection.receive(data):
                if isinstance(message, Request):
                    ids += message.ids
        return ids

    def await_end(self) -> None:
        while self.socket.recv(1 << 16):
            pass


@pytest.fixture
def pull() -> Iterator[Callable[[Script], Puller]]:
    """Start a puller whose server runs a script, and then closes the connection."""
    threads: list[threading.Thread] = []
    pullers: list[Puller] = []

    def start(script: Script, flags: int = f.PULL_CHUNKS, timeout: float = 10) -> Puller:
        def connect() -> tuple[Stream, Connection]:
            client, server = socket_pair()

            def run() -> None:
                far = Far(server)
                try:
                    script(far)
                except OSError:  # the client had enough
                    pass
                finally:
                    server.close()

            threads.append(threading.Thread(target=run))
            threads[-1].start()
            return client, Connection(Role.PULL_CLIENT, flags)

        pullers.append(Puller(connect, timeout=timeout))
        return pullers[-1]

    yield start
    for puller in pullers:
        puller.close()
    for thread in threads:
        thread.join()


def fails(kind: type[Exception], says: str) -> AbstractContextManager[pytest.ExceptionInfo[Exception]]:
    return pytest.raises(kind, match=says)


@pytest.mark.parametrize("compressed", [True, False])
def test_wrong_content_never_leaves_the_check(pull: Start, compressed: bool) -> None:
    data = COMPRESSORS["zstd"].compress(b"wrong", None) if compressed else b"wrong"

    def script(far: Far) -> None:
        for chunk_id in far.asked(len(IDS)):
            place = IDS.index(chunk_id)
            content = data if place == 3 else COMPRESSORS["zstd"].compress(SAMPLES[place].plain(), None)
            far.say(ChunkData(chunk_id, content, compressed or place != 3))
        far.await_end()

    store = Verified(pull(script).store("far"), [SHA512_256], 1 << 18)
    stream = store.get_many(IDS)
    for chunk in SAMPLES[:3]:
        assert next(stream)[0] == chunk.chunk_id
    with fails(ChunkInvalid, "in far is invalid") as caught:
        next(stream)
    assert caught.value.chunk_id == IDS[3]  # type: ignore[attr-defined]


def test_a_bomb_is_not_unpacked(pull: Start) -> None:
    bomb = COMPRESSORS["zstd"].compress(bytes(100 << 20), None)

    def script(far: Far) -> None:
        far.say(ChunkData(far.asked(1)[0], bomb, True))
        far.await_end()

    store = Verified(pull(script).store("far"), [SHA512_256], 1 << 18)
    with fails(ChunkInvalid, "more than 262144"):
        store.get(IDS[0])


def test_chunks_larger_than_the_index_allows_are_dropped_at_once(pull: Start) -> None:
    def script(far: Far) -> None:
        for chunk_id in far.asked(len(IDS)):
            far.say(ChunkData(chunk_id, BIG, False))
        far.await_end()

    puller = pull(script)
    stream = puller.store("far").get_many(IDS, limit=1 << 16)
    with fails(ChunkInvalid, "more than"):
        next(stream)
    assert puller._exchange.wanted.held < 100_000


@pytest.mark.parametrize("message", [ChunkData(absent(), b"x", False), Missing(absent())])
def test_what_was_never_asked_for(pull: Start, message: Message) -> None:
    def script(far: Far) -> None:
        far.asked(1)
        far.say(message)
        far.await_end()

    with fails(ProtocolError, "without being requested"):
        pull(script).store("far").get(IDS[0])


def test_the_same_answer_twice(pull: Start) -> None:
    def script(far: Far) -> None:
        for chunk_id in far.asked(2):
            far.say(Missing(chunk_id), Missing(chunk_id))
        far.await_end()

    with fails(ProtocolError, "without being requested"):
        list(pull(script).store("far").get_many(IDS[:2]))


def test_everything_but_what_is_needed_first(pull: Start) -> None:
    ids = [sample(number, 10).chunk_id for number in range(400)]

    def script(far: Far) -> None:
        for chunk_id in far.asked(len(ids))[1:]:
            far.say(ChunkData(chunk_id, BIG, False))
        far.await_end()

    puller = pull(script)
    stream = puller.store("far").get_many(ids, 32 << 20, 1 << 18)
    with fails(PeerError, "before one that was asked for earlier"):
        next(stream)
    assert puller._exchange.wanted.held < 66 << 20


def test_chunks_that_nobody_takes_are_not_read(pull: Start) -> None:
    ids = [sample(number, 10).chunk_id for number in range(400)]
    sent = threading.Semaphore(0)
    blocked = threading.Event()

    def script(far: Far) -> None:
        asked = far.asked(15)
        far.socket.settimeout(0.3)
        try:
            while asked:
                for chunk_id in asked:
                    far.say(ChunkData(chunk_id, BIG, False))
                    sent.release()
                asked = far.asked(1)
        except TimeoutError:
            blocked.set()
            raise

    puller = pull(script)
    stream = puller.store("far").get_many(ids, 1 << 20, 1 << 18)
    assert blocked.wait(20)
    with puller._exchange.lock:
        assert puller._exchange.wanted.held < 3 << 20
    stream.close()


def test_an_index_without_end(pull: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_index, "TRAVELLING_INDEX_MAX", 10 << 20)

    def script(far: Far) -> None:
        while True:
            far.say(IndexData(BIG))

    with fails(PeerError, "more than 10485760 bytes as an index"):
        pull(script, f.PULL_INDEX).index("far:x.caibx")


@pytest.mark.parametrize("content", [b"", b"x" * 30, struct.pack("<8Q", 48, 0x96824D9C7B129FF9, 0, 9, 1, 2, 3, 4)])
def test_an_index_that_is_none(pull: Start, content: bytes) -> None:
    def script(far: Far) -> None:
        far.say(*([IndexData(content)] if content else []), IndexEnd())
        far.await_end()

    with fails(FormatError, "^far:x.caibx: "):
        pull(script, f.PULL_INDEX).index("far:x.caibx")


@pytest.mark.parametrize("flags", [f.PULL_INDEX, f.PULL_ARCHIVE, f.PULL_CHUNKS])
def test_silence(pull: Start, flags: int) -> None:
    puller = pull(Far.await_end, flags, timeout=0.2)
    with fails(PeerError, "Silent for 0.2 seconds"):
        if flags == f.PULL_INDEX:
            puller.index("x")
        elif flags == f.PULL_ARCHIVE:
            puller.archive("x").read()
        else:
            puller.store("x").get(IDS[0])


def test_an_archive_that_ends_early(pull: Start) -> None:
    archive = pull(lambda far: far.say(ArchiveData(b"begun")), f.PULL_ARCHIVE).archive("far:x")
    assert archive.read() == b"begun"
    with fails(PeerError, "ended early"):
        archive.read()


def test_what_came_before_the_end_is_used(pull: Start) -> None:
    def script(far: Far) -> None:
        for chunk_id in far.asked(len(IDS))[:20]:
            far.say(ChunkData(chunk_id, bytes(SAMPLES[IDS.index(chunk_id)].plain()), False))

    taken = 0
    with fails(PeerError, "ended early"):
        for _ in Verified(pull(script).store("far"), [SHA512_256]).get_many(IDS):
            taken += 1
    assert taken == 20


def test_goodbye_is_no_way_to_end_a_pull(pull: Start) -> None:
    def script(far: Far) -> None:
        far.asked(1)
        far.say(Goodbye())
        far.await_end()

    with fails(ProtocolError, "Unexpected GOODBYE"):
        pull(script).store("far").get(IDS[0])


def test_an_end_while_nothing_is_owed_shows_when_something_is_wanted(pull: Start) -> None:
    puller = pull(lambda far: far.say(Missing(far.asked(1)[0])))
    with pytest.raises(ChunkMissing):
        puller.store("far").get(IDS[0])
    with fails(PeerError, "server: "):
        puller.store("far").get(IDS[1])


def test_who_gives_up_says_why(pull: Start) -> None:
    def script(far: Far) -> None:
        far.asked(1)
        far.say(Abort(2, "No such thing"))
        far.await_end()

    with fails(PeerError, "^server: No such thing$"):
        pull(script).store("far").get(IDS[0])
