"""What streams over several stores are made of: windows of ids, and answers that go on behind a bad one."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.store.started import started

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream, Store
    from casync_py.store.chunk import Chunk

    Item = tuple[ChunkId, Chunk | ChunkMissing]
    Answer = Chunk | ChunkMissing | ChunkInvalid
    Window = Callable[[Sequence[ChunkId], int], Generator[Item | None, None, None]]

_WINDOW = 1024  # ids; two windows of small chunks (20 KiB stored) are what a line of 200 MB/s holds in 100 ms
_OPEN = 2


def in_windows(ids: Sequence[ChunkId], budget: int, open_window: Window, name: str) -> ChunkStream:
    """Iterate (id, chunk or ChunkMissing) in order, two windows open at a time, so that no store runs out of questions.

    Args:
        budget: bytes of chunks that may wait to be read, over all streams that the windows open.
        open_window: makes a generator, as `started` wants it, from some of the ids and the bytes that each of its
            streams, and what it collects itself, may hold.
        name: of all stores together, which is where a chunk is missing.
    """
    return started(_windows(ids, max(1, budget // (2 * _OPEN)), open_window, name))


def _windows(ids: Sequence[ChunkId], budget: int, open_window: Window, name: str) -> Generator[Item | None, None, None]:
    opened: deque[ChunkStream] = deque()
    windows = (ids[start : start + _WINDOW] for start in range(0, len(ids), _WINDOW))
    streams = (started(open_window(window, budget)) for window in windows)
    try:
        opened.extend(islice(streams, _OPEN))
        yield None
        while opened:
            for chunk_id, found in opened[0]:
                yield chunk_id, ChunkMissing(chunk_id, name) if isinstance(found, ChunkMissing) else found
            opened.popleft()
            opened.extend(islice(streams, 1))
    finally:
        for stream in opened:
            stream.close()


class Answers:
    """A store's stream that goes on behind a chunk that is invalid, which it delivers as a value."""

    def __init__(self, store: Store, ids: Sequence[ChunkId], budget: int) -> None:
        self._store = store
        self._ids = ids
        self._budget = budget
        self._taken = 0
        self._stream = store.get_many(ids, budget)

    def next(self) -> Answer:
        """The answer to the next of the ids; there is one."""
        self._taken += 1
        try:
            return next(self._stream)[1]
        except ChunkInvalid as error:
            self._stream.close()
            self._stream = self._store.get_many(self._ids[self._taken :], self._budget)
            return error

    def close(self) -> None:
        self._stream.close()


def better(one: ChunkMissing | ChunkInvalid | None, other: Answer) -> Answer:
    """The chunk where there is one, else what says more: a damaged chunk is worth knowing of."""
    return other if not isinstance(one, ChunkInvalid) or not isinstance(other, Exception) else one


def final(found: Answer) -> Chunk | ChunkMissing:
    """What a stream delivers.

    Raises:
        ChunkInvalid: it is damaged wherever it is.
    """
    if isinstance(found, ChunkInvalid):
        raise found
    return found
