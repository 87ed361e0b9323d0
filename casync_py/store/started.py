"""Streams that are generators and own something from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Generator

    from casync_py.errors import ChunkMissing
    from casync_py.ids import ChunkId
    from casync_py.store.base import ChunkStream
    from casync_py.store.chunk import Chunk


def started(generator: Generator[tuple[ChunkId, Chunk | ChunkMissing] | None, None, None]) -> ChunkStream:
    """Run a generator up to its first `yield`, which delivers None.

    What it does before is done at once, and `close()` runs its `finally` even if nobody ever takes an item: that of a
    generator which has not begun does nothing.
    """
    next(generator)
    return cast("ChunkStream", generator)
