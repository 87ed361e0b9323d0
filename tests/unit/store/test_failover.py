"""Mirrors: which one is asked, what happens when it fails, when it is asked again, and what is said."""

from __future__ import annotations

import copy
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from casync_py.digest import SHA512_256
from casync_py.errors import ChunkInvalid, ChunkMissing, PeerError, UsageError
from casync_py.monitor import Monitor
from casync_py.store.chunk import Chunk
from casync_py.store.failover import FailoverStore
from casync_py.store.memory import MemoryStore
from casync_py.store.mirror import MOST_PAUSE_S, Mirror
from casync_py.store.router import RouterStore
from casync_py.store.verify import Verified
from casync_py.testing.pipelined import PipelinedStore
from casync_py.testing.store_contract import StoreContract, absent, plain_of, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from casync_py.ids import ChunkId
    from casync_py.store.base import Store

SAMPLES = [sample(number, 300) for number in range(60)]
IDS = [chunk.chunk_id for chunk in SAMPLES]


class Server:
    """A store somewhere else: how often it was connected to, what was asked, and whether it is there at all.

    Attributes:
        down: what connecting and asking raise.
        fails_after: chunks that one stream delivers before it raises `PeerError`; None: it does not.
    """

    def __init__(self, name: str, chunks: Sequence[Chunk] = SAMPLES, *, near: bool = False) -> None:
        self.name = name
        self.chunks = MemoryStore(name)
        for chunk in chunks:
            self.chunks.put(chunk)
        self.near = near
        self.down: Exception | None = None
        self.fails_after: int | None = None
        self.opened: list[_Connection] = []

    def connect(self) -> Store:
        if self.down is not None:
            raise copy.copy(self.down)
        connection = _Connection(self)
        self.opened.append(connection)
        return Verified(connection.far if not self.near else connection, [SHA512_256], jobs=2)

    @property
    def asked(self) -> list[ChunkId]:
        return [chunk_id for connection in self.opened for ids in connection.far.asked for chunk_id in ids]

    @property
    def open_now(self) -> int:
        return sum(not connection.closed for connection in self.opened)


class _Connection(MemoryStore):
    """One connection to a server."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.name)
        self.server = server
        self.closed = False
        self.far = PipelinedStore(self, seed=len(server.opened))
        if server.fails_after is not None:
            self.far.failure = PeerError("Connection reset", server.name)
            self.far.fails_after = server.fails_after

    def get(self, chunk_id: ChunkId, limit: int = 1 << 27) -> Chunk:
        assert not self.closed
        if self.server.down is not None:
            raise self.server.down
        return self.server.chunks.get(chunk_id, limit)

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        if self.server.down is not None:
            raise self.server.down
        return self.server.chunks.has_many(ids)

    def close(self) -> None:
        self.closed = True


class Group:
    """Servers behind one store, with a clock that only waiting and the test move."""

    def __init__(self, *servers: Server, patience: int = 6) -> None:
        self.servers = servers
        self.now = 1000.0
        self.waits: list[float] = []
        self.monitor = Monitor()
        self.details: list[str] = []
        self.monitor.on_detail = self.details.append
        self.while_waiting: Callable[[], None] = lambda: None
        mirrors = [Mirror(server.name, server.connect, clock=self.clock) for server in servers]
        self.store = FailoverStore(mirrors, self.monitor, patience=patience, clock=self.clock, wait=self.wait)

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        self.while_waiting()

    def read(self, ids: Sequence[ChunkId] = IDS) -> list[bytes | None]:
        found = list(self.store.get_many(ids))
        assert [chunk_id for chunk_id, _ in found] == list(ids)
        return [plain_of(chunk) for _, chunk in found]


def plains(chunks: Sequence[Chunk] = SAMPLES) -> list[bytes | None]:
    return [bytes(chunk.plain()) for chunk in chunks]


def gone(name: str = "a") -> PeerError:
    return PeerError("Connection refused", name)


class TestOneMirror(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> FailoverStore:
        return Group(Server("a", chunks)).store


class TestFirstIsDownAtFirst(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> FailoverStore:
        down = Server("a", chunks[:4])
        down.down = gone()
        group = Group(down, Server("b", chunks, near=True))
        assert group.store.has_many([chunks[0].chunk_id]) == [True]
        down.down = None
        return group.store


class TestSpread(StoreContract):
    """Each of three has a part, and the first breaks its streams; what none has is missing from all."""

    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> FailoverStore:
        servers = [Server(name, chunks[number::3]) for number, name in enumerate("abc")]
        servers[0].fails_after = 5
        return Group(*servers).store


class TestRoutedBehindANearStore(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> RouterStore:
        near = MemoryStore()
        for chunk in chunks[::2]:
            near.put(chunk)
        return RouterStore([near, Group(Server("a", chunks[:3]), Server("b", chunks)).store])


def test_the_preferred_one_is_asked_and_the_others_are_not_even_opened() -> None:
    a, b = Server("a"), Server("b")
    group = Group(a, b)
    assert group.read() == plains()
    assert bytes(group.store.get(IDS[0]).plain()) == SAMPLES[0].plain()
    assert group.store.has_many(IDS) == [True] * len(IDS)
    assert (len(a.opened), len(b.opened)) == (1, 0)
    assert group.monitor.notices == []
    group.store.close()
    assert a.open_now == 0


@pytest.mark.parametrize("error", [gone(), ConnectionResetError(104, "Connection reset by peer")])
def test_one_that_is_down_is_told_once(error: Exception) -> None:
    a, b = Server("a"), Server("b")
    a.down = error
    group = Group(a, b)
    for _ in range(3):
        assert group.read() == plains()
        group.now += 2 * MOST_PAUSE_S
    assert len(group.monitor.notices) == 1
    assert group.monitor.notices[0].endswith(", going on with another mirror")
    assert "onnection re" in group.monitor.notices[0]
    assert group.waits == []


@pytest.mark.parametrize("after", [0, 1, 17, 59])
def test_a_stream_that_breaks_goes_on_where_it_was(after: int) -> None:
    a, b = Server("a"), Server("b")
    a.fails_after = after
    group = Group(a, b)
    assert group.read() == plains()
    assert b.asked == IDS[after:]
    assert a.open_now == 0
    assert group.waits == []


def test_a_long_stream_comes_back_to_the_preferred_one() -> None:
    a, b = Server("a"), Server("b")
    a.fails_after = 100
    group = Group(a, b)
    stream = group.store.get_many(IDS * 200)
    taken = [next(stream)[0] for _ in range(300)]
    a.fails_after = None
    group.now += 2.0  # the first pause is over
    taken += [chunk_id for chunk_id, _ in stream]
    assert taken == IDS * 200
    assert len(b.asked) < 3000
    assert len(a.opened) == 2
    group.store.close()
    assert a.open_now == b.open_now == 0


def test_the_pause_grows_with_failures_and_with_their_length() -> None:
    a, b = Server("a"), Server("b")
    a.down = gone()
    group = Group(a, b)
    mirror = group.store.mirrors[0]
    pauses = []
    for _ in range(9):
        assert mirror.acquire() is None
        pauses.append(mirror.wait_s(needed=False))
        group.now += pauses[-1]
    assert all(0.75 * 2**number <= pause <= 1.25 * 2**number for number, pause in enumerate(pauses[:6]))
    assert all(0.75 * MOST_PAUSE_S <= pause <= 1.25 * MOST_PAUSE_S for pause in pauses[6:])
    assert len(set(pauses[6:])) == 3  # spread
    mirror.failed(None, gone(), began=group.now - 100)
    assert mirror.wait_s(needed=False) >= 0.75 * 800
    assert mirror.wait_s(needed=True) <= 1.25 * 15


def test_when_all_are_down_it_waits_and_goes_on() -> None:
    a, b = Server("a"), Server("b")
    a.down, b.down = gone("a"), gone("b")
    group = Group(a, b)

    def come_back() -> None:
        if len(group.waits) == 4:
            b.down = None

    group.while_waiting = come_back
    assert group.read() == plains()
    assert 4 <= len(group.waits) <= 6
    assert sorted(group.monitor.notices) == [
        "a: Connection refused, going on with another mirror",
        "b: Connection refused, going on with another mirror",
    ]
    assert group.details[0] in ("Failed again: a: Connection refused", "Failed again: b: Connection refused")


@pytest.mark.parametrize("way", ["get", "get_many", "has_many"])
def test_when_none_comes_back_the_trouble_of_the_first_is_raised(way: str) -> None:
    a, b = Server("a"), Server("b")
    a.down, b.down = gone("a"), gone("b")
    group = Group(a, b, patience=3)
    ask: dict[str, Callable[[], object]] = {
        "get": lambda: group.store.get(IDS[0]),
        "get_many": group.read,
        "has_many": lambda: group.store.has_many(IDS),
    }
    for _ in range(2):
        with pytest.raises(PeerError, match="a: Connection refused"):
            ask[way]()
        assert sum(group.waits) < 3


def test_what_will_not_come_back_is_not_waited_for() -> None:
    a, b = Server("a"), Server("b")
    a.down, b.down = FileNotFoundError(2, "No such file or directory", "a"), PermissionError(13, "Denied", "b")
    group = Group(a, b)
    with pytest.raises(FileNotFoundError):
        group.read()
    assert group.waits == []
    assert group.monitor.notices[0] == "a: No such file or directory, going on with another mirror"


def test_a_mirror_that_always_breaks_after_a_chunk_is_no_dead_end() -> None:
    a = Server("a")
    a.fails_after = 1
    group = Group(a, patience=2)
    assert group.read() == plains()
    assert group.monitor.notices == ["a: Connection reset, trying again"]


def test_a_mistake_is_no_trouble() -> None:
    a, b = Server("a"), Server("b")
    a.down = UsageError("Nonsense")
    with pytest.raises(UsageError, match="Nonsense"):
        Group(a, b).read()
    assert b.opened == []


@pytest.mark.parametrize("near", [False, True])
def test_what_one_lacks_comes_from_the_others_in_few_questions(near: bool) -> None:
    a, b, c = Server("a", SAMPLES[::2], near=near), Server("b", SAMPLES[1::4], near=near), Server("c", near=near)
    group = Group(a, b, c)
    assert group.read([*IDS, absent()]) == [*plains(), None]
    if not near:
        assert b.asked == [*IDS[1::2], absent()]
        assert c.asked == [*IDS[3::4], absent()]
    missing = next(iter(group.store.get_many([absent()])))[1]
    assert isinstance(missing, ChunkMissing)
    assert missing.where == "a, b, c"
    assert group.store.has_many([*IDS, absent()]) == [True] * len(IDS) + [False]
    with pytest.raises(ChunkMissing, match="a, b, c"):
        group.store.get(absent())


def test_missing_is_only_said_when_all_have_said_so() -> None:
    a, b = Server("a", []), Server("b")
    b.down = gone("b")
    store = Group(a, b, patience=2).store
    ways: list[Callable[[], object]] = [
        lambda: store.get(IDS[0]),
        lambda: list(store.get_many(IDS)),
        lambda: store.has_many(IDS),
    ]
    for ask in ways:
        with pytest.raises(PeerError, match="b: Connection refused"):
            ask()


def damaged(places: Sequence[int]) -> list[Chunk]:
    return [Chunk(chunk.chunk_id, plain=b"else") if at in places else chunk for at, chunk in enumerate(SAMPLES)]


@pytest.mark.parametrize("places", [[7], [0, 59], list(range(60))])
def test_what_one_has_damaged_comes_from_the_others(places: list[int]) -> None:
    a, b = Server("a", damaged(places)), Server("b")
    group = Group(a, b)
    assert group.read() == plains()
    assert [bytes(group.store.get(chunk_id).plain()) for chunk_id in IDS] == plains()
    many = 2 * len(places) > 3  # both readings count
    assert [notice[:6] for notice in group.monitor.notices] == (["Chunk "] if many else [])


def test_what_is_damaged_everywhere_is_told_as_such() -> None:
    group = Group(Server("a", damaged([7])), Server("b", [*SAMPLES[:7], *SAMPLES[8:]]))
    stream = group.store.get_many(IDS)
    assert [plain_of(next(stream)[1]) for _ in range(7)] == plains()[:7]
    with pytest.raises(ChunkInvalid):
        next(stream)
    with pytest.raises(ChunkInvalid):
        group.store.get(IDS[7])


def test_a_store_is_closed_when_the_last_who_uses_it_leaves() -> None:
    a, b = Server("a"), Server("b")
    group = Group(a, b)
    first, second = group.store.get_many(IDS), group.store.get_many(IDS)
    next(first)
    next(second)
    a.opened[0].far.failure, a.opened[0].far.fails_after = gone(), 40
    assert len(list(first)) == 59
    assert a.open_now == 1
    assert len(list(second)) == 59
    assert a.open_now == 0
    assert len(group.monitor.notices) == 1


def test_closing_ends_the_waiting() -> None:
    a = Server("a")
    a.down = gone()
    mirror = Mirror("a", a.connect)
    store = FailoverStore([mirror], Monitor(), patience=1000)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.get, IDS[0])
        while mirror.failures < 2:
            pass
        store.close()
        with pytest.raises(PeerError, match="closed"):
            waiting.result()


def test_many_threads_with_servers_that_come_and_go() -> None:
    servers = [Server(name) for name in "abc"]
    for server in servers[:2]:
        server.fails_after = 20
    mirrors = [Mirror(server.name, server.connect) for server in servers]
    store = FailoverStore(mirrors, Monitor())
    stop = threading.Event()

    def meddle() -> None:
        chance = random.Random(1)
        while not stop.wait(0.001):
            servers[chance.randrange(2)].down = chance.choice([None, gone()])

    def read(seed: int) -> bool:
        order = random.Random(seed).sample(SAMPLES, len(SAMPLES)) * 4
        return [plain_of(found) for _, found in store.get_many([chunk.chunk_id for chunk in order])] == plains(order)

    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(read, range(30)))
    finally:
        stop.set()
        meddler.join()
    store.close()
    assert [server.open_now for server in servers] == [0, 0, 0]


@pytest.fixture(params=range(12))
def seeds(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.param)


def test_whatever_each_has_and_breaks(seeds: random.Random) -> None:
    """Some chunks are damaged here and missing there; what is whole anywhere is delivered."""
    servers = []
    for name in "abcd":
        damage = seeds.sample(range(60), seeds.choice([0, 3, 20]))
        chunks = [chunk for chunk in damaged(damage) if seeds.random() < 0.7]
        servers.append(Server(name, chunks))
        servers[-1].fails_after = seeds.choice([None, 7, 30])
    good = {
        chunk.chunk_id
        for chunk in SAMPLES
        for server in servers
        if server.chunks.has_many([chunk.chunk_id])[0]
        and bytes(server.chunks.get(chunk.chunk_id).plain()) == chunk.plain()
    }
    anywhere = {chunk_id for chunk_id in IDS for server in servers if server.chunks.has_many([chunk_id])[0]}
    readable = [chunk for chunk in SAMPLES if chunk.chunk_id in good or chunk.chunk_id not in anywhere]
    expected = [bytes(chunk.plain()) if chunk.chunk_id in good else None for chunk in readable]
    assert Group(*servers).read([chunk.chunk_id for chunk in readable]) == expected
