"""Blocks of input: what was given stays as it is while somebody looks at it, and the memory comes back after that."""

from __future__ import annotations

import pytest

from casync_py.transport.blocks import InputBlocks

pytestmark = pytest.mark.usefixtures("nothing_left")

SIZE = 1 << 18


def fill(blocks: InputBlocks, size: int, value: int) -> memoryview:
    blocks.room()[:size] = bytes([value]) * size
    return blocks.take(size)


def test_small_reads_share_a_block() -> None:
    blocks = InputBlocks(SIZE)
    views = [fill(blocks, 1000, value) for value in range(100)]
    assert [bytes(view) for view in views] == [bytes([value]) * 1000 for value in range(100)]
    assert len({id(view.obj) for view in views}) == 1


def test_there_is_always_room_for_a_good_read() -> None:
    blocks = InputBlocks(SIZE)
    for _ in range(50):
        assert len(blocks.room()) >= 1 << 16
        fill(blocks, 10_000, 1)


def test_what_is_looked_at_is_not_used_again() -> None:
    blocks = InputBlocks(SIZE)
    views = [fill(blocks, 1 << 16, value) for value in range(60)]
    assert [bytes(view) for view in views] == [bytes([value]) * (1 << 16) for value in range(60)]


def test_one_block_is_enough_where_nobody_keeps_anything() -> None:
    blocks = InputBlocks(SIZE)
    assert len({id(fill(blocks, 1 << 16, 1).obj) for _ in range(50)}) == 1


def test_what_nobody_looks_at_is_used_again() -> None:
    blocks = InputBlocks(SIZE)
    kept = fill(blocks, 1 << 16, 255)
    seen = {id(fill(blocks, 1 << 16, value % 255).obj) for value in range(200)}
    assert len(seen) <= 4
    assert bytes(kept) == b"\xff" * (1 << 16)
