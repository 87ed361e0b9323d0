"""Route ahead: chunks from several stores, some of them far away, each asked for many chunks at once.

The ids are taken in windows, two of them open at a time, so that the far stores never run out of questions. Of each
window, stores that can tell cheaply are asked what they have; the rest is asked of the others without asking first.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.store.base import is_pipelined
from casync_py.store.started import started

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream, Store
    from casync_py.store.chunk import Chunk

    Item = tuple[ChunkId, Chunk | ChunkMissing]
    Answer = Chunk | ChunkMissing | ChunkInvalid

_WINDOW = 1024  # ids; two windows of small chunks (20 KiB stored) are what a line of 200 MB/s holds in 100 ms
_OPEN = 2


def route_ahead(first: Store, rest: Store, ids: Sequence[ChunkId], budget: int, name: str) -> ChunkStream:
    """Iterate (id, chunk or ChunkMissing) in order: from `first` where it has the chunk whole, else from `rest`.

    What is invalid in both, or in one and missing in the other, is raised at its place and ends the stream.

    Args:
        budget: bytes of chunks that may wait to be read, over all streams that this one opens.
        name: of all stores together, which is where a chunk is missing.
    """
    return started(_windows(first, rest, ids, max(1, budget // (2 * _OPEN)), name))


def _windows(
    first: Store, rest: Store, ids: Sequence[ChunkId], budget: int, name: str
) -> Generator[Item | None, None, None]:
    opened: deque[ChunkStream] = deque()
    open_window = _late if is_pipelined(first) else _split
    windows = (ids[start : start + _WINDOW] for start in range(0, len(ids), _WINDOW))
    streams = (started(open_window(first, rest, window, budget)) for window in windows)
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


class _Asked:
    """A store's stream that goes on behind a chunk that is invalid, which it delivers as a value."""

    def __init__(self, store: Store, ids: Sequence[ChunkId], budget: int) -> None:
        self._store = store
        self._ids = ids
        self._budget = budget
        self._taken = 0
        self._stream = store.get_many(ids, budget)

    def next(self) -> Answer:
        self._taken += 1
        try:
            return next(self._stream)[1]
        except ChunkInvalid as error:
            self._stream.close()
            self._stream = self._store.get_many(self._ids[self._taken :], self._budget)
            return error

    def close(self) -> None:
        self._stream.close()


def _split(first: Store, rest: Store, ids: Sequence[ChunkId], budget: int) -> Generator[Item | None, None, None]:
    """A window where `first` can tell what it has."""
    there = first.has_many(ids)
    far = _Asked(rest, [chunk_id for chunk_id, has in zip(ids, there, strict=True) if not has], budget)
    near = _Asked(first, [chunk_id for chunk_id, has in zip(ids, there, strict=True) if has], budget)
    try:
        yield None
        for chunk_id, has in zip(ids, there, strict=True):
            found = (near if has else far).next()
            if has and isinstance(found, Exception):  # it was damaged, or went meanwhile
                found = _better(found, _get(rest, chunk_id))
            yield chunk_id, _final(found)
    finally:
        near.close()
        far.close()


def _get(store: Store, chunk_id: ChunkId) -> Answer:
    try:
        return store.get(chunk_id)
    except (ChunkMissing, ChunkInvalid) as error:
        return error


def _late(first: Store, rest: Store, ids: Sequence[ChunkId], budget: int) -> Generator[Item | None, None, None]:
    """A window where what `first` lacks shows only when its answers come."""
    asked = _Asked(first, ids, budget)
    try:
        yield None
        answers = ((chunk_id, asked.next()) for chunk_id in ids)
        for chunk_id, found in answers:
            if isinstance(found, Exception):
                yield from _second_try([(chunk_id, found), *_some(answers, budget)], rest, budget)
            else:
                yield chunk_id, found
    finally:
        asked.close()


def _some(answers: Iterator[tuple[ChunkId, Answer]], budget: int) -> Iterator[tuple[ChunkId, Answer]]:
    """The answers that follow, until they fill the budget: `rest` is asked for all that they lack in one go."""
    while budget > 0 and (answer := next(answers, None)) is not None:
        if not isinstance(answer[1], Exception):
            budget -= answer[1].memory
        yield answer


def _second_try(answers: list[tuple[ChunkId, Answer]], rest: Store, budget: int) -> Iterator[Item]:
    asked = _Asked(rest, [chunk_id for chunk_id, found in answers if isinstance(found, Exception)], budget)
    try:
        answers.reverse()
        while answers:
            chunk_id, found = answers.pop()
            if isinstance(found, Exception):
                found = _better(found, asked.next())
            yield chunk_id, _final(found)
    finally:
        asked.close()


def _better(one: ChunkMissing | ChunkInvalid, other: Answer) -> Answer:
    """The chunk where there is one, else what says more: a damaged chunk is worth knowing of."""
    return other if isinstance(one, ChunkMissing) or not isinstance(other, Exception) else one


def _final(found: Answer) -> Chunk | ChunkMissing:
    if isinstance(found, ChunkInvalid):
        raise found
    return found
