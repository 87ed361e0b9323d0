"""Sets of rows as ranges, and the ids of those rows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casync_py.format.flags import F
from casync_py.format.index import Index, IndexWriter
from casync_py.sync.rows import RowIds, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LENGTH = 50


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    path: Path = tmp_path_factory.mktemp("rows") / "x.caibx"
    out = io.BytesIO()
    writer = IndexWriter(out.write, int(F.SHA512_256), (1, 1000, 1000))
    for row in range(LENGTH):
        writer.append(10 * (row + 1), bytes([row]) * 32)
    writer.finish()
    path.write_bytes(out.getvalue())
    with Index.open(path) as opened:
        yield opened


def rows_of(positions: set[int]) -> Rows:
    rows = Rows()
    for position in sorted(positions):
        rows.add(position, position + 1)
    return rows


def positions_of(rows: Rows) -> list[int]:
    return [position for first, stop in rows.ranges(0, len(rows)) for position in range(first, stop)]


POSITIONS = st.sets(st.integers(0, LENGTH - 1))


@settings(deadline=None)
@given(POSITIONS)
def test_rows_are_what_was_added(positions: set[int]) -> None:
    rows = rows_of(positions)
    assert len(rows) == len(positions)
    assert positions_of(rows) == sorted(positions)
    assert rows.stop == max(positions, default=-1) + 1
    assert rows.spans == sum(position - 1 not in positions for position in positions)


@settings(deadline=None)
@given(POSITIONS)
def test_others_are_all_that_was_not_added(positions: set[int]) -> None:
    others = set(range(LENGTH)) - positions
    assert positions_of(rows_of(positions).others(LENGTH)) == sorted(others)
    assert rows_of(positions).others(LENGTH).spans == rows_of(others).spans


@settings(deadline=None)
@given(positions=POSITIONS, start=st.integers(-60, 60), stop=st.integers(-60, 60), step=st.sampled_from([1, 2, -1]))
def test_ids_are_those_of_the_rows(index: Index, positions: set[int], start: int, stop: int, step: int) -> None:
    rows = rows_of(positions)
    ids = RowIds(index, rows)
    expected = [bytes([position]) * 32 for position in sorted(positions)]
    assert list(ids) == expected
    assert list(ids[start:stop:step]) == expected[start:stop:step]
    assert [row.chunk_id for row in rows.of(index)] == expected
    if expected:
        assert ids[-1] == expected[-1]
    with pytest.raises(IndexError):
        ids[len(expected)]


def test_a_range_from_the_start() -> None:
    assert positions_of(Rows(3, 6)) == [3, 4, 5]
    assert positions_of(Rows(3, 3)) == []
