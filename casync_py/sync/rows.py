"""Some rows of an index, as ranges: what is held does not grow with the index, and hardly with the number of rows."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, overload

from casync_py.ids import ChunkId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.format.index import Index, Row


class Rows:
    """Positions of rows in ascending order.

    Attributes:
        spans: number of ranges; 24 bytes each.
        stop: the position after the last row; 0 where there is none.
    """

    def __init__(self, first: int = 0, stop: int = 0) -> None:
        """The rows from `first` up to `stop`."""
        self._first = array("Q")
        self._stop = array("Q")
        self._before = array("Q", [0])  # rows in the ranges before each range, and in all of them
        if first < stop:
            self.add(first, stop)

    @property
    def spans(self) -> int:
        return len(self._first)

    @property
    def stop(self) -> int:
        return self._stop[-1] if self._stop else 0

    def add(self, first: int, stop: int) -> None:
        """Add the rows from `first` up to `stop`, which lie behind all that were added before."""
        if self._stop and first == self._stop[-1]:
            self._stop[-1] = stop
            self._before[-1] += stop - first
        else:
            self._first.append(first)
            self._stop.append(stop)
            self._before.append(self._before[-1] + stop - first)

    def others(self, length: int) -> Rows:
        """The rows of the first `length` that are not among these."""
        others = Rows()
        begin = 0
        for first, stop in zip(self._first, self._stop, strict=True):
            if begin < first:
                others.add(begin, first)
            begin = stop
        if begin < length:
            others.add(begin, length)
        return others

    def __len__(self) -> int:
        return self._before[-1]

    def ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Ranges of positions that hold these rows from the one at place `start` up to place `stop`."""
        at = bisect_right(self._before, start) - 1
        while start < stop:
            first = self._first[at] + start - self._before[at]
            count = min(self._stop[at] - first, stop - start)
            yield first, first + count
            start += count
            at += 1

    def of(self, index: Index) -> Iterator[Row]:
        """The rows themselves."""
        return chain.from_iterable(index.rows(first, stop) for first, stop in self.ranges(0, len(self)))


class RowIds(Sequence[ChunkId]):
    """The ids of some rows of an index, read when they are asked for."""

    def __init__(self, index: Index, rows: Rows) -> None:
        self._index = index
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> ChunkId: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ChunkId]: ...
    def __getitem__(self, place: int | slice) -> ChunkId | Sequence[ChunkId]:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step != 1:
                return [self[at] for at in range(start, stop, step)]
            ids: list[ChunkId] = []
            for first, end in self._rows.ranges(start, stop):
                ids += self._index.ids(first, end)
            return ids
        at = range(len(self))[place]
        ((first, _),) = self._rows.ranges(at, at + 1)
        return self._index[first].chunk_id
