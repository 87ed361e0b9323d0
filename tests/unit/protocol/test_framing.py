"""Slicing of the stream, and what it costs to keep what is not complete."""

from __future__ import annotations

import tracemalloc

import pytest

from casync_py.errors import ProtocolError
from casync_py.ids import ChunkId
from casync_py.protocol.framing import MessageReader
from casync_py.protocol.messages import ArchiveData, ChunkData, Hello, IndexEnd, Message

ID = ChunkId(bytes(range(32)))
MESSAGES: list[Message] = [
    Hello(0x5),
    ChunkData(ID, bytes(range(256)) * 700, compressed=True),
    IndexEnd(),
    ArchiveData(b"a" * 70000),
    IndexEnd(),
    ArchiveData(b"b"),
]
STREAM = b"".join(bytes(part) for message in MESSAGES for part in message.wire_parts())


def read_all(reader: MessageReader) -> list[Message]:
    messages = []
    while reader.kind() is not None and (message := reader.message()) is not None:
        messages.append(message)
    return messages


@pytest.mark.parametrize("step", [1, 15, 16, 17, 63, 4095, 4096, 4097, 65535, 65536, 65537, 200000, len(STREAM)])
def test_slices_do_not_matter(step: int) -> None:
    reader = MessageReader()
    messages = []
    for at in range(0, len(STREAM), step):
        if reader.feed(STREAM[at : at + step]):
            messages += read_all(reader)
    assert messages == MESSAGES
    assert not reader.inside


def test_pieces_of_all_sizes_in_one_message() -> None:
    """Small ones are joined, large ones kept as they are, and the order stays."""
    sizes = [30, 5, 5000, 1, 4095, 4096, 70000, 3, 0, 65530, 10, 1, 100000]
    reader = MessageReader()
    messages, at = [], 0
    while at < len(STREAM):
        for size in sizes:
            if reader.feed(memoryview(STREAM)[at : at + size]):
                messages += read_all(reader)
            at += size
    assert messages == MESSAGES


def test_inside_a_message_or_not() -> None:
    reader = MessageReader()
    assert not reader.inside
    for at in range(24):
        if reader.feed(STREAM[at : at + 1]):
            read_all(reader)
        assert reader.inside == (at < 23)


def test_many_small_pieces_cost_no_more_than_their_bytes() -> None:
    data = ArchiveData(bytes(1 << 18)).wire_parts()
    reader = MessageReader()
    tracemalloc.start()
    try:
        reader.feed(data[0])
        reader.kind()
        assert reader.message() is None
        for at in range(0, (1 << 18) - 2, 2):
            assert not reader.feed(bytes([at & 255, 255]))
        assert tracemalloc.get_traced_memory()[1] < 3 << 18
    finally:
        tracemalloc.stop()
    assert reader.feed(b"zz")
    (message,) = read_all(reader)
    assert isinstance(message, ArchiveData)
    assert len(message.data) == 1 << 18
    assert message.data[-4:] == b"\xfc\xffzz"


def test_a_header_is_judged_before_its_body_comes() -> None:
    reader = MessageReader()
    reader.feed(b"\xff" * 16)
    with pytest.raises(ProtocolError):
        reader.kind()


def test_the_beginning_is_shown_safely() -> None:
    reader = MessageReader()
    for piece in (b"\x1b[31mWel", b"come!\xff\n" * 20):
        reader.feed(piece)
    assert reader.beginning().startswith(r"'\x1b[31mWelcome!\ufffd\ncome!")
    assert len(reader.beginning()) < 120


def test_a_body_is_asked_for_after_its_kind() -> None:
    with pytest.raises(ValueError, match="kind"):
        MessageReader().message()
