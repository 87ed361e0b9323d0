"""Route ahead: chunks from several stores, some of them far away, each asked for many chunks at once.

The ids are taken in windows. Of each window, stores that can tell cheaply are asked what they have; the rest is asked
of the others without asking first.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.store.base import is_pipelined
from casync_py.store.windows import Answers, better, final, in_windows

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream, Store
    from casync_py.store.windows import Answer, Item


def route_ahead(first: Store, rest: Store, ids: Sequence[ChunkId], budget: int, name: str) -> ChunkStream:
    """Iterate (id, chunk or ChunkMissing) in order: from `first` where it has the chunk whole, else from `rest`.

    What is invalid in both, or in one and missing in the other, is raised at its place and ends the stream.

    Args:
        budget: bytes of chunks that may wait to be read, over all streams that this one opens.
        name: of all stores together, which is where a chunk is missing.
    """
    open_window = partial(_late if is_pipelined(first) else _split, first, rest)
    return in_windows(ids, budget, open_window, name)


def _split(first: Store, rest: Store, ids: Sequence[ChunkId], budget: int) -> Generator[Item | None, None, None]:
    """A window where `first` can tell what it has."""
    there = first.has_many(ids)
    far = Answers(rest, [chunk_id for chunk_id, has in zip(ids, there, strict=True) if not has], budget)
    near = Answers(first, [chunk_id for chunk_id, has in zip(ids, there, strict=True) if has], budget)
    try:
        yield None
        for chunk_id, has in zip(ids, there, strict=True):
            found = (near if has else far).next()
            if has and isinstance(found, Exception):  # it was damaged, or went meanwhile
                found = better(found, _get(rest, chunk_id))
            yield chunk_id, final(found)
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
    asked = Answers(first, ids, budget)
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
    asked = Answers(rest, [chunk_id for chunk_id, found in answers if isinstance(found, Exception)], budget)
    try:
        answers.reverse()
        while answers:
            chunk_id, found = answers.pop()
            if isinstance(found, Exception):
                found = better(found, asked.next())
            yield chunk_id, final(found)
    finally:
        asked.close()
