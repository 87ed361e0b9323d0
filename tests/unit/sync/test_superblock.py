"""How much of a device its file system claims."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from casync_py.sync.superblock import device_size, file_system_size

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 2048


def head(*fields: tuple[int, str, tuple[object, ...]]) -> bytes:
    buffer = bytearray(HEAD)
    for offset, form, values in fields:
        struct.pack_into("<" + form, buffer, offset, *values)
    return bytes(buffer)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (head(), None),
        (b"hsqs", None),
        (head((0, "4s", (b"hsqs",)), (40, "Q", (5000,))), 8192),
        (head((0, "8sI4xI4xI8xII", (b"ANDROID!", 1, 2049, 0, 2048, 5))), 2048 + 2048 + 4096 + 2048),
        (head((0, "8sI4xI4xI8xII", (b"ANDROID!", 1, 2049, 0, 3, 5))), None),
        (head((1024 + 56, "H", (0xEF53,)), (1024 + 4, "I", (1000,)), (1024 + 24, "I", (2,))), 1000 * 4096),
        (head((1024 + 56, "H", (0xEF53,)), (1024 + 24, "I", (63,))), None),
        (head((510, "2s", (b"\x55\xaa",)), (54, "5s", (b"FAT16",)), (11, "H", (512,)), (19, "H", (2880,))), 1474560),
        (head((510, "2s", (b"\x55\xaa",)), (82, "5s", (b"FAT32",)), (11, "H", (512,)), (32, "I", (4096,))), 2 << 20),
        (head((510, "2s", (b"\x55\xaa",)), (19, "H", (2880,))), None),
    ],
)
def test_claimed_size(data: bytes, size: int | None) -> None:
    assert file_system_size(data) == size


def test_a_claim_beyond_the_device_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "device"
    path.write_bytes(head((0, "4s", (b"hsqs",)), (40, "Q", (1 << 40,))))
    with path.open("rb") as file:
        assert device_size(file.fileno()) == HEAD
        assert device_size(file.fileno(), whole=True) == HEAD
        assert file.tell() == 0
