"""Blocks to rows and chunks: the same as cutting the whole stream at once, whatever runs beside what."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from casync_py.chunking.chunker import Chunker
from casync_py.chunking.params import ChunkParams
from casync_py.digest import SHA512_256
from casync_py.ids import ChunkId
from casync_py.monitor import Monitor
from casync_py.options import Resources
from casync_py.store.memory import MemoryStore
from casync_py.sync.blocks import BlockWriter
from casync_py.sync.pipeline import ChunkPipeline, StreamDigest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.store.chunk import Chunk


class MemoryUpload:
    """An upload into memory that notes what it was given."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.rows: list[tuple[int, bytes]] = []

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        return self.store.recognise(ids)

    def put(self, chunk: Chunk) -> bool | None:
        return self.store.put(chunk)

    def append(self, end: int, chunk_id: bytes) -> None:
        self.rows.append((end, chunk_id))

    def wants_again(self) -> bool:
        return False

    def commit(self) -> None:
        self.store.flush()

    def abort(self) -> None:
        self.rows.clear()


def expected_rows(data: bytes, params: ChunkParams) -> list[tuple[int, bytes]]:
    chunker = Chunker(params)
    ends = [*chunker.feed(data), *chunker.finish()]
    return [(end, SHA512_256.of(data[start:end])) for start, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("block_size", [47, 1000, 65536])
@pytest.mark.parametrize("sizes", [(64, 256, 1024), (48, 48, 48), (100, 3000, 70000)])
@pytest.mark.parametrize("length", [0, 1, 47, 48, 5000, 200_000])
def test_rows_do_not_depend_on_blocks_or_threads(
    jobs: int, block_size: int, sizes: tuple[int, int, int], length: int
) -> None:
    data = random.Random(length).randbytes(length // 2) * 2
    params = ChunkParams.derive(*sizes)
    upload, monitor = MemoryUpload(), Monitor()
    with ChunkPipeline(upload, params, SHA512_256, Resources(jobs, 1 << 20), monitor) as pipeline:
        writer = BlockWriter(pipeline.feed, block_size)
        writer.write(data)
        writer.finish()
        pipeline.finish()
    assert upload.rows == expected_rows(data, params)
    start = 0
    for end, chunk_id in upload.rows:
        assert bytes(upload.store.get(ChunkId(chunk_id)).plain()) == data[start:end]
        start = end
    assert monitor.chunks_new + monitor.chunks_reused == len(upload.rows)
    assert monitor.bytes_new + monitor.bytes_reused == monitor.done == len(data)
    assert monitor.chunks_new == len(set(upload.store.iter_ids()))


def run_pipeline(upload: MemoryUpload, data: bytes) -> None:
    params = ChunkParams.derive(64, 256, 1024)
    with ChunkPipeline(upload, params, SHA512_256, Resources(2, 1 << 20), Monitor()) as pipeline:
        writer = BlockWriter(pipeline.feed, 4096)
        writer.write(data)
        writer.finish()
        pipeline.finish()


class FailingUpload(MemoryUpload):
    def put(self, chunk: Chunk) -> bool | None:
        raise OSError(28, "No space left on device", "store")


def test_trouble_in_a_thread_reaches_the_feeder() -> None:
    with pytest.raises(OSError, match="No space left"):
        run_pipeline(FailingUpload(), random.Random(1).randbytes(100_000))


def test_digest_of_the_whole_stream() -> None:
    data = random.Random(2).randbytes(100_000)
    with StreamDigest(SHA512_256) as whole:
        writer = BlockWriter(whole.feed, 1000)
        writer.write(data)
        writer.finish()
        assert whole.finish() == SHA512_256.of(data).hex()
