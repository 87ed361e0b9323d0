"""Blocks of a stream to chunks in a store and rows in an index, on several threads, in the stream's order.

The feeding thread cuts, because cuts follow from one another; marking candidates, digesting, asking, compressing and
storing run in a pool, the digest of the whole stream in a lane of its own. Each hand-over is a block or a batch of
chunks, never a chunk, so that Python's share stays small. Queues are bounded: whoever feeds waits.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Self

from casync_py.chunking.chunker import OVERLAP, Cutter, mark
from casync_py.ids import ChunkId
from casync_py.store.chunk import Chunk

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

    from casync_py.chunking.params import ChunkParams
    from casync_py.digest import Digest, Hasher
    from casync_py.monitor import Monitor
    from casync_py.options import Resources
    from casync_py.sync.upload import Upload

_BLOCKS_AHEAD = 2  # marked or hashed ahead, for each job
_BATCH = 1 << 20  # bytes of chunks in one batch; a longer chunk is a batch of its own


class _Block(NamedTuple):
    view: memoryview  # the stream's new bytes
    base: int  # offset of view[0] in the stream
    marks: Future[memoryview]


class _Piece(NamedTuple):
    """One chunk before it has an id: its end offset and its bytes, in as many parts as blocks that it touches."""

    end: int
    parts: list[memoryview]


class _Stored(NamedTuple):
    end: int
    chunk_id: ChunkId
    size: int
    new: bool | None  # None: whoever took it counts it
    stored_size: int


class ChunkPipeline:
    """Takes blocks from a `BlockWriter` (its `take` is `feed`), gives chunks and rows to an `Upload`."""

    def __init__(
        self, upload: Upload, params: ChunkParams, digest: Digest, resources: Resources, monitor: Monitor
    ) -> None:
        self._upload = upload
        self._params = params
        self._new_hasher = digest.new
        self._monitor = monitor
        self._cutter = Cutter(params)
        self._pool = ThreadPoolExecutor(max(1, resources.jobs), "casync-chunks")
        self._blocks_ahead = _BLOCKS_AHEAD * max(1, resources.jobs) + 1
        self._bytes_ahead = max(resources.memory // 2, params.max)
        self._marking: deque[_Block] = deque()
        self._uncut: deque[memoryview] = deque()
        self._fed = 0
        self._cut = 0
        self._storing: deque[tuple[int, Future[list[_Stored]]]] = deque()
        self._bytes_storing = 0

    def feed(self, buffer: bytearray, length: int) -> None:
        """Take the next block (see `BlockWriter`); waits while too much is under way."""
        view = memoryview(buffer)
        start = 0 if self._fed else OVERLAP
        marks = self._pool.submit(mark, view[start : OVERLAP + length], self._params)
        self._marking.append(_Block(view[OVERLAP : OVERLAP + length], self._fed, marks))
        self._fed += length
        while self._marking and (self._marking[0].marks.done() or len(self._marking) >= self._blocks_ahead):
            self._cut_block()
        self._collect(self._bytes_ahead)

    def finish(self) -> None:
        """Cut and store what is left; every row has reached the upload then."""
        while self._marking:
            self._cut_block()
        self._store_chunks(self._cutter.finish())
        self._collect(0)

    def _cut_block(self) -> None:
        block = self._marking.popleft()
        self._uncut.append(block.view)
        lead = OVERLAP if block.base else 0  # the marks count from the buffer's start, overlap included
        end = block.base + len(block.view)
        self._store_chunks(self._cutter.advance(block.marks.result(), block.base - lead, end))

    def _store_chunks(self, cuts: list[int]) -> None:
        """Send the chunks that end at `cuts` to the pool, in batches."""
        batch: list[_Piece] = []
        size = 0
        for end in cuts:
            batch.append(_Piece(end, self._take(end - self._cut)))
            size += end - self._cut
            self._cut = end
            if size >= _BATCH:
                self._submit(batch, size)
                batch, size = [], 0
        if batch:
            self._submit(batch, size)

    def _take(self, size: int) -> list[memoryview]:
        """Remove the next `size` bytes from the uncut blocks."""
        uncut = self._uncut
        first = uncut[0]
        if size < len(first):
            uncut[0] = first[size:]
            return [first[:size]]
        parts = []
        while size:
            first = uncut.popleft()
            if size < len(first):
                uncut.appendleft(first[size:])
                first = first[:size]
            parts.append(first)
            size -= len(first)
        return parts

    def _submit(self, batch: list[_Piece], size: int) -> None:
        self._collect(max(0, self._bytes_ahead - size))
        self._storing.append((size, self._pool.submit(self._store_batch, batch)))
        self._bytes_storing += size

    def _store_batch(self, batch: list[_Piece]) -> list[_Stored]:
        """In the pool: digest a batch, ask which chunks are known, store the others."""
        ids = [ChunkId(self._digest(piece.parts)) for piece in batch]
        known = self._upload.recognise(ids)
        stored = []
        for piece, chunk_id, there in zip(batch, ids, known, strict=True):
            size = sum(map(len, piece.parts))
            new: bool | None = False
            stored_size = 0
            if not there:
                chunk = Chunk(chunk_id, plain=piece.parts[0] if len(piece.parts) == 1 else b"".join(piece.parts))
                new, stored_size = self._upload.put(chunk), chunk.stored_size
            stored.append(_Stored(piece.end, chunk_id, size, new, stored_size))
        return stored

    def _digest(self, parts: list[memoryview]) -> bytes:
        hasher = self._new_hasher()
        for part in parts:
            hasher.update(part)
        return hasher.digest()

    def _collect(self, allowed: int) -> None:
        """Pass on finished batches in order; wait while more than `allowed` bytes are being stored."""
        storing = self._storing
        monitor, append = self._monitor, self._upload.append
        while storing and (self._bytes_storing > allowed or storing[0][1].done()):
            size, future = storing.popleft()
            for end, chunk_id, plain_size, new, stored_size in future.result():
                append(end, chunk_id)
                if new:
                    monitor.chunks_new += 1
                    monitor.bytes_new += plain_size
                    monitor.bytes_stored += stored_size
                elif new is not None:
                    monitor.chunks_reused += 1
                    monitor.bytes_reused += plain_size
            monitor.done += size
            self._bytes_storing -= size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)


class StreamDigest:
    """The digest of a whole stream, computed beside the work on it: one thread, because each byte follows the last."""

    def __init__(self, digest: Digest, blocks_ahead: int = 8) -> None:
        self._hasher: Hasher = digest.new()
        self._lane = ThreadPoolExecutor(1, "casync-stream-digest")
        self._pending: deque[Future[object]] = deque()
        self._blocks_ahead = blocks_ahead

    def feed(self, buffer: bytearray, length: int) -> None:
        """Take a block (see `BlockWriter`), which may be read by others at the same time."""
        view = memoryview(buffer)[OVERLAP : OVERLAP + length]
        self._pending.append(self._lane.submit(self._hasher.update, view))
        if len(self._pending) > self._blocks_ahead:
            self._pending.popleft().result()

    def finish(self) -> str:
        """Hex digest of all that was fed."""
        while self._pending:
            self._pending.popleft().result()
        return self._hasher.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lane.shutdown(wait=True, cancel_futures=kind is not None)
