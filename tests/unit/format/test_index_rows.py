"""An index that arrives in pieces is accepted or refused as the whole file is, however it was cut."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format.flags import F
from casync_py.format.index import Index, IndexWriter
from casync_py.format.index_rows import IndexRows

if TYPE_CHECKING:
    from pathlib import Path


def made(rows: int) -> bytes:
    parts: list[bytes] = []
    writer = IndexWriter(parts.append, int(F.SHA512_256), (64, 256, 1024))
    for row in range(rows):
        writer.append(100 * (row + 1), bytes([row % 256]) * 32)
    writer.finish()
    return b"".join(parts)


def fed(data: bytes, step: int) -> IndexRows:
    rows = IndexRows()
    for start in range(0, len(data), step):
        rows.feed(data[start : start + step])
    rows.finish()
    return rows


@pytest.mark.parametrize("step", [1, 39, 40, 41, 63, 64, 65, 104, 1000, 1 << 20])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_however_it_is_cut(count: int, step: int) -> None:
    rows = fed(made(count), step)
    assert (rows.rows, rows.size, rows.ended) == (count, 100 * count, True)
    assert rows.header is not None
    assert rows.header == (int(F.SHA512_256), 64, 256, 1024)


def test_rows_count_once_they_are_whole() -> None:
    data, rows = made(3), IndexRows()
    rows.feed(data[:143])
    assert rows.rows == 1
    rows.feed(data[143:144])
    assert (rows.rows, rows.size, rows.ended) == (2, 200, False)


def number(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack("<Q", value) + data[at + 8 :]


GOOD = made(3)
BAD = {
    "nothing": b"",
    "no rows": GOOD[:64],
    "half a row": GOOD[:70],
    "no tail": GOOD[:-40],
    "half a tail": GOOD[:-1],
    "trailing byte": GOOD + b"x",
    "trailing row": GOOD + GOOD[64:104],
    "another index": GOOD + GOOD,
    "no index": b"x" * 200,
    "flags": number(GOOD, 16, 1 << 58),
    "chunk sizes": number(GOOD, 24, 0),
    "offsets fall": number(GOOD, 104, 99),
    "offset repeats": number(GOOD, 104, 100),
    "chunk too large": number(GOOD, 144, 1225),
    "offset 0": number(GOOD, 104, 0),
    "tail of another length": GOOD[:-8 - 8] + struct.pack("<Q", 16 + 40 * 3) + GOOD[-8:],
    "huge offset": number(GOOD, 64, c.U64_MAX),
}  # fmt: skip


@pytest.mark.parametrize("step", [1, 41, 1 << 20])
@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_is_no_index_is_refused(data: bytes, step: int) -> None:
    with pytest.raises(FormatError):
        fed(data, step)


DAMAGE = st.integers(0, 5).flatmap(
    lambda count: st.tuples(st.just(made(count)), st.integers(0, 103 + 40 * count), st.binary(max_size=9))
)


@given(damage=DAMAGE, step=st.integers(1, 300))
def test_a_damaged_index_is_accepted_only_where_the_file_is(
    tmp_path_factory: pytest.TempPathFactory, damage: tuple[bytes, int, bytes], step: int
) -> None:
    data, at, replacement = damage
    data = data[:at] + replacement + data[at + len(replacement) :]
    path: Path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data)
    accepted = True
    try:
        with Index.open(os.fspath(path)) as index:
            ids = index.ids()
    except FormatError:
        accepted = False
    try:
        rows = fed(data, step)
    except FormatError:
        assert not accepted
    else:
        assert accepted
        assert rows.rows == len(ids)
