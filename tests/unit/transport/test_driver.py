"""The pump loop: real connections at both ends, over pipes as small as they get, over sockets, and bad peers."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import PeerError, ProtocolError
from casync_py.ids import ChunkId
from casync_py.protocol import flags as f
from casync_py.protocol.connection import Connection
from casync_py.protocol.messages import Abort, ArchiveData, ArchiveEnd, ChunkData, Hello, Message, Request
from casync_py.protocol.state import Role
from casync_py.testing.streams import pipe_pair, socket_pair
from casync_py.transport import driver as module
from casync_py.transport.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from casync_py.transport.stream import Stream

pytestmark = pytest.mark.usefixtures("nothing_left")

PULL = f.PULL_CHUNKS | f.PULL_ARCHIVE
OFFER = f.READABLE_STORE | f.READABLE_ARCHIVE
LONG_S = 30.0  # never waited for
SHORT_S = 0.05

Pair = tuple["Stream", "Stream"]


class Party:
    """One end: a handler that sends what it is told and keeps what it gets."""

    def __init__(self, stream: Stream, role: Role, flags: int, *, timeout: float = LONG_S) -> None:
        self.stream = stream
        self.connection = Connection(role, flags)
        self.driver = Driver(stream, self.connection, self, timeout=timeout)
        self.to_send: deque[Message] = deque([Hello()])
        self.got: list[Message] = []
        self.hungry = True
        self.owed = False
        self.has_ended = False
        self.on_message: Callable[[Message], None] = lambda _message: None
        self._thread = threading.Thread(target=self._run)
        self.error: BaseException | None = None

    def received(self, message: Message) -> None:
        self.got.append(message)
        self.on_message(message)

    def ended(self) -> None:
        self.has_ended = True

    def next_message(self) -> Message | None:
        if not self.to_send or (type(self.to_send[0]) is not Hello and self.connection.peer_flags is None):
            return None
        return self.to_send.popleft()

    def wants_input(self) -> bool:
        return self.hungry

    def waiting(self) -> bool:
        return self.owed

    def start(self) -> Party:
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self.driver.run()
        except Exception as error:  # for the test to look at
            self.error = error

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()

    def data(self) -> bytes:
        return b"".join(bytes(message.data) for message in self.got if isinstance(message, ArchiveData))


def client(stream: Stream, *, timeout: float = LONG_S) -> Party:
    return Party(stream, Role.PULL_CLIENT, PULL, timeout=timeout)


def server(stream: Stream, *, timeout: float = LONG_S) -> Party:
    return Party(stream, Role.PULL_SERVER, OFFER, timeout=timeout)


PAIRS: dict[str, Callable[[], Pair]] = {
    "pipes of 4096 bytes": lambda: pipe_pair(4096),
    "pipes of 64 KiB": pipe_pair,
    "pipes of 1 MiB": lambda: pipe_pair(1 << 20),
    "sockets": socket_pair,
}


@pytest.fixture(params=PAIRS, ids=str)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    streams = PAIRS[request.param]()
    yield streams
    for stream in streams:
        stream.close()


@pytest.fixture
def pipes() -> Iterator[Pair]:
    streams = pipe_pair()
    yield streams
    for stream in streams:
        stream.close()


def ids(count: int, first: int = 0) -> list[ChunkId]:
    return [ChunkId(number.to_bytes(32, "big")) for number in range(first, first + count)]


def hello(flags: int) -> bytes:
    return Connection(Role.PULL_SERVER if flags & f.READABLE else Role.PULL_CLIENT, flags).send(Hello())


def pieces(data: bytes, size: int) -> Iterable[ArchiveData]:
    return (ArchiveData(data[at : at + size]) for at in range(0, len(data), size))


def test_both_sides_write_much_at_once(pair: Pair) -> None:
    asked = ids(30_000)
    data = os.urandom(1_000_003)
    near, far = client(pair[0]), server(pair[1])
    near.to_send += [Request(asked[at : at + 2000]) for at in range(0, len(asked), 2000)]
    far.to_send += [*pieces(data, 65536), ArchiveEnd()]

    def seen(message: Message) -> None:
        requested = sum(len(m.ids) for m in far.got if isinstance(m, Request))
        if isinstance(message, Request) and requested == len(asked):
            far.to_send.append(ChunkData(asked[-1], b"last", False))

    far.on_message = seen
    near.on_message = lambda message: near.driver.stop() if isinstance(message, ChunkData) else None
    far.start()
    near.driver.run()
    far.join()
    assert far.error is None
    assert far.has_ended
    assert near.data() == data
    assert [i for m in far.got if isinstance(m, Request) for i in m.ids] == asked


def test_one_direction_into_a_pipe_that_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on by itself when everything was written at once and nothing comes back."""
    monkeypatch.setattr(module, "_SLICE_S", 1000.0)
    stream, raw = pipe_pair(1 << 20)
    far = server(stream)
    far.to_send += pieces(bytes(8 << 20), 1 << 16)
    os.write(raw.fileno_write(), hello(PULL))
    far.start()
    os.set_blocking(raw.fileno_read(), True)
    size, expected = 0, (8 << 20) + 128 * 16 + 24
    while size < expected:
        size += len(os.read(raw.fileno_read(), 1 << 20))
    raw.close()
    far.join()
    stream.close()
    assert far.error is None
    assert size == expected


def test_neither_side_reads_before_it_has_written(pipes: Pair) -> None:
    """What one side would do who writes all and then reads: the other goes on in both directions."""
    raw, stream = pipes
    far = server(stream)
    data = os.urandom(1 << 20)
    far.to_send += pieces(data, 1 << 16)
    far.start()
    os.set_blocking(raw.fileno_write(), True)
    requests = b"".join(_client_bytes(Request(ids(2000, at))) for at in range(0, 60_000, 2000))
    os.write(raw.fileno_write(), hello(PULL) + requests)
    raw.close_write()
    far.join()
    assert far.error is None
    assert sum(len(m.ids) for m in far.got if isinstance(m, Request)) == 60_000


def _client_bytes(message: Message) -> bytes:
    head, data = message.wire_parts()
    return bytes(head) + bytes(data)


def test_a_silent_peer(pair: Pair) -> None:
    near = client(pair[0], timeout=SHORT_S)
    with pytest.raises(PeerError, match=r"^server: Silent for 0\.05 seconds$"):
        near.driver.run()


def test_silence_after_hello_counts_only_where_something_is_owed(pipes: Pair) -> None:
    os.write(pipes[1].fileno_write(), hello(OFFER))
    near = client(pipes[0], timeout=SHORT_S)
    timer = threading.Timer(4 * SHORT_S, near.driver.stop)
    timer.start()
    near.driver.run()
    timer.join()


def test_silence_counts_from_when_something_is_owed(pipes: Pair) -> None:
    os.write(pipes[1].fileno_write(), hello(OFFER))
    near = client(pipes[0], timeout=0.4)
    now = threading.Event()

    def owe() -> None:
        for owed in (True, False, True):
            near.owed = owed
            near.driver.wake()
            now.wait(0.25)
        os.write(pipes[1].fileno_write(), _client_bytes(ArchiveData(b"x")))

    near.on_message = lambda message: near.driver.stop() if isinstance(message, ArchiveData) else None
    timer = threading.Timer(0.45, owe)
    timer.start()
    near.driver.run()
    timer.join()
    assert near.data() == b"x"


def test_silence_after_hello_where_something_is_owed(pipes: Pair) -> None:
    near = client(pipes[0], timeout=SHORT_S)
    near.owed = True
    os.write(pipes[1].fileno_write(), hello(OFFER))
    with pytest.raises(PeerError, match="Silent"):
        near.driver.run()


def test_our_own_pauses_are_no_silence(pipes: Pair) -> None:
    """Neither the time in which we do not want to read, nor that in which the handler works."""
    os.write(pipes[1].fileno_write(), hello(OFFER))
    near = client(pipes[0], timeout=SHORT_S)
    near.owed = True
    pause = threading.Event()

    def slow(message: Message) -> None:
        if isinstance(message, Hello):
            pause.wait(2 * SHORT_S)
            near.hungry = False
            timer.start()

    def hungry_again() -> None:
        os.write(pipes[1].fileno_write(), _client_bytes(ArchiveData(b"x")))
        near.hungry = True
        near.driver.wake()

    timer = threading.Timer(3 * SHORT_S, hungry_again)
    near.on_message = lambda message: near.driver.stop() if isinstance(message, ArchiveData) else slow(message)
    near.driver.run()
    timer.join()
    assert near.data() == b"x"


def test_a_process_that_was_stopped_gives_the_peer_another_chance(pipes: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z: the clock has jumped by an hour when the loop goes on."""
    real, jumps = time.monotonic, iter([0.0, 3600.0])
    offset = 0.0

    def monotonic() -> float:
        nonlocal offset
        offset += next(jumps, 0.0)
        return real() + offset

    monkeypatch.setattr(module, "_SLICE_S", SHORT_S)
    monkeypatch.setattr(time, "monotonic", monotonic)
    near = client(pipes[0], timeout=LONG_S)
    near.on_message = lambda _message: near.driver.stop()
    timer = threading.Timer(4 * SHORT_S, os.write, (pipes[1].fileno_write(), hello(OFFER)))
    timer.start()
    near.driver.run()
    timer.join()
    assert near.got


def test_wakes_do_not_hide_silence(pipes: Pair) -> None:
    near = client(pipes[0], timeout=SHORT_S)
    near.on_message = lambda _message: None
    ended = threading.Event()

    def wake() -> None:
        while not ended.is_set():
            near.driver.wake()

    waker = threading.Thread(target=wake)
    waker.start()
    try:
        with pytest.raises(PeerError, match="Silent"):
            near.driver.run()
    finally:
        ended.set()
        waker.join()


def test_a_peer_that_never_reads(pair: Pair) -> None:
    far = server(pair[1], timeout=SHORT_S)
    far.to_send += pieces(bytes(8 << 20), 1 << 20)
    os.write(pair[0].fileno_write(), hello(PULL))
    with pytest.raises(PeerError, match=r"^client: Read nothing of what was sent for 0\.05 seconds$"):
        far.driver.run()


@pytest.mark.parametrize("does", ["reads", "writes"])
def test_a_peer_that_does_a_little_now_and_then_is_alive(pipes: Pair, does: str) -> None:
    raw = pipes[0]
    os.set_blocking(raw.fileno_read(), True)
    os.write(raw.fileno_write(), hello(PULL))
    far = server(pipes[1], timeout=1.0)
    far.owed = True
    if does == "reads":
        far.to_send += pieces(bytes(8 << 20), 1 << 16)
    far.start()
    for number in range(3):
        assert not far.driver.wait(0.45)
        if does == "reads":
            os.read(raw.fileno_read(), 10_000)
        else:
            os.write(raw.fileno_write(), _client_bytes(Request(ids(1, number))))
    far.driver.stop()
    raw.close()
    far.join()
    assert far.error is None


@pytest.mark.parametrize("sent", [0, 10, 24, 40])
def test_a_peer_that_ends_early(pair: Pair, sent: int) -> None:
    data = hello(OFFER) + _client_bytes(ArchiveData(b"abc"))
    os.write(pair[1].fileno_write(), data[:sent])
    pair[1].close()
    near = client(pair[0])
    with pytest.raises(PeerError, match=r"^server: .*ended early"):
        near.driver.run()


def test_a_peer_that_is_gone_while_we_write(pair: Pair) -> None:
    far = server(pair[1])
    far.to_send += pieces(bytes(8 << 20), 1 << 20)
    far.start()
    os.write(pair[0].fileno_write(), hello(PULL))
    room = memoryview(bytearray(100_000))
    while pair[0].read_into(room) is None:
        pass
    pair[0].close()
    far.join()
    # A client may go at any time; a socket says "reset" where unread data is lost
    assert far.error is None or "Connection reset" in str(far.error)


def test_a_peer_that_closes_only_what_it_reads_may_still_speak(pipes: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last words (here: that it gives up) reach us although we cannot write any more."""
    raw = pipes[1]
    near = client(pipes[0])
    _close_read(raw)
    timer = threading.Timer(
        SHORT_S, os.write, (raw.fileno_write(), hello(OFFER) + _client_bytes(Abort(28, "No space left")))
    )
    timer.start()
    with pytest.raises(PeerError, match=r"^server: No space left$"):
        near.driver.run()
    timer.join()


def test_a_peer_that_closes_only_what_it_reads_and_is_silent(pipes: Pair) -> None:
    near = client(pipes[0], timeout=SHORT_S)
    _close_read(pipes[1])
    with pytest.raises(PeerError, match=r"^server: Stopped reading before the end$"):
        near.driver.run()


def _close_read(stream: Stream) -> None:
    """Close the reading descriptor's file; the number stays open, for the stream to close."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, stream.fileno_read(), inheritable=False)
    os.close(null)


def test_an_abort_ends_the_loop_although_the_peer_stays(pipes: Pair) -> None:
    os.write(pipes[1].fileno_write(), hello(OFFER) + _client_bytes(Abort(2, "No such index")))
    near = client(pipes[0])
    with pytest.raises(PeerError, match=r"^server: No such index$"):
        near.driver.run()
    assert isinstance(near.got[-1], Abort)


def test_junk_is_a_protocol_error_with_the_streams_name(pipes: Pair) -> None:
    os.write(pipes[1].fileno_write(), b"Welcome to this machine, have a nice day\n" * 3)
    near = client(pipes[0])
    with pytest.raises(ProtocolError) as caught:
        near.driver.run()
    assert caught.value.name == "server"
    assert "Welcome" in str(caught.value)


def test_an_error_of_the_handler_leaves_the_loop(pipes: Pair) -> None:
    os.write(pipes[1].fileno_write(), hello(OFFER))
    near = client(pipes[0])

    def fail(_message: Message) -> None:
        raise KeyError("mine")

    near.on_message = fail
    with pytest.raises(KeyError, match="mine"):
        near.driver.run()
    near.driver.wake()  # too late, and harmless
    near.driver.stop()


def test_stop_writes_what_is_buffered_and_closes(pipes: Pair) -> None:
    """From another thread, while the peer owes us something and says nothing."""
    near = client(pipes[0])
    near.owed = True
    near.start()
    os.set_blocking(pipes[1].fileno_read(), True)
    assert os.read(pipes[1].fileno_read(), 1000) == hello(PULL)
    near.driver.stop()
    near.join()
    assert near.error is None
    assert os.read(pipes[1].fileno_read(), 1000) == b""


def test_stop_does_not_wait_for_a_peer_that_does_not_read(pipes: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STOP_S", SHORT_S)
    far = server(pipes[1])
    far.to_send += pieces(bytes(8 << 20), 1 << 20)
    written = threading.Event()
    far.on_message = lambda _message: written.set()
    far.start()
    os.write(pipes[0].fileno_write(), hello(PULL))
    assert written.wait(10)
    far.driver.stop()
    far.join()
    assert far.error is None


def test_stop_writes_to_a_peer_that_must_be_read_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the peer still writes is thrown away, so that it comes to reading."""
    monkeypatch.setattr(module, "_STOP_S", LONG_S)
    stream, raw = pipe_pair(4096)
    near = client(stream)
    near.to_send += [Request(ids(2000, at)) for at in range(0, 60_000, 2000)]
    near.on_message = lambda message: near.driver.stop() if isinstance(message, ArchiveData) else None
    near.start()
    os.set_blocking(raw.fileno_write(), True)
    os.set_blocking(raw.fileno_read(), True)
    os.write(raw.fileno_write(), hello(OFFER) + _client_bytes(ArchiveData(bytes(1 << 20))) * 2)
    with open(raw.fileno_read(), "rb", closefd=False) as file:
        got = file.read()
    near.join()
    raw.close()
    stream.close()
    assert near.error is None
    sent = 30 - len(near.to_send)
    assert sent > 4
    assert len(got) == len(hello(PULL)) + sent * len(_client_bytes(Request(ids(2000))))


def test_stop_before_the_loop(pipes: Pair) -> None:
    near = client(pipes[0])
    near.driver.stop()
    near.driver.run()
    os.set_blocking(pipes[1].fileno_read(), True)
    assert os.read(pipes[1].fileno_read(), 1) == b""


def test_no_wake_is_lost(pair: Pair) -> None:
    """Each chunk is only made when the answer to the one before has come, by a thread that wakes the loop."""
    count = 2000
    near, far = client(pair[0]), server(pair[1])
    arrived = threading.Semaphore(0)
    near.on_message = lambda message: arrived.release() if isinstance(message, ArchiveData) else None
    far.start()
    near.start()
    for number in range(count):
        far.to_send.append(ArchiveData(number.to_bytes(4, "big")))
        far.driver.wake()
        assert arrived.acquire(timeout=10)
    near.driver.stop()
    near.join()
    far.join()
    assert near.data() == b"".join(number.to_bytes(4, "big") for number in range(count))


def test_what_is_not_wanted_stays_with_the_peer(pipes: Pair) -> None:
    near, far = client(pipes[0]), server(pipes[1])
    far.to_send += pieces(bytes(4 << 20), 1 << 16)
    full = threading.Event()

    def pause(message: Message) -> None:
        if isinstance(message, ArchiveData):
            near.hungry = False
            full.set()

    near.on_message = pause
    far.start()
    near.start()
    assert full.wait(10)
    left = len(far.to_send)
    assert left > 40  # 64 KiB in the pipe, 256 KiB and one message in the peer's output, and what one read brought
    near.on_message = lambda _message: near.driver.stop() if len(near.data()) == 4 << 20 else None
    near.hungry = True
    near.driver.wake()
    near.join()
    far.join()
    assert len(near.data()) == 4 << 20


def test_the_handler_is_not_asked_for_more_than_the_peer_takes(pipes: Pair) -> None:
    far = server(pipes[1], timeout=SHORT_S)
    far.to_send += pieces(bytes(4 << 20), 1 << 16)
    os.write(pipes[0].fileno_write(), hello(PULL))
    with pytest.raises(PeerError, match="Read nothing"):
        far.driver.run()
    assert len(far.to_send) >= 64 - 1 - 5 - 1  # a pipe of 64 KiB, 256 KiB of output, a started message
