"""The kernels in plain Python: same results as `_native.c`, a hundred times slower."""

from __future__ import annotations

import ctypes
import os
import struct
from array import array
from typing import TYPE_CHECKING

from casync_py.native._files import create_files, open_and_examine, read_rest, read_whole
from casync_py.native._runs import plain_run
from casync_py.native._table import BUZHASH_TABLE

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "candidates",
    "create_files",
    "open_and_examine",
    "plain_run",
    "read_rest",
    "read_whole",
    "siphash24",
    "siphash24_many",
    "syncfs",
]

WINDOW = 48
MAX_BYTES = 1 << 31
_MASK32 = (1 << 32) - 1
_MASK64 = (1 << 64) - 1
_LEAVING = tuple((word << 16 | word >> 16) & _MASK32 for word in BUZHASH_TABLE)  # turned by 48, that is by 16


def _byte_view(data: Buffer) -> memoryview:
    view = memoryview(data)
    if not view.c_contiguous:
        raise BufferError("The buffer is not contiguous")
    return view.cast("B")


def candidates(data: Buffer, discriminator: int, /) -> memoryview:
    """Positions at which the rolling hash would allow a cut.

    Args:
        data: any contiguous buffer up to 2 GiB; no reference is kept. The C kernel releases the GIL meanwhile.
        discriminator: 1 to 2^32 - 1.

    Returns:
        Every p in 48..len(data), ascending, for which the hash of data[p - 48:p] modulo `discriminator` is
        `discriminator - 1`; a memoryview of format "I".

    Raises:
        ValueError: the discriminator or the buffer is too large.
    """
    view = _byte_view(data)
    if not 1 <= discriminator <= _MASK32:
        raise ValueError("The discriminator is not in 1..2^32-1")
    if len(view) > MAX_BYTES:
        raise ValueError("The buffer is larger than 2 GiB")
    found = array("I")
    if len(view) < WINDOW:
        return memoryview(found)
    hit = discriminator - 1
    rolled = 0
    for byte in view[:WINDOW]:
        rolled = (rolled << 1 & _MASK32 | rolled >> 31) ^ BUZHASH_TABLE[byte]
    if rolled % discriminator == hit:
        found.append(WINDOW)
    for position, (leaving, entering) in enumerate(zip(view, view[WINDOW:], strict=False), WINDOW + 1):
        rolled = (rolled << 1 & _MASK32 | rolled >> 31) ^ _LEAVING[leaving] ^ BUZHASH_TABLE[entering]
        if rolled % discriminator == hit:
            found.append(position)
    return memoryview(found)


def siphash24(key: bytes, data: Buffer, /) -> int:
    """SipHash-2-4 of one buffer, 64 bits.

    Raises:
        ValueError: the key has not 16 bytes.
    """
    if len(key) != 16:
        raise ValueError(f"A SipHash key has 16 bytes, not {len(key)}")
    k0, k1 = struct.unpack("<QQ", key)
    v0, v1, v2, v3 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    view = _byte_view(data)
    padded = bytes(view) + bytes(7 - len(view) % 8) + bytes([len(view) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v0, v1, v2, v3 = _sip_rounds(v0, v1, v2, v3 ^ word, 2)
        v0 ^= word
    v0, v1, v2, v3 = _sip_rounds(v0, v1, v2 ^ 0xFF, v3, 4)
    return v0 ^ v1 ^ v2 ^ v3


def _sip_rounds(v0: int, v1: int, v2: int, v3: int, count: int) -> tuple[int, int, int, int]:
    for _ in range(count):
        v0 = (v0 + v1) & _MASK64
        v2 = (v2 + v3) & _MASK64
        v1 = (v1 << 13 & _MASK64 | v1 >> 51) ^ v0
        v3 = (v3 << 16 & _MASK64 | v3 >> 48) ^ v2
        v0 = v0 << 32 & _MASK64 | v0 >> 32
        v2 = (v2 + v1) & _MASK64
        v0 = (v0 + v3) & _MASK64
        v1 = (v1 << 17 & _MASK64 | v1 >> 47) ^ v2
        v3 = (v3 << 21 & _MASK64 | v3 >> 43) ^ v0
        v2 = v2 << 32 & _MASK64 | v2 >> 32
    return v0, v1, v2, v3


def siphash24_many(key: bytes, names: list[bytes], /) -> list[int]:
    """SipHash-2-4 of each name, in order.

    Raises:
        ValueError: the key has not 16 bytes.
    """
    return [siphash24(key, name) for name in names]


def syncfs(fd: int, /) -> None:
    """Write what is pending on the file system that `fd` is on, as syncfs(2).

    Raises:
        OSError: what the kernel reports.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
