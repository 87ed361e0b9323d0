from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.holes import BLOCK, write_at, write_sparse

if TYPE_CHECKING:
    from pathlib import Path

X = b"x" * BLOCK
Z = bytes(BLOCK)

PIECES = [
    (b"", 0),
    (b"abc", 0),
    (Z, BLOCK),
    (X, 0),
    (Z[1:], 0),
    (X + Z + X, BLOCK),
    (Z + X + Z + Z, 3 * BLOCK),
    (Z + b"\0" * 100, BLOCK),
    (b"\0" + X[1:] + Z[:-1] + b"x", 0),  # zeros at the head of a block prove nothing
    (Z * 5 + b"end", 5 * BLOCK),
]


@pytest.mark.parametrize(("piece", "expected"), PIECES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_content_is_the_same_and_zero_blocks_are_left_out(
    tmp_path: Path, piece: bytes, expected: int, kind: type[bytes]
) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert write_sparse(fd, kind(piece), 0) == expected
        os.ftruncate(fd, len(piece))
        assert os.pread(fd, len(piece) + 1, 0) == piece
        assert os.lseek(fd, 0, os.SEEK_CUR) == 0
    finally:
        os.close(fd)


@pytest.mark.parametrize("offset", [1, 100, BLOCK - 1, BLOCK, BLOCK + 7, 5 * BLOCK + 4000])
def test_blocks_are_those_of_the_file_not_of_the_piece(tmp_path: Path, offset: int) -> None:
    piece = b"start" + bytes(3 * BLOCK) + b"end"
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        write_at(fd, b"y" * offset, 0)
        left_out = write_sparse(fd, piece, offset)
        assert left_out in {2 * BLOCK, 3 * BLOCK}
        assert os.pread(fd, offset + len(piece) + 1, 0) == b"y" * offset + piece
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("size", "offset", "expected"),
    [(BLOCK, 1, 0), (2 * BLOCK - 2, 1, 0), (2 * BLOCK - 1, 1, BLOCK), (BLOCK, BLOCK, BLOCK)],
)
def test_only_whole_blocks_of_the_file_are_left_out(tmp_path: Path, size: int, offset: int, expected: int) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert write_sparse(fd, bytes(size), offset) == expected
    finally:
        os.close(fd)


def test_a_hole_takes_no_room(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        write_sparse(fd, X + bytes(1 << 20) + X, 0)
        status = os.fstat(fd)
        assert status.st_size == (1 << 20) + 2 * BLOCK
        assert status.st_blocks * 512 < 1 << 18
    finally:
        os.close(fd)


def test_a_refused_write_is_an_error() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space left"):
            write_sparse(fd, X + Z, 0)
    finally:
        os.close(fd)
