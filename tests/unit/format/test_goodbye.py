"""GOODBYE tables: hashes, the heap's shape, look-up, tables that lie."""

from __future__ import annotations

from pathlib import Path
from struct import pack, unpack

import pytest

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format.goodbye import Children, Goodbye, encode_goodbye, goodbye_size, heap_order, name_hashes

ARCHIVES = Path(__file__).parents[2] / "vectors/archive"


def test_hashes_of_names() -> None:
    """Values observed with casync 2 (spec 1.6)."""
    assert list(name_hashes([b"a", b"hello.txt", b".caexclude", b"x" * 255])) == [
        0x51BA5A19E058C7AD, 0x768166EC6F1259FB, 0x3894E83FB6320D37, 0x911E9D31D589D2FE,
    ]  # fmt: skip


def in_order(heap: list[int], position: int = 0) -> list[int]:
    if position >= len(heap):
        return []
    return [*in_order(heap, 2 * position + 1), heap[position], *in_order(heap, 2 * position + 2)]


@pytest.mark.parametrize("count", [*range(70), 127, 128, 129, 1000, 1023, 1024])
def test_the_heap_walked_in_order_is_sorted(count: int) -> None:
    """The construction that the spec gives, which with the array's length fixes the order."""
    items = list(range(count))
    assert in_order(heap_order(items)) == items


def test_an_empty_directory() -> None:
    assert encode_goodbye([], [], 0, 64) == pack("<5Q", 40, c.GOODBYE, 64, 40, c.GOODBYE_TAIL_MARKER)


def table(names: list[bytes]) -> tuple[Goodbye, dict[bytes, tuple[int, int]]]:
    """A table for children of growing sizes, with what each name is to give."""
    children = Children(1000)
    expected = {}
    offset = 1064
    for number, name in enumerate(names):
        children.add(name, offset)
        expected[name] = (offset, 100 + number)
        offset += 100 + number
    data = children.goodbye(offset)
    assert len(children) == len(names)
    assert len(data) == goodbye_size(len(names))
    return Goodbye(data[16:], offset), expected


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 3000])
def test_find(count: int) -> None:
    goodbye, expected = table([b"name %d" % number for number in range(count)])
    assert len(goodbye) == count
    assert goodbye.entry_offset == 1000
    for name, place in expected.items():
        assert list(goodbye.find(name)) == [place]
    assert list(goodbye.find(b"absent")) == []


def test_find_yields_every_name_that_shares_the_hash() -> None:
    (wanted,) = name_hashes([b"same"])
    for count in range(1, 40):
        hashes = [5] * count + [wanted] * count + [c.U64_MAX] * count
        offsets = [64 + 100 * number for number in range(3 * count)]
        end = 64 + 100 * 3 * count
        goodbye = Goodbye(encode_goodbye(hashes, offsets, 0, end)[16:], end)
        assert sorted(goodbye.find(b"same")) == [(offset, 100) for offset in offsets[count : 2 * count]]


def test_paths_by_tables_alone_in_an_archive_by_casync() -> None:
    """From the archive's end to dir, from its end to dir/link2, as casync looks up a path (spec 1.6)."""
    data = (ARCHIVES / "default.catar").read_bytes()

    def goodbye_that_ends(end: int) -> Goodbye:
        size = unpack("<Q", data[end - 16 : end - 8])[0]
        return Goodbye(data[end - size + 16 : end], end - size)

    top = goodbye_that_ends(len(data))
    assert (top.entry_offset, len(top)) == (0, 12)
    ((start, size),) = top.find(b"dir")
    assert data[start + 16 : start + 20] == b"dir\0"
    below = goodbye_that_ends(start + size)
    assert below.entry_offset == start + 20
    ((start, size),) = below.find(b"link2")
    assert data[start + 16 : start + 22] == b"link2\0"
    assert b"/a/rather/../long/target\0" in data[start : start + size]


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, 0), (0, c.U64_MAX), (0, 101),  # the item's offset: at the GOODBYE, before the directory's ENTRY, inside it
        (1, 0), (1, 101), (1, c.U64_MAX),  # its size
        (3, 0), (3, 63), (3, 1165), (3, c.U64_MAX),  # distance of the ENTRY
        (4, 0), (4, 63), (4, c.U64_MAX),  # size in the tail
        (5, 0),
    ],
)  # fmt: skip
def test_tables_that_lie(position: int, value: int) -> None:
    good = [100, 100, 7, 164, 64, c.GOODBYE_TAIL_MARKER]
    assert list(Goodbye(pack("<6Q", *good), 1164).find(b"x")) == []
    good[position] = value
    with pytest.raises(FormatError):
        Goodbye(pack("<6Q", *good), 1164)
