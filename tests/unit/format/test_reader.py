"""The reader of records: bounds first, any slicing, no copies where none are needed."""

from __future__ import annotations

from struct import pack
from typing import NamedTuple

import pytest

from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format.reader import RecordReader


class Bounds(NamedTuple):
    name: str
    floor: int
    ceiling: int


TABLE = {1: Bounds("SMALL", 16, 48), 2: Bounds("LARGE", 20, c.OFFSET_MAX)}


def record(record_type: int, body: bytes) -> bytes:
    return pack("<QQ", 16 + len(body), record_type) + body


def test_a_body_inside_one_buffer_is_a_view_of_it() -> None:
    data = record(1, b"abcdef") + record(1, b"")
    reader = RecordReader(TABLE, 100)
    reader.feed(data)
    assert reader.header() == (1, 6)
    body = reader.body()
    assert isinstance(body, memoryview)
    assert body.obj is data
    assert bytes(body) == b"abcdef"
    assert (reader.offset, reader.buffered) == (122, 16)
    assert reader.header() == (1, 0)
    assert reader.body() == b""
    assert (reader.offset, reader.buffered) == (138, 0)


@pytest.mark.parametrize("step", [1, 2, 15, 16, 17, 33])
def test_any_slicing_gives_the_same_records(step: int) -> None:
    bodies = [b"", b"x", b"y" * 32, b"z" * 31]
    data = b"".join(record(1, body) for body in bodies)
    reader = RecordReader(TABLE)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    seen = []
    for _ in bodies:
        while (header := reader.header()) is None:
            reader.feed(pieces.pop(0))
        while (body := reader.body()) is None:
            reader.feed(pieces.pop(0))
        assert header == (1, len(body))
        seen.append(bytes(body))
    assert seen == bodies
    assert reader.offset == len(data)


def test_bodies_across_several_waiting_buffers() -> None:
    data = record(1, b"0123456789")
    reader = RecordReader(TABLE)
    for at in range(0, len(data), 3):
        reader.feed(data[at : at + 3])
    assert reader.buffered == len(data)
    assert reader.header() == (1, 10)
    assert reader.body() == b"0123456789"


def test_large_bodies_come_in_slices_of_the_buffers() -> None:
    content = bytes(range(100))
    data = record(2, content) + record(1, b"next")
    reader = RecordReader(TABLE)
    first, second = data[:50], data[50:]
    reader.feed(first)
    assert reader.header() == (2, 100)
    piece = reader.piece(10)
    assert piece.obj is first
    assert bytes(piece) == content[:10]
    assert bytes(reader.piece(1000)) == content[10:34]
    assert (len(reader.piece(1000)), reader.left) == (0, 66)
    reader.feed(second)
    piece = reader.piece(1000)
    assert piece.obj is second
    assert bytes(piece) == content[34:]
    assert (reader.left, len(reader.piece(5))) == (0, 0)
    assert reader.header() == (1, 4)


def test_skip_tells_what_was_not_fed_and_goes_on_behind_it() -> None:
    reader = RecordReader(TABLE)
    reader.feed(record(2, b"x" * 100)[:30])
    reader.feed(b"x" * 20)
    assert reader.header() == (2, 100)
    assert len(reader.piece(4)) == 4
    assert reader.skip() == 66
    assert (reader.offset, reader.left) == (116, 0)
    reader.feed(record(1, b"ab"))
    assert reader.header() == (1, 2)
    assert reader.body() == b"ab"
    assert reader.offset == 134


def test_skip_within_what_was_fed() -> None:
    reader = RecordReader(TABLE)
    reader.feed(record(2, b"x" * 100) + record(1, b""))
    assert reader.header() == (2, 100)
    assert reader.skip() == 0
    assert reader.header() == (1, 0)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (pack("<QQ", 16, 3), "Unknown record type 0x0000000000000003"),
        (pack("<QQ", 15, 1), "SMALL record of 15 bytes"),
        (pack("<QQ", 0, 1), "SMALL record of 0 bytes"),
        (pack("<QQ", 49, 1), "SMALL record of 49 bytes"),
        (pack("<QQ", 19, 2), "LARGE record of 19 bytes"),
        (pack("<QQ", c.U64_MAX, 2), "LARGE record of 18446744073709551615 bytes"),
        (pack("<QQ", c.OFFSET_MAX, 2), f"LARGE record of {c.OFFSET_MAX} bytes"),  # it would end beyond any offset
    ],
)
def test_sizes_are_refused_before_anything_is_kept_for_them(header: bytes, says: str) -> None:
    reader = RecordReader(TABLE, 7)
    reader.feed(header)
    with pytest.raises(FormatError) as caught:
        reader.header()
    assert caught.value.reason == says
    assert caught.value.offset == 7


def test_an_unread_body_is_the_callers_mistake() -> None:
    reader = RecordReader(TABLE)
    reader.feed(record(1, b"abc"))
    reader.header()
    with pytest.raises(ValueError, match="not read"):
        reader.header()
