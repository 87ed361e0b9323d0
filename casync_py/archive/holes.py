"""Write data so that runs of zeros stay holes in the file."""

from __future__ import annotations

import os

BLOCK = 4096  # casync's unit too; what a file system can leave out starts and ends at multiples of its block
_ZEROS = bytes(BLOCK)


def write_sparse(fd: int, piece: bytes | bytearray | memoryview, offset: int) -> int:
    """Write `piece` at `offset`, but leave out each block of 4096 zeros that lies at a multiple of 4096 in the file.

    For places where nothing was written before. A file that ends in a hole needs an `ftruncate` to its size. The file
    offset of `fd` is neither used nor moved.

    Returns:
        Number of bytes left out.

    Raises:
        OSError: from writing; part of the piece may have been written.
    """
    size = len(piece)
    first = -offset % BLOCK
    if size - first < BLOCK:
        write_at(fd, piece, offset)
        return 0
    view = memoryview(piece)
    # One byte of each block tells most of those apart that are not zero; only the rest is looked at whole.
    heads = bytes(view[first : size - BLOCK + 1 : BLOCK])
    left_out = done = 0
    index = heads.find(0)
    while index >= 0:
        start = first + index * BLOCK
        if bytes(view[start : start + BLOCK]) == _ZEROS:
            if start > done:
                write_at(fd, view[done:start], offset + done)
            done = start + BLOCK
            left_out += BLOCK
        index = heads.find(0, index + 1)
    if done < size:
        write_at(fd, view[done:], offset + done)
    return left_out


def write_at(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write a whole buffer at `offset`, however many calls it takes."""
    written = os.pwrite(fd, data, offset)
    if written < len(data):
        view = memoryview(data)
        while written < len(view):
            written += os.pwrite(fd, view[written:], offset + written)
