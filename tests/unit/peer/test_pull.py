"""Puller and pull server against each other, over pipes, with and without the dialect."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import NO_COMPRESSION
from casync_py.digest import SHA512_256
from casync_py.errors import ChunkInvalid, ChunkMissing, FormatError, PeerError
from casync_py.format.index import Index, IndexWriter
from casync_py.ids import ChunkId
from casync_py.options import StoreOptions
from casync_py.peer import pull_session
from casync_py.protocol import flags as f
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.store.memory import MemoryStore
from casync_py.store.verify import Verified
from casync_py.testing.pull_pair import PullPair
from casync_py.testing.recording import RecordingStore
from casync_py.testing.store_contract import StoreContract, absent, plain_of, sample
from casync_py.transport import driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from casync_py.peer.pull_archive import PullArchive
    from casync_py.store.base import Store


def memory(chunks: Sequence[Chunk]) -> MemoryStore:
    store = MemoryStore()
    for chunk in chunks:
        store.put(chunk)
    return store


class _Owned:
    """The store of a pair, which is closed with it."""

    pipelined = True

    def __init__(self, pair: PullPair) -> None:
        self._pair = pair
        self._store = pair.puller.store("far")
        self.name = self._store.name
        self.get = self._store.get
        self.get_many = self._store.get_many
        self.has_many = self._store.has_many

    def close(self) -> None:
        self._pair.close()


@pytest.mark.parametrize("ours", [True, False], ids=["dialect", "as casync"])
class TestPullStore(StoreContract):
    ours = True
    capacity: int | None = None

    @pytest.fixture(autouse=True)
    def choose(self, ours: bool) -> None:
        type(self).ours = ours

    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> Store:
        return _Owned(PullPair([memory(chunks)], ours=self.ours, capacity=self.capacity))


class TestPullStoreSmallPipes(TestPullStore):
    capacity = 4096


class TestVerifiedPullStore(TestPullStore):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> Store:
        return Verified(super().build(tmp_path, chunks), [SHA512_256])


SAMPLES = [sample(number, 20_000) for number in range(40)]
IDS = [chunk.chunk_id for chunk in SAMPLES]


@pytest.fixture(params=[True, False], ids=["dialect", "as casync"])
def ours(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def index_path(tmp_path: Path) -> str:
    """An index of more than one message."""
    path = tmp_path / "x.caibx"
    with path.open("wb") as file:
        writer = IndexWriter(file.write, 0xB000000000000000, (1 << 14, 1 << 16, 1 << 18))
        for number in range(9000):
            writer.append(1000 * (number + 1), SHA512_256.of(b"%d" % number))
        writer.finish()
    return str(path)


def test_chunks_come_as_they_are_stored(tmp_path: Path, ours: bool) -> None:
    plain = StoreOptions(compression=NO_COMPRESSION)
    with LocalStore(tmp_path / "a", plain, create=True) as one, LocalStore(tmp_path / "b", create=True) as two:
        one.put(SAMPLES[0])
        two.put(SAMPLES[1])
        with PullPair([one, two], ours=ours) as pair:
            store = pair.puller.store("far")
            for chunk, compressed in ((SAMPLES[0], False), (SAMPLES[1], True)):
                found = store.get(chunk.chunk_id)
                assert (found.stored(NO_COMPRESSION) is not None) == compressed
                assert found.plain() == chunk.plain()


def test_an_index_comes_while_nobody_asks(index_path: str, ours: bool) -> None:
    with PullPair(index=index_path, ours=ours) as pair:
        with pair.puller.index("far:x.caibx") as index, Index.open(index_path) as same:
            assert index.name == "far:x.caibx"
            assert list(index) == list(same)
        assert pair.puller.peer_flags == f.READABLE_INDEX
        assert pair.puller.dialect == ours
    assert pair.results == [True]


def _archive(tmp_path: Path, size: int) -> tuple[str, bytes]:
    content = random.Random(size).randbytes(size)
    path = tmp_path / "x.catar"
    path.write_bytes(content)
    return str(path), content


def _read(archive: PullArchive) -> Iterator[bytes]:
    while piece := archive.read():
        yield bytes(piece)


@pytest.mark.parametrize("size", [0, 1, 65536, 3_000_001])
def test_an_archive_comes_whole(tmp_path: Path, ours: bool, size: int) -> None:
    path, content = _archive(tmp_path, size)
    with PullPair(archive=path, ours=ours) as pair:
        assert b"".join(_read(pair.puller.archive("far:x.catar"))) == content
    assert pair.results == [True]


@pytest.mark.parametrize("piece", [1, 65536, 100_000, 2_000_000])
def test_parts_of_an_archive_can_be_left_out(tmp_path: Path, piece: int) -> None:
    path, content = _archive(tmp_path, 3_000_001)
    with PullPair(archive=path) as pair:
        archive = pair.puller.archive("far:x.catar")
        first = bytes(archive.read())
        archive.skip(piece)
        archive.skip(3)
        assert first + b"".join(_read(archive)) == first + content[len(first) + piece + 3 :]


def _until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does without telling anyone."""
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("It does not come to that")


@pytest.fixture
def patient_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pump loop looks after its handler only when it is told to."""
    monkeypatch.setattr(driver, "_SLICE_S", 1000.0)


@pytest.mark.timeout(20)
@pytest.mark.usefixtures("patient_loop")
def test_an_archive_that_nobody_reads_does_not_fill_the_memory(tmp_path: Path) -> None:
    path, content = _archive(tmp_path, 30_000_000)
    with PullPair(archive=path) as pair:
        archive = pair.puller.archive("far:x.catar")
        _until(lambda: archive._paused)
        assert archive._size < 12 << 20
        assert b"".join(_read(archive)) == content


@pytest.mark.timeout(20)
@pytest.mark.usefixtures("patient_loop")
def test_a_stream_that_nobody_reads_leaves_others_their_way(ours: bool) -> None:
    with PullPair([memory(SAMPLES)], ours=ours) as pair:
        store = pair.puller.store("far")
        stalled = store.get_many(IDS, 100_000, 20_000)
        other = store.get_many(IDS[-1:], 1)
        _until(lambda: pair.puller._exchange._paused)
        assert plain_of(next(other)[1]) == SAMPLES[-1].plain()
        assert store.get(IDS[-2]).plain() == SAMPLES[-2].plain()
        assert [plain_of(chunk) for _, chunk in stalled] == [chunk.plain() for chunk in SAMPLES]


def test_what_is_ready_ends_before_what_is_wrong() -> None:
    large = sample(99, 200_000)
    with PullPair([memory([*SAMPLES, large])]) as pair:
        store = pair.puller.store("far")
        stream = store.get_many([*IDS[:3], large.chunk_id, IDS[3]], limit=20_000)
        next(store.get_many([IDS[9]]))  # which was asked for last
        assert [chunk_id for chunk_id, _ in stream.ready(10)] == IDS[:3]
        with pytest.raises(ChunkInvalid):
            stream.ready(10)
        assert stream.ready(10) == []


def test_what_is_ready_is_there_after_the_connection_ended() -> None:
    with PullPair([memory(SAMPLES)]) as pair:
        store = pair.puller.store("far")
        stream = store.get_many([*IDS[:30], *IDS], 100_000, 20_000)
        for _ in range(3):
            next(stream)
        _until(lambda: pair.puller._exchange._paused)
        pair.puller.close()
        taken: list[Chunk | ChunkMissing] = []
        with pytest.raises(PeerError, match="closed"):
            taken.extend(found for _ in range(100) for _, found in stream.ready(1))
        assert taken


def test_a_session_that_is_closed_in_the_middle_ends_on_both_sides(tmp_path: Path, ours: bool) -> None:
    path, _content = _archive(tmp_path, 30_000_000)
    with PullPair([memory(SAMPLES)], archive=path, ours=ours) as pair:
        archive = pair.puller.archive("far:x.catar")
        archive.read()
        stream = pair.puller.store("far").get_many(IDS)
    assert len(pair.results) == 1
    with pytest.raises(PeerError, match="closed"):
        list(stream)
    pair.puller.close()


def test_each_id_is_answered_once_by_a_casync_so_a_new_session_follows(index_path: str) -> None:
    source = RecordingStore(memory(SAMPLES))
    with PullPair([source], index=index_path, ours=False) as pair:
        store = pair.puller.store("far")
        pair.puller._exchange.wanted.kept_limit = 0
        ids = [*IDS, absent(), *IDS, absent(), *IDS[:3]]
        found = list(store.get_many(ids, 200_000, 20_000))
        assert [plain_of(chunk) for _, chunk in found] == [
            None if chunk_id == absent() else SAMPLES[IDS.index(chunk_id)].plain() for chunk_id in ids
        ]
        assert pair.sessions == 3
        assert store.get(IDS[0]).plain() == SAMPLES[0].plain()
        with pytest.raises(ChunkMissing):
            store.get(absent())
        with pair.puller.index("x") as index:
            assert len(index) == 9000
    assert pair.sessions == 4
    assert pair.results == [True] * 4


def test_what_was_sent_lately_is_kept(ours: bool) -> None:
    source = RecordingStore(memory(SAMPLES))
    with PullPair([source], ours=ours) as pair:
        store = pair.puller.store("far")
        for _ in range(3):
            list(store.get_many([*IDS, absent()]))
            store.get(IDS[5])
        assert sorted(source.gets) == sorted([*IDS, absent()])  # each once; two threads read them
        assert pair.sessions == 1


def test_in_the_dialect_an_id_is_answered_again() -> None:
    source = RecordingStore(memory(SAMPLES))
    with PullPair([source]) as pair:
        store = pair.puller.store("far")
        assert pair.puller.dialect
        pair.puller._exchange.wanted.kept_limit = 0
        for _ in range(3):
            assert store.get(IDS[5]).plain() == SAMPLES[5].plain()
        assert source.gets == [IDS[5]] * 3
        assert pair.sessions == 1


@pytest.mark.parametrize("capacity", [4096, None])
def test_many_streams_and_single_gets_share_a_connection(ours: bool, capacity: int | None) -> None:
    with PullPair([memory(SAMPLES)], ours=ours, capacity=capacity) as pair:
        store = pair.puller.store("far")
        stalled = store.get_many(IDS * 3, 400_000, 20_000)  # holds its budget, and nobody takes anything
        failures: list[Exception] = []

        def read(seed: int) -> None:
            try:
                order = random.Random(seed).sample(SAMPLES, len(SAMPLES))
                found = store.get_many([chunk.chunk_id for chunk in order], 50_000, 20_000)
                for (_, chunk), expected in zip(found, order, strict=True):
                    assert plain_of(chunk) == expected.plain()
                    assert store.get(order[0].chunk_id).plain() == order[0].plain()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert [plain_of(chunk) for _, chunk in stalled] == [chunk.plain() for chunk in SAMPLES] * 3
        assert pair.puller._exchange.wanted.room == 0
        assert pair.puller._exchange.wanted.held == 0


def test_an_index_that_is_not_there(tmp_path: Path, ours: bool) -> None:
    path = str(tmp_path / "absent.caibx")
    with PullPair(index=path, ours=ours) as pair, pytest.raises(PeerError) as caught:
        pair.puller.index("far:absent.caibx")
    if ours:
        assert str(caught.value) == f"server: {path}: No such file or directory"
        assert pair.results == [False]
    else:
        assert "ended early" in str(caught.value)
        assert isinstance(pair.results[0], FileNotFoundError)


def test_what_is_no_index_is_not_sent(tmp_path: Path, ours: bool) -> None:
    path = tmp_path / "x.caibx"
    path.write_bytes(b"x" * 63)
    with PullPair(index=str(path), ours=ours) as pair, pytest.raises(PeerError):
        pair.puller.index("far:x.caibx")
    assert pair.results == [False] if ours else isinstance(pair.results[0], FormatError)


def test_an_index_is_checked_here_too(tmp_path: Path) -> None:
    path = tmp_path / "x.caibx"
    path.write_bytes(b"x" * 1000)
    with PullPair(index=str(path)) as pair, pytest.raises(FormatError) as caught:
        pair.puller.index("far:x.caibx")
    assert caught.value.name == "far:x.caibx"


def test_a_directory_is_no_archive(tmp_path: Path) -> None:
    with PullPair(archive=str(tmp_path)) as pair, pytest.raises(PeerError, match="Neither a regular file"):
        pair.puller.archive("far").read()
    assert pair.results == [False]


class _Failing(MemoryStore):
    def get(self, chunk_id: ChunkId, limit: int = 0) -> Chunk:
        raise PermissionError(13, "Permission denied", "/srv/s.castr/1234")


def test_a_store_that_cannot_be_read_is_no_store_that_lacks_a_chunk(ours: bool) -> None:
    with PullPair([_Failing()], ours=ours) as pair:
        with pytest.raises(PeerError) as caught:
            pair.puller.store("far").get(IDS[0])
        with pytest.raises(PeerError):
            next(pair.puller.store("far").get_many(IDS))
    if ours:
        assert str(caught.value) == "server: /srv/s.castr/1234: Permission denied"
    else:
        assert isinstance(pair.results[0], PermissionError)


def test_a_chunk_of_an_unusable_form_counts_as_missing_there(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "s", create=True) as store:
        store.put(SAMPLES[0])
        store.flush()
        link = tmp_path / "s" / absent().store_path(".cacnk")
        link.parent.mkdir()
        link.symlink_to("/dev/null")
        with PullPair([store]) as pair:
            found = dict(pair.puller.store("far").get_many([absent(), IDS[0]]))
    assert isinstance(found[absent()], ChunkMissing)
    assert plain_of(found[IDS[0]]) == SAMPLES[0].plain()


def test_a_chunk_that_is_too_large_is_dropped_when_it_comes() -> None:
    large = sample(99, 200_000)
    with PullPair([memory([*SAMPLES, large])]) as pair:
        store = pair.puller.store("far")
        with pytest.raises(ChunkInvalid, match="more than 25346") as caught:
            store.get(large.chunk_id, 20_000)
        assert caught.value.where == "far"
        stream = store.get_many([IDS[0], large.chunk_id, IDS[1]], limit=20_000)
        assert plain_of(next(stream)[1]) == SAMPLES[0].plain()
        with pytest.raises(ChunkInvalid):
            next(stream)


def test_a_chunk_larger_than_a_message_is_compressed_or_refused() -> None:
    plain = bytes(17 << 20)
    noise = random.Random(1).randbytes(17 << 20)
    chunks = [Chunk(ChunkId(SHA512_256.of(content)), plain=content) for content in (plain, noise)]
    with PullPair([memory(chunks)]) as pair:
        store = pair.puller.store("far")
        assert store.get(chunks[0].chunk_id).plain() == plain
        with pytest.raises(PeerError, match="more than can be sent"):
            store.get(chunks[1].chunk_id)


def test_a_connection_that_cannot_be_made_is_told_to_everyone() -> None:
    from casync_py.peer.puller import Puller

    def connect() -> tuple[object, object]:
        raise PeerError("Cannot be run", "nossh")

    puller = Puller(connect, timeout=1)  # type: ignore[arg-type]
    for attempt in (lambda: puller.peer_flags, lambda: puller.index("x"), lambda: puller.store("x").get(IDS[0])):
        with pytest.raises(PeerError, match="nossh: Cannot be run"):
            attempt()
    puller.close()


def test_a_session_with_casync_ends_before_it_remembers_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_session, "_ANSWERED_MAX", 10)
    with PullPair([memory(SAMPLES)], ours=False) as pair:
        store = pair.puller.store("far")
        for _ in range(2):
            found = [chunk for start in range(0, 40, 8) for _, chunk in store.get_many(IDS[start : start + 8])]
            assert [plain_of(chunk) for chunk in found] == [chunk.plain() for chunk in SAMPLES]
    assert pair.sessions == 3
