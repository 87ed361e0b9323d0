"""Pusher and push server against each other, over pipes, with and without the dialect."""

from __future__ import annotations

import os
import random
import threading
from typing import TYPE_CHECKING

import pytest

from casync_py.chunking.params import ChunkParams
from casync_py.compression import NO_COMPRESSION
from casync_py.digest import BLAKE3, SHA512_256, Digest
from casync_py.errors import PeerError, SourceChanged, UsageError
from casync_py.format.index import Index
from casync_py.ids import ChunkId
from casync_py.monitor import Monitor
from casync_py.options import Resources
from casync_py.peer import push_handler, pusher
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.store.memory import MemoryStore
from casync_py.store.verify import verified
from casync_py.sync.make import Made, blob_stream, make_index
from casync_py.sync.upload import LocalFile, PairedUpload, Upload, UploadPlan, local_upload
from casync_py.testing.push_pair import PushPair
from casync_py.testing.recording import RecordingStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PARAMS = ChunkParams.derive(1 << 10, 1 << 12, 1 << 14)
PLAN = UploadPlan(SHA512_256.flag, PARAMS)


class BytesSource:
    """A blob in memory; what is read can be changed from one reading to the next."""

    def __init__(self, *readings: bytes) -> None:
        self.readings = list(readings)
        self.times_read = 0
        self.size = len(readings[0])
        self._at = 0

    def rewind(self) -> None:
        self.times_read += 1
        self._data = self.readings[min(self.times_read, len(self.readings)) - 1]
        self._at = 0

    def read_into(self, view: memoryview) -> int:
        piece = self._data[self._at : self._at + len(view)]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def make(source: BytesSource, upload: Upload, monitor: Monitor, digest: Digest = SHA512_256) -> Made:
    resources = Resources(jobs=2, memory=4 << 20)
    return make_index(
        blob_stream(source), upload, PARAMS, digest, stream_digest=False, resources=resources, monitor=monitor
    )


def pushed(data: bytes, pair: PushPair, *, memory: int = 96 << 20) -> BytesSource:
    source = BytesSource(data)
    make(source, pair.pusher(PLAN, memory=memory), pair.monitor)
    assert pair.result() is True
    return source


def local(data: bytes, folder: Path) -> tuple[bytes, Monitor, MemoryStore]:
    """The same made locally: the index's bytes, the counters, the chunks."""
    store, monitor, path = MemoryStore(), Monitor(), str(folder / "local.caibx")
    make(BytesSource(data), local_upload(path, store, PLAN), monitor)
    with open(path, "rb") as file:
        return file.read(), monitor, store


def counts(monitor: Monitor) -> tuple[int, ...]:
    return monitor.chunks_new, monitor.chunks_reused, monitor.bytes_new, monitor.bytes_reused, monitor.done


DATA = random.Random(1).randbytes(600_000)


@pytest.fixture(params=[True, False], ids=["dialect", "as casync"])
def ours(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusher, "_PATIENCE_S", (0.001, 0.001))
    monkeypatch.setattr(pusher, "_QUIET_S", 0.05)


@pytest.mark.parametrize("capacity", [None, 4096])
@pytest.mark.parametrize("data", [DATA, b"", b"x", bytes(100_000), DATA[:50_000] * 5], ids=len)
def test_the_same_as_made_there(tmp_path: Path, ours: bool, capacity: int | None, data: bytes) -> None:
    expected, monitor, chunks = local(data, tmp_path)
    store, path = RecordingStore(MemoryStore()), tmp_path / "x.caibx"
    pair = PushPair(store, index=str(path), ours=ours, capacity=capacity)
    pushed(data, pair)
    assert path.read_bytes() == expected
    assert sorted(store.puts) == sorted(chunks.iter_ids())
    assert store.flushes
    for chunk_id in store.puts:
        verified(store.get(chunk_id), [SHA512_256])
    assert counts(pair.monitor) == counts(monitor)
    assert sorted(os.listdir(tmp_path)) == ["local.caibx", "x.caibx"]


def test_only_what_is_lacking_is_sent(tmp_path: Path, ours: bool) -> None:
    _index, _monitor, chunks = local(DATA, tmp_path)
    ids = list(chunks.iter_ids())
    here, extra = MemoryStore(), MemoryStore()
    for number, chunk_id in enumerate(ids):
        if number % 3 != 2:
            (here, extra)[number % 3].put(chunks.get(chunk_id))
    store = RecordingStore(here)
    pair = PushPair(store, index=str(tmp_path / "x.caibx"), extra=[extra], ours=ours)
    pushed(DATA, pair)
    assert sorted(store.puts) == sorted(ids[2::3])
    assert not store.puts_known
    assert pair.monitor.chunks_new == len(ids[2::3])
    assert pair.monitor.chunks_reused == len(ids) - len(ids[2::3])
    assert pair.monitor.bytes_new + pair.monitor.bytes_reused == len(DATA)


def test_little_memory(tmp_path: Path) -> None:
    """The dialect says what is not wanted, so that nothing has to be read again."""
    for _ in range(2):  # nothing known, all known
        store = LocalStore(tmp_path / "x.castr", create=True)
        pair = PushPair(store, index=str(tmp_path / "x.caibx"))
        assert pushed(DATA, pair, memory=60_000).times_read == 1
        store.close()
    assert pair.monitor.chunks_new == 0


def test_casync_that_has_all_is_not_waited_for_long(tmp_path: Path, impatient: None) -> None:
    _index, monitor, chunks = local(DATA, tmp_path)
    pair = PushPair(chunks, index=str(tmp_path / "x.caibx"), ours=False)
    assert pushed(DATA, pair, memory=60_000).times_read == 1
    assert pair.monitor.chunks_reused == monitor.chunks_new + monitor.chunks_reused


class SlowStore(MemoryStore):
    """Looks at nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_look = threading.Event()

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        assert self.may_look.wait(20)
        return super().recognise(ids)


def slow_push(store: SlowStore, pair: PushPair, source: BytesSource) -> None:
    """Push to an end that asks for everything when the last row was sent and most chunks were dropped."""
    upload = pair.pusher(PLAN, memory=60_000)
    wants_again = upload.wants_again

    def all_sent() -> bool:
        store.may_look.set()
        return wants_again()

    upload.wants_again = all_sent  # type: ignore[method-assign]
    make(source, upload, pair.monitor)


def test_dropped_chunks_are_read_again(tmp_path: Path, impatient: None) -> None:
    store, source = SlowStore(), BytesSource(DATA)
    pair = PushPair(store, index=str(tmp_path / "x.caibx"), ours=False)
    slow_push(store, pair, source)
    assert pair.result() is True
    expected, monitor, chunks = local(DATA, tmp_path)
    assert source.times_read == 2
    assert sorted(store.iter_ids()) == sorted(chunks.iter_ids())
    assert (tmp_path / "x.caibx").read_bytes() == expected
    assert counts(pair.monitor) == counts(monitor)


def test_a_source_that_changed_before_it_was_read_again(tmp_path: Path, impatient: None) -> None:
    store, source = SlowStore(), BytesSource(DATA, random.Random(2).randbytes(len(DATA)))
    pair = PushPair(store, index=str(tmp_path / "x.caibx"), ours=False)
    with pytest.raises(SourceChanged, match="no longer part of it"):
        slow_push(store, pair, source)
    assert isinstance(pair.result(), PeerError)
    assert os.listdir(tmp_path) == []


def test_blake3(tmp_path: Path, ours: bool) -> None:
    plan = UploadPlan(BLAKE3.flag, PARAMS)
    pair = PushPair(MemoryStore(), index=str(tmp_path / "x.caibx"), ours=ours)
    if ours:
        make(BytesSource(DATA), pair.pusher(plan), pair.monitor, BLAKE3)
        assert pair.result() is True
        assert Index.open(tmp_path / "x.caibx").digest is BLAKE3
    else:
        with pytest.raises(UsageError, match="server: Is casync, which does not know BLAKE3"):
            pair.pusher(plan)
        assert isinstance(pair.result(), PeerError)
        assert os.listdir(tmp_path) == []


def test_uncompressed(tmp_path: Path, ours: bool) -> None:
    store = MemoryStore()
    pair = PushPair(store, index=str(tmp_path / "x.caibx"), ours=ours)
    make(BytesSource(DATA), pair.pusher(PLAN, compression=NO_COMPRESSION), pair.monitor)
    assert pair.result() is True
    assert {store.get(chunk_id).stored(NO_COMPRESSION) for chunk_id in store.iter_ids()} == {None}
    assert pair.monitor.bytes_stored == len(DATA)


def test_an_index_here_and_chunks_there(tmp_path: Path) -> None:
    """Of two ends of this package, the server keeps no index where it has no path for one."""
    store = MemoryStore()
    pair = PushPair(store)
    upload = PairedUpload(LocalFile(str(tmp_path / "x.caibx")), pair.pusher(PLAN), PLAN)
    make(BytesSource(DATA), upload, pair.monitor)
    assert pair.result() is True
    expected, _monitor, chunks = local(DATA, tmp_path)
    assert (tmp_path / "x.caibx").read_bytes() == expected
    assert sorted(store.iter_ids()) == sorted(chunks.iter_ids())


def test_the_rows_here_are_not_written_twice(tmp_path: Path, impatient: None) -> None:
    store, source = SlowStore(), BytesSource(DATA)
    pair = PushPair(store, index=str(tmp_path / "there.caibx"), ours=False)
    chunks = pair.pusher(PLAN, memory=60_000)
    upload = PairedUpload(LocalFile(str(tmp_path / "x.caibx")), chunks, PLAN)
    wants_again = upload.wants_again

    def all_sent() -> bool:
        store.may_look.set()
        return wants_again()

    upload.wants_again = all_sent  # type: ignore[method-assign]
    make(source, upload, pair.monitor)
    assert pair.result() is True
    assert source.times_read == 2
    assert (tmp_path / "x.caibx").read_bytes() == local(DATA, tmp_path)[0]


def test_an_index_that_cannot_be_written(tmp_path: Path, ours: bool) -> None:
    pair = PushPair(MemoryStore(), index=str(tmp_path / "absent/x.caibx"), ours=ours)
    with pytest.raises(PeerError, match=r"server: .*absent/x\.caibx: No such file or directory"):
        make(BytesSource(DATA), pair.pusher(PLAN), pair.monitor)
    assert pair.result() is False if ours else isinstance(pair.result(), FileNotFoundError)


class FullStore(MemoryStore):
    """Has room for a few chunks."""

    flushed = 0

    def put(self, chunk: Chunk) -> bool:
        if len(list(self.iter_ids())) > 20:
            raise OSError(28, "No space left on device", "/far/x.castr")
        return super().put(chunk)

    def flush(self) -> None:
        self.flushed = len(list(self.iter_ids()))


def test_a_store_that_is_full(tmp_path: Path, ours: bool) -> None:
    store = FullStore()
    pair = PushPair(store, index=str(tmp_path / "x.caibx"), ours=ours)
    with pytest.raises(PeerError, match=r"server: /far/x\.castr: No space left on device"):
        make(BytesSource(DATA), pair.pusher(PLAN), pair.monitor)
    assert pair.result() is False if ours else isinstance(pair.result(), OSError)
    assert os.listdir(tmp_path) == []
    assert store.flushed == 21, "what came stays"


def test_a_client_that_gives_up(tmp_path: Path, ours: bool) -> None:
    store = FullStore()
    pair = PushPair(store, index=str(tmp_path / "x.caibx"), ours=ours)
    upload = pair.pusher(PLAN)
    plain = b"content" * 100
    chunk_id = ChunkId(SHA512_256.of(plain))
    assert upload.recognise([chunk_id]) == [False]
    upload.put(Chunk(chunk_id, plain=plain))
    assert upload.recognise([chunk_id]) == [True]
    for row in range(100):
        upload.append((row + 1) * len(plain), chunk_id)
    upload.abort()
    upload.abort()
    assert isinstance(pair.result(), PeerError)
    assert os.listdir(tmp_path) == []


def test_a_server_that_goes_away(tmp_path: Path) -> None:
    store = SlowStore()
    pair = PushPair(store, index=str(tmp_path / "x.caibx"), timeout=0.2)
    with pytest.raises(PeerError, match=r"server: Silent for 0\.2 seconds"):
        make(BytesSource(DATA), pair.pusher(PLAN), pair.monitor)
    store.may_look.set()
    assert isinstance(pair.result(), PeerError)


def test_a_chunk_too_large_for_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_handler, "CHUNK_DATA_MAX", 2000)
    pair = PushPair(MemoryStore(), index=str(tmp_path / "x.caibx"))
    with pytest.raises(UsageError, match=r"no more than 2000 can be sent; a smaller --chunk-size= helps"):
        make(BytesSource(DATA), pair.pusher(PLAN), pair.monitor)
    assert isinstance(pair.result(), PeerError)
    assert os.listdir(tmp_path) == []


def test_a_chunk_that_only_fits_uncompressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = random.Random(3).randbytes(900)
    monkeypatch.setattr(push_handler, "CHUNK_DATA_MAX", len(plain))
    store = MemoryStore()
    pair = PushPair(store, index=str(tmp_path / "x.caibx"))
    pushed(plain, pair)
    (chunk_id,) = store.iter_ids()
    assert store.get(chunk_id).stored(NO_COMPRESSION) is None
