"""Check ahead: the chunks of a pipelined stream, each checked in a pool before it is handed out, in the same order.

The consumer's thread moves what has come into the pool whenever it takes something out; no thread waits for the stream
but the consumer's, so that a pool which several streams share never stands still for one of them.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from casync_py.errors import ChunkMissing
from casync_py.store.started import started

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Executor, Future

    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream, PipelinedStream
    from casync_py.store.chunk import Chunk

    Item = tuple[ChunkId, Chunk | ChunkMissing]
    Batch = tuple[list[Item], Future[tuple[int, Exception | None]]]

_BATCH_CHUNKS = 16  # a batch costs about 30 us of futures and wake-ups: 2 us a chunk
_BATCH_SIZE = 1 << 20
_BATCHES_PER_JOB = 2  # one that is worked on and one that waits


def check_ahead(
    stream: PipelinedStream,
    check: Callable[[Chunk], object],
    mean: int,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
) -> ChunkStream:
    """Iterate what `stream` delivers after `check` has accepted each chunk.

    What `check` raises is raised at the place of its chunk and ends the stream. `close()` closes `stream` too, and
    returns when no thread works for it. In the pool there are at most `2 * jobs` batches of a mebibyte each, as far as
    the running mean of the chunks' sizes tells, and of 16 chunks in any case.

    Args:
        check: thread-safe; brings the chunk into its plain form.
        mean: bytes that a plain chunk is expected to have at first.
        jobs, executor: as for `fetch_ahead`.
    """
    return started(_check_ahead(stream, check, max(1, mean), jobs or len(os.sched_getaffinity(0)), executor))


def _check_ahead(
    stream: PipelinedStream, check: Callable[[Chunk], object], mean: int, jobs: int, shared: Executor | None
) -> Generator[Item | None, None, None]:
    executor = shared or ThreadPoolExecutor(jobs, "check")
    waiting: deque[Batch] = deque()
    source = _Source(stream)
    try:
        yield None
        while True:
            while len(waiting) < jobs * _BATCHES_PER_JOB:
                items = source.take(max(1, min(_BATCH_CHUNKS, _BATCH_SIZE // mean)), patient=not waiting)
                if not items:
                    break
                waiting.append((items, executor.submit(_check_all, items, check)))
            if not waiting:
                return
            items, future = waiting.popleft()
            good, error = future.result()
            del future  # it would keep the whole batch alive
            mean = max(1, mean + (sum(map(_size, items[:good])) // (good or 1) - mean) // 4)
            items.reverse()
            for _ in range(good):
                yield items.pop()
            if error is not None:
                raise error
    finally:
        stream.close()
        if executor is not shared:
            executor.shutdown(cancel_futures=True)
        else:
            wait([future for _, future in waiting if not future.cancel()])


class _Source:
    """The stream; an error that it raises waits until all that came before has been handed out."""

    def __init__(self, stream: PipelinedStream) -> None:
        self._stream = stream
        self._failure: Exception | None = None

    def take(self, count: int, *, patient: bool) -> list[Item]:
        """What has come, at most `count`; if `patient`, empty only at the end."""
        if self._failure is None:
            try:
                items = self._stream.ready(count)
                if not items and patient:
                    items = [item] if (item := next(self._stream, None)) is not None else []
            except Exception as error:
                if patient:
                    raise
                self._failure = error
            else:
                return items
        if patient:
            raise self._failure
        return []


def _check_all(items: list[Item], check: Callable[[Chunk], object]) -> tuple[int, Exception | None]:
    """Check chunks in order; how many are good before the first that is not, and what is wrong with that one."""
    for place, (_, found) in enumerate(items):
        if not isinstance(found, ChunkMissing):
            try:
                check(found)
            except Exception as error:  # noqa: BLE001 - raised again at its place in the order
                return place, error
    return len(items), None


def _size(item: Item) -> int:
    found = item[1]
    return 0 if isinstance(found, ChunkMissing) else found.memory
