"""The chunks that a pusher keeps because the other end may still ask for them. A value: whoever uses it locks."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casync_py.ids import ChunkId
    from casync_py.store.chunk import Chunk

_NO_ROW = -1


class Tally:
    """Chunks and their plain bytes."""

    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks = 0
        self.size = 0

    def add(self, size: int) -> None:
        self.chunks += 1
        self.size += size


class _Held:
    """A chunk that nobody has asked for."""

    __slots__ = ("chunk", "row", "size")

    def __init__(self, chunk: Chunk, size: int) -> None:
        self.chunk = chunk
        self.size = size
        self.row = _NO_ROW


class Spool:
    """Chunks from when they are put until the other end has asked for them or has said that it has them.

    The other end looks at the index's rows in order, and each chunk is asked for at its first row or never: whoever
    asks for one, or says how many rows it has looked at, lets all chunks of earlier rows go.

    Attributes:
        rows: rows appended so far.
        in_doubt: bytes of chunks that have a row and were neither asked for nor let go.
        wanted: ids that were asked for and are not here: they were let go, and the stream has to be read again.
        put_first: chunks that were put while rows came; each has to be counted once, as sent or as known.
        let_go: chunks that the other end has.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.in_doubt = 0
        self.wanted: set[ChunkId] = set()
        self.put_first = Tally()
        self.let_go = Tally()
        self._held: dict[ChunkId, _Held] = {}
        self._order: deque[tuple[int, ChunkId]] = deque()  # by row; also some that are no longer held

    def holds(self, ids: Iterable[ChunkId]) -> list[bool]:
        """Whether a chunk is here, so that it need not be put again."""
        held = self._held
        return [chunk_id in held for chunk_id in ids]

    def put(self, chunk: Chunk, size: int) -> bool:
        """Keep a chunk of `size` plain bytes; True if it was asked for already, so that it is to be sent instead."""
        chunk_id = chunk.chunk_id
        self.put_first.add(size)
        if chunk_id in self.wanted:
            self.wanted.discard(chunk_id)
            return True
        if chunk_id in self._held:
            self.let_go.add(size)
        else:
            self._held[chunk_id] = _Held(chunk, size)
        return False

    def put_again(self, chunk: Chunk) -> bool:
        """Take a chunk of the stream's second reading: True if it is to be sent; it is never kept."""
        wanted = chunk.chunk_id in self.wanted
        self.wanted.discard(chunk.chunk_id)
        return wanted

    def append(self, chunk_id: ChunkId) -> None:
        """The next row: its chunk, if it is here, may be asked for from now on."""
        held = self._held.get(chunk_id)
        if held is not None and held.row == _NO_ROW:
            held.row = self.rows
            self._order.append((self.rows, chunk_id))
            self.in_doubt += held.size
        self.rows += 1

    def ask(self, ids: Sequence[ChunkId]) -> list[tuple[Chunk, int]]:
        """The other end wants chunks: those that are here, with their plain sizes, which leave the spool for good."""
        found = []
        row = 0
        for chunk_id in ids:
            held = self._held.pop(chunk_id, None)
            if held is None:
                self.wanted.add(chunk_id)
                continue
            if held.row != _NO_ROW:
                self.in_doubt -= held.size
                row = max(row, held.row)
            found.append((held.chunk, held.size))
        self.examined(row)
        return found

    def examined(self, rows: int) -> None:
        """The other end wants none of the chunks whose first row is among the first `rows`, but those it asked for."""
        order = self._order
        while order and order[0][0] < rows:
            self._let_go(*order.popleft())

    def known(self, sent: Tally) -> Tally:
        """When everything has been said: what the other end had all along, which is what was put and not sent."""
        known = Tally()
        known.chunks = self.put_first.chunks - sent.chunks
        known.size = self.put_first.size - sent.size
        return known

    def drop(self, target: int) -> None:
        """Let the oldest chunks go, unasked, until at most `target` bytes are in doubt."""
        order = self._order
        while order and self.in_doubt > target:
            self._let_go(*order.popleft())

    def _let_go(self, row: int, chunk_id: ChunkId) -> None:
        held = self._held.get(chunk_id)
        if held is not None and held.row == row:
            del self._held[chunk_id]
            self.in_doubt -= held.size
            self.let_go.add(held.size)
