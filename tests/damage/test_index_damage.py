"""Indexes cut, flipped and mixed up: a `FormatError` that names the file, or a valid index."""

from __future__ import annotations

import io
import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casync_py.errors import FormatError
from casync_py.format.index import Index, IndexWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = Path(__file__).parents[1] / "vectors/index"
NUMBERS = (VECTORS / "numbers.caibx").read_bytes()


@pytest.fixture(scope="module")
def fd() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def survives(fd: int, data: bytes) -> bool:
    """Whether it is still an index; if so it has exactly the bytes that its rows are written to."""
    os.pwrite(fd, data, 0)
    os.ftruncate(fd, len(data))
    failure: FormatError | None = None
    try:
        index = Index(fd, "damaged", close_fd=False)
        rows = list(index)
        for position in {0, len(rows) // 2, len(rows) - 1} - ({0, -1} if not rows else set()):
            assert index[position] == rows[position]
            assert index.find(rows[position].start) == position
    except FormatError as error:
        failure = error
    if failure is not None:
        assert failure.name == "damaged"
        assert failure.offset is None or failure.offset <= len(data)
        return False
    file = io.BytesIO()
    writer = IndexWriter(file.write, index.feature_flags, (index.chunk_min, index.chunk_avg, index.chunk_max))
    for row in rows:
        writer.append(row.end, row.chunk_id)
    writer.finish()
    assert file.getvalue() == data
    return True


def test_every_truncation(fd: int) -> None:
    assert survives(fd, NUMBERS)
    for size in range(len(NUMBERS)):
        assert not survives(fd, NUMBERS[:size])


def test_bytes_after_the_tail(fd: int) -> None:
    """casync ignores them in a .caidx."""
    for name in ("tree.caidx", "nothing.caibx", "fixed.caibx"):
        data = (VECTORS / name).read_bytes()
        for junk in (b"\0", bytes(40), data[-40:], data):
            assert not survives(fd, data + junk)


def test_every_bit_outside_of_the_ids(fd: int) -> None:
    """What survives are the flags and sizes that casync could have written too."""
    table_end = len(NUMBERS) - 40
    survivors: set[int] = set()
    for at in [*range(64), *range(64, 64 + 8), *range(64 + 40, 64 + 48), *range(table_end, len(NUMBERS))]:
        for bit in range(8):
            if survives(fd, NUMBERS[:at] + bytes([NUMBERS[at] ^ 1 << bit]) + NUMBERS[at + 1 :]):
                survivors.add(at)
    assert survivors <= {*range(16, 48), 64, 65, 104, 105}  # flags, chunk sizes, low bytes of two end offsets
    assert survivors >= {16, 23, 24, 32, 40}


def test_rows_left_out_doubled_or_exchanged(fd: int) -> None:
    rows = [NUMBERS[at : at + 40] for at in range(64, len(NUMBERS) - 40, 40)]
    head, tail = NUMBERS[:64], NUMBERS[-40:]
    for position in range(len(rows)):
        assert not survives(fd, head + b"".join(rows[:position] + rows[position + 1 :]) + tail)
        assert not survives(fd, head + b"".join(rows[: position + 1] + rows[position:]) + tail)
        if position:
            exchanged = [*rows[: position - 1], rows[position], rows[position - 1], *rows[position + 1 :]]
            assert not survives(fd, head + b"".join(exchanged) + tail)


def test_junk(fd: int) -> None:
    generator = random.Random(1)
    for size in (0, 1, 103, 104, 144, 145, 1000, 10_024):
        assert not survives(fd, generator.randbytes(size))
        assert not survives(fd, bytes(size))


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(NUMBERS) - 1), st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=4
    )
)
def test_pieces_replaced(fd: int, changes: list[tuple[int, int, bytes]]) -> None:
    data = NUMBERS
    for at, taken, put in changes:
        data = data[:at] + put + data[at + taken :]
    survives(fd, data)
