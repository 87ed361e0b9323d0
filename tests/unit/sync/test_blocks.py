"""The stream comes out of the blocks unchanged, whatever the sizes of what went in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casync_py.chunking.chunker import OVERLAP
from casync_py.errors import SourceChanged
from casync_py.sync.blocks import BlockWriter

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bytes:
    """A payload that delivers at most `step` bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self.data = data
        self.size = len(data)
        self.step = step

    def read_into(self, view: memoryview) -> int:
        piece = self.data[: min(self.step, len(view))]
        view[: len(piece)] = piece
        self.data = self.data[len(piece) :]
        return len(piece)

    def pieces(self) -> Iterator[bytes]:
        yield self.data


class Shrinking(Bytes):
    def read_into(self, view: memoryview) -> int:
        if not self.data:
            raise SourceChanged("x became shorter")
        return super().read_into(view)


def collect(block_size: int) -> tuple[BlockWriter, list[tuple[memoryview, int]]]:
    blocks: list[tuple[memoryview, int]] = []
    return BlockWriter(lambda buffer, length: blocks.append((memoryview(buffer), length)), block_size), blocks


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=300)), max_size=20),
    st.integers(OVERLAP, 200),
    st.integers(1, 300),
)
def test_the_stream_survives(parts: list[tuple[bool, bytes]], block_size: int, step: int) -> None:
    writer, blocks = collect(block_size)
    for copied, data in parts:
        if copied:
            writer.copy(Bytes(data, step))
        else:
            writer.write(data)
    stream = b"".join(data for _, data in parts)
    assert writer.finish() == len(stream)
    assert b"".join(bytes(buffer[OVERLAP : OVERLAP + length]) for buffer, length in blocks) == stream
    position = 0
    for buffer, length in blocks:
        assert 0 < length <= block_size
        before = stream[max(0, position - OVERLAP) : position]
        assert bytes(buffer[OVERLAP - len(before) : OVERLAP]) == before
        position += length


def test_a_source_that_shrinks_is_an_error() -> None:
    writer, _ = collect(100)
    payload = Shrinking(b"abc", 2)
    payload.size = 10
    with pytest.raises(SourceChanged):
        writer.copy(payload)


def test_memory_is_used_again_when_nobody_looks_at_it() -> None:
    buffers = []
    kept = []

    def take(buffer: bytearray, _length: int) -> None:
        buffers.append(id(buffer))
        if len(buffers) == 3:
            kept.append(memoryview(buffer))

    writer = BlockWriter(take, 100)
    for number in range(20):
        writer.write(bytes([number]) * 100)
    assert len(set(buffers)) < 6
    assert buffers[2] not in buffers[3:]
    assert bytes(kept[0][OVERLAP : OVERLAP + 100]) == bytes([2]) * 100
