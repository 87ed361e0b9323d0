"""Fetch ahead: chunks in the order of need from a store whose `get` blocks, through a pool of threads.

A chunk of 64 KiB costs a local store about 100 us of C code that runs without the GIL, so the Python around it has to
stay far below: ids travel to the pool in batches, one future a batch, and nobody polls. Batches are short in bytes
rather than in number, because a chunk that is used while it is still in the processor's cache is used at half the cost.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from casync_py.errors import ChunkMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from concurrent.futures import Executor, Future

    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream
    from casync_py.store.chunk import Chunk

    Fetched = tuple[list[Chunk | Exception], int]  # results in order, bytes in them
    Batch = tuple[Sequence[ChunkId], int, Future[Fetched]]  # ids, bytes expected, what will come

_BATCH_IDS = 16  # a batch costs about 30 us of futures and wake-ups: 2 us a chunk
_BATCH_SIZE = 1 << 20
_BATCHES_PER_JOB = 2  # one that is worked on and one that waits


def fetch_ahead(
    get: Callable[[ChunkId], Chunk],
    ids: Sequence[ChunkId],
    budget: int,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
) -> ChunkStream:
    """Iterate (id, chunk or ChunkMissing) in the order of `ids`, fetching ahead with `get` in several threads.

    Any other exception of `get` is raised at the place of its chunk and ends the stream. Nothing is fetched before the
    first item is asked for; `close()` cancels what is under way and returns when no thread works for the stream.

    Args:
        get: thread-safe; may take its time.
        budget: bytes of chunks that may wait to be read. It is exceeded by at most one chunk for each thread.
        jobs: threads; by default as many as the process has processors.
        executor: a pool to share; by default the stream starts its own threads and ends them.
    """
    return _FetchAhead(get, ids, budget, jobs or len(os.sched_getaffinity(0)), executor).stream()


class _FetchAhead:
    """The state of one stream; `_lock` guards `_held`, the rest belongs to the consumer's thread."""

    def __init__(
        self, get: Callable[[ChunkId], Chunk], ids: Sequence[ChunkId], budget: int, jobs: int, executor: Executor | None
    ) -> None:
        self._get = get
        self._ids = ids
        self._budget = max(1, budget)
        self._jobs = jobs
        self._executor = executor
        self._lock = threading.Lock()
        self._held = 0  # bytes fetched and not yet consumed
        self._mean = _BATCH_SIZE // 4  # running mean of the chunks' sizes, for the length of the next batch
        self._cancelled = False

    def stream(self) -> Generator[tuple[ChunkId, Chunk | ChunkMissing], None, None]:
        """Keep the pool busy and hand out results."""
        executor = self._executor or ThreadPoolExecutor(self._jobs, "fetch")
        waiting: deque[Batch] = deque()
        expected = 0  # bytes that `waiting` will bring, as far as the mean tells
        position = 0
        total = len(self._ids)
        try:
            while position < total or waiting:
                while position < total and self._may_submit(len(waiting), expected):
                    batch = self._ids[position : position + self._batch_length()]
                    size = len(batch) * self._mean
                    waiting.append((batch, size, executor.submit(self._fetch, batch)))
                    expected += size
                    position += len(batch)
                batch, size, future = waiting.popleft()
                expected -= size
                fetched = future.result()
                del future  # it would keep the whole batch alive
                yield from self._consume(batch, fetched)
        finally:
            self._cancelled = True
            if executor is not self._executor:
                executor.shutdown(cancel_futures=True)
            else:
                wait([future for *_, future in waiting if not future.cancel()])

    def _may_submit(self, waiting: int, expected: int) -> bool:
        if waiting == 0:
            return True
        return waiting < self._jobs * _BATCHES_PER_JOB and max(self._held, expected) + self._mean <= self._budget

    def _batch_length(self) -> int:
        room = min(_BATCH_SIZE, self._budget // (2 * self._jobs))
        return max(1, min(_BATCH_IDS, room // self._mean))

    def _fetch(self, batch: Sequence[ChunkId]) -> Fetched:
        """Fetch a batch in a thread of the pool; short where the budget is used up or something went wrong."""
        get = self._get
        results: list[Chunk | Exception] = []
        total = 0
        for chunk_id in batch:
            if self._cancelled or self._held >= self._budget:
                break
            try:
                chunk = get(chunk_id)
            except ChunkMissing as missing:
                results.append(missing)
                continue
            except Exception as error:  # noqa: BLE001 - raised again at its place in the order
                results.append(error)
                break
            results.append(chunk)
            size = chunk.memory
            total += size
            with self._lock:
                self._held += size
        return results, total

    def _consume(self, batch: Sequence[ChunkId], fetched: Fetched) -> Iterator[tuple[ChunkId, Chunk | ChunkMissing]]:
        results, total = fetched
        self._mean += ((total // len(results) if results else self._budget) - self._mean) // 4
        results.reverse()
        for chunk_id in batch:
            # Where the pool stopped early for the budget's sake: one at a time, now that it is needed
            result = results.pop() if results else self._fetch_one(chunk_id)
            if not isinstance(result, Exception) or isinstance(result, ChunkMissing):
                yield chunk_id, result
            else:
                raise result
            del result
        with self._lock:
            self._held -= total

    def _fetch_one(self, chunk_id: ChunkId) -> Chunk | ChunkMissing:
        try:
            return self._get(chunk_id)
        except ChunkMissing as missing:
            return missing
