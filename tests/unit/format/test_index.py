"""Indexes: casync's own files, access by position and offset, and every rule of the layout."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path
from struct import pack, unpack_from
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format import index as index_module
from casync_py.format.index import Index, IndexWriter, Row
from casync_py.ids import ChunkId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

VECTORS = Path(__file__).parents[2] / "vectors/index"
DEFAULT_SIZES = (16384, 65536, 262144)
FILES = {
    "nothing.caibx": (0xB000000000000000, DEFAULT_SIZES, 0, 0),
    "numbers.caibx": (0xB000000000000000, (256, 1024, 4096), 68, 64000),
    "fixed.caibx": (0x1000000000000000, (4000, 4000, 4000), 16, 64000),
    "tree.caidx": (0xB0000001FFEFFE26, DEFAULT_SIZES, 1, 235),
    "unix.caidx": (0x9000000000001F09, (64, 128, 256), 3, 235),
}


def written(rows: Iterable[Row], feature_flags: int, params: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    writer = IndexWriter(file.write, feature_flags, params)
    for row in rows:
        writer.append(row.end, row.chunk_id)
    writer.finish()
    return file.getvalue()


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[bytes], Index]:
    def save(data: bytes) -> Index:
        (tmp_path / "some.caibx").write_bytes(data)
        return Index.open(str(tmp_path / "some.caibx"))

    return save


def rows_of(lengths: Iterable[int]) -> list[Row]:
    rows, start = [], 0
    for number, length in enumerate(lengths):
        rows.append(Row(start, start + length, ChunkId(number.to_bytes(32, "big"))))
        start += length
    return rows


@pytest.mark.parametrize("name", FILES)
def test_casyncs_files_are_read_and_written_to_the_byte(name: str) -> None:
    feature_flags, params, count, size = FILES[name]
    with Index.open(str(VECTORS / name)) as index:
        assert index.feature_flags == feature_flags
        assert (index.chunk_min, index.chunk_avg, index.chunk_max) == params
        assert (len(index), index.size) == (count, size)
        rows = list(index)
    assert [row.start for row in rows] == [0, *(row.end for row in rows[:-1])][:count]
    assert written(rows, feature_flags, params) == (VECTORS / name).read_bytes()


@pytest.mark.parametrize(("name", "algorithm"), [("numbers.caibx", "sha512_256"), ("fixed.caibx", "sha256")])
def test_ids_are_digests_of_the_ranges(name: str, algorithm: str) -> None:
    content = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(2000))
    with Index.open(str(VECTORS / name)) as index:
        for start, end, chunk_id in index:
            assert hashlib.new(algorithm, content[start:end]).digest() == chunk_id


def test_access_by_position(opened: Callable[[bytes], Index]) -> None:
    rows = rows_of([5, 1, 10, 10])
    with opened(written(rows, 0, (1, 5, 10))) as index:
        assert [index[i] for i in range(-4, 4)] == rows * 2
        assert list(index.rows(1, 3)) == rows[1:3]
        assert list(index.rows(2)) == rows[2:]
        assert list(index.rows(3, 99)) == rows[3:]
        assert index.ids(1, 3) == [row.chunk_id for row in rows[1:3]]
        assert index.ids() == [row.chunk_id for row in rows]
        assert index.ids(4) == index.ids(2, 2) == []
        assert type(index[0].chunk_id) is ChunkId
        for position in (4, -5):
            with pytest.raises(IndexError):
                index[position]


def test_find(opened: Callable[[bytes], Index]) -> None:
    with opened(written(rows_of([5, 1, 10, 10]), 0, (1, 5, 10))) as index:
        assert [index.find(offset) for offset in range(26)] == [0] * 5 + [1] + [2] * 10 + [3] * 10
        for offset in (-1, 26):
            with pytest.raises(IndexError):
                index.find(offset)
    with opened(written([], 0, (1, 1, 1))) as index, pytest.raises(IndexError):
        index.find(0)


def test_many_windows(opened: Callable[[bytes], Index], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "WINDOW_ROWS", 7)
    rows = rows_of(1 + number % 9 for number in range(100))
    with opened(written(rows, 0, (1, 5, 10))) as index:
        assert list(index) == rows
        assert [index[position] for position in reversed(range(100))] == rows[::-1]
        assert index.ids(5, 93) == [row.chunk_id for row in rows[5:93]]
        assert [index.find(row.end - 1) for row in rows] == list(range(100))
        assert [index.find(row.start) for row in reversed(rows)] == list(reversed(range(100)))


def test_an_index_is_never_read_whole(opened: Callable[[bytes], Index], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of([3] * (index_module.WINDOW_ROWS * 4))
    index = opened(written(rows, 0, (1, 5, 10)))
    sizes: list[int] = []
    real = os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        sizes.append(size)
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", counting)
    assert index.find(3 * 5000) == 5000
    assert index[5001] == rows[5001]
    assert sum(sizes) < 100_000
    assert len(sizes) < 20
    index.close()


def test_a_descriptor_is_read_from_its_start_and_closed_if_wanted(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(written(rows_of([5]), 0, (1, 5, 10)))
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 50, os.SEEK_SET)
    index = Index(fd, "x", close_fd=False)
    assert index[0].end == 5
    index.close()
    index.close()
    os.fstat(fd)
    index = Index.open(fd)
    assert index.name == f"descriptor {fd}"
    index.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


GOOD = written(rows_of([5, 10]), 0xB000000000000000, (1, 5, 10))


@pytest.mark.parametrize(
    ("offset", "value", "says"),
    [
        (0, 47, "Not an index"), (0, 64, "Not an index"), (8, c.ENTRY, "Not an index"), (48, 144, "Not an index"),
        (56, c.INDEX, "Not an index"),
        (16, 1 << 50, "Unknown feature flags"), (16, 3 << 60 | 1 << 59, "two digests"), (16, 3, "contradict"),
        (24, 0, "chunk sizes 0, 5, 10"), (24, 6, "chunk sizes"), (32, 11, "chunk sizes"), (40, 4, "chunk sizes"),
        (40, (128 << 20) + 1, "chunk sizes"),
        (64, 0, "Chunk of 0 bytes"), (64, 15, "Chunk of 15 bytes"), (64, 16, "Chunk of 16 bytes"),
        (64, c.U64_MAX, "Chunk of"), (64, 11, "Chunk of 11 bytes"), (104, 5, "Chunk of 0 bytes"),
        (104, 16, "Chunk of 11 bytes"), (104, 4, "Chunk of -1 bytes"), (104, 21, "only 2 chunks"),
        (104, c.U64_MAX, "only 2 chunks"),
        (144, 1, "No tail"), (152, 1, "No tail"), (160, 64, "No tail"), (168, 16, "No tail"), (176, 0, "No tail"),
    ],
)  # fmt: skip
def test_every_field_is_checked(opened: Callable[[bytes], Index], offset: int, value: int, says: str) -> None:
    data = bytearray(GOOD)
    assert unpack_from("<Q", data, offset) != (value,)
    data[offset : offset + 8] = pack("<Q", value)
    with pytest.raises(FormatError, match=says) as caught, opened(bytes(data)) as index:
        list(index)
    assert str(caught.value.name).endswith("some.caibx")


def test_a_bad_row_is_found_by_each_way_to_it(opened: Callable[[bytes], Index]) -> None:
    data = bytearray(GOOD)
    data[64:72] = pack("<Q", 16)
    ways: list[Callable[[Index], object]] = [
        list, lambda index: index[1], lambda index: index.find(3), lambda index: index.ids(1, 2),
    ]  # fmt: skip
    for way in ways:
        with opened(bytes(data)) as index, pytest.raises(FormatError):
            way(index)


def test_find_with_a_damaged_row_on_the_way(opened: Callable[[bytes], Index], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bisection sees single rows; what it finds is right or refused."""
    monkeypatch.setattr(index_module, "WINDOW_ROWS", 2)
    rows = rows_of([10] * 16)
    data = written(rows, 0, (1, 5, 10))
    for damaged in range(15):
        for end in (0, c.U64_MAX):
            at = 64 + 40 * damaged
            for row in rows:
                with opened(data[:at] + pack("<Q", end) + data[at + 8 :]) as index, suppress(FormatError):
                    assert index.find(row.start) == row.start // 10


def test_find_in_a_file_that_is_rewritten_meanwhile(
    opened: Callable[[bytes], Index], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After the bisection, before the rows are read."""
    index = opened(written(rows_of([10] * 16), 0, (1, 5, 10)))
    real = os.pread

    def rewriting(fd: int, size: int, offset: int) -> bytes:
        if size > 40:
            (tmp_path / "some.caibx").write_bytes(written(rows_of([1] * 16), 0, (1, 5, 10)))
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", rewriting)
    with index, pytest.raises(FormatError, match="changed"):
        index.find(95)


def test_largest_sizes_are_accepted(opened: Callable[[bytes], Index]) -> None:
    limit = 128 << 20
    with opened(written(rows_of([limit, limit]), 0, (1, limit, limit))) as index:
        assert index[1].end == 2 * limit


def test_a_file_that_is_cut_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "cut.caibx"
    path.write_bytes(GOOD)
    with Index.open(str(path)) as index:
        os.truncate(path, 100)
        with pytest.raises(FormatError, match=r"cut\.caibx: Index ends early at offset 100"):
            list(index)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="Not a regular file"):
        Index.open(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        Index.open(str(tmp_path / "absent"))


def test_the_writer_passes_blocks_on_and_refuses_what_cannot_be() -> None:
    blocks: list[bytes] = []
    rows = rows_of([3] * 5000)
    writer = IndexWriter(blocks.append, 0, (1, 2, 3))
    for row in rows:
        writer.append(row.end, row.chunk_id)
    assert 3 <= len(blocks) <= 4
    writer.finish()
    assert len(b"".join(blocks)) == 104 + 40 * 5000
    writer = IndexWriter(blocks.append, 0, (1, 2, 3))
    for end, chunk_id in ((0, bytes(32)), (1, bytes(31))):
        with pytest.raises(ValueError, match="No row"):
            writer.append(end, chunk_id)
    writer.append(5, bytes(32))
    with pytest.raises(ValueError, match="can follow 5 with 5"):
        writer.append(5, bytes(32))
    for params in ((0, 1, 1), (2, 1, 3), (1, 4, 3), (1, 2, (128 << 20) + 1)):
        with pytest.raises(ValueError, match="Impossible"):
            IndexWriter(blocks.append, 0, params)
