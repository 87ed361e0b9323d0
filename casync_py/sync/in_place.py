"""What a target has already of the blob that an index describes: its chunks, read and verified where they belong."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from casync_py.sync.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from casync_py.digest import Digest
    from casync_py.format.index import Index, Row
    from casync_py.monitor import Monitor
    from casync_py.options import Resources
    from casync_py.sync.blob import BlobTarget

_BATCH_SIZE = 1 << 20  # read and digested at a time
_BATCH_ROWS = 256  # chunks may be as short as a byte
_BATCHES_PER_JOB = 4  # checked or waiting for it; a batch that waits holds its rows only
_MAX_SPANS = 65536  # 1.5 MiB; a target where more pieces alternate is fetched in part although it is there


def rows_in_place(index: Index, target: BlobTarget, resources: Resources, monitor: Monitor) -> Rows:
    """Read what the target has and tell which rows of the index it holds; those count as reused and done.

    Raises:
        OSError: the target cannot be read.
    """
    found = Rows()
    if not target.present:
        return found
    stage, monitor.stage = monitor.stage, "Checking"
    reused = monitor.bytes_reused
    # Each job holds one batch, which is one chunk where chunks are larger.
    jobs = max(1, min(resources.jobs, resources.memory // 2 // max(_BATCH_SIZE, index.chunk_max)))
    waiting: deque[tuple[list[Row], int, Future[list[bool]]]] = deque()
    with ThreadPoolExecutor(jobs, "casync-check") as pool:
        position = 0
        for batch in _batches(index, target.present):
            waiting.append((batch, position, pool.submit(_check, target, index.digest, batch)))
            position += len(batch)
            if len(waiting) > jobs * _BATCHES_PER_JOB:
                _collect(found, *waiting.popleft(), monitor)
        while waiting:
            _collect(found, *waiting.popleft(), monitor)
    monitor.done = monitor.bytes_reused - reused
    monitor.stage = stage
    return found


def _batches(index: Index, present: int) -> Iterator[list[Row]]:
    """The rows that lie wholly in the first `present` bytes, some at a time."""
    batch: list[Row] = []
    for row in index:
        if row.end > present:
            break
        batch.append(row)
        if row.end - batch[0].start >= _BATCH_SIZE or len(batch) >= _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _check(target: BlobTarget, digest: Digest, rows: list[Row]) -> list[bool]:
    """In the pool: whether each of some rows that follow one another is there."""
    begin = rows[0].start
    data = memoryview(target.read_at(begin, rows[-1].end - begin))
    return [digest.of(data[start - begin : end - begin]) == chunk_id for start, end, chunk_id in rows]


def _collect(found: Rows, rows: list[Row], position: int, answers: Future[list[bool]], monitor: Monitor) -> None:
    for row, there in enumerate(answers.result(), position):
        if there and (row == found.stop or found.spans < _MAX_SPANS):
            found.add(row, row + 1)
            monitor.chunks_reused += 1
            monitor.bytes_reused += rows[row - position].end - rows[row - position].start
    monitor.done = rows[-1].end
