"""Each message's wire form, and what its body may not be."""

from __future__ import annotations

import struct

import pytest

from casync_py.errors import ProtocolError
from casync_py.ids import ChunkId
from casync_py.protocol import messages as m
from casync_py.protocol.framing import MessageReader

A, B = ChunkId(b"a" * 32), ChunkId(b"b" * 32)

# The bytes as spec/casync.md, 5.1, has them; EXAMINED is not casync's.
WIRE: list[tuple[m.Message, str]] = [
    (m.Hello(0xC0), "18 00000000000000 eefba58c94d0713c c000000000000000"),
    (m.IndexData(b"x"), "11 00000000000000 f8273e2bdd912ab3 78"),
    (m.IndexEnd(), "10 00000000000000 f5183704f132094f"),
    (m.ArchiveData(b"yz"), "12 00000000000000 c5dced698a42d695 797a"),
    (m.ArchiveEnd(), "10 00000000000000 adcb243f66ef0b45"),
    (m.Request([A, B], urgent=True), f"58 00000000000000 10929df8e027b48a 0100000000000000 {A.hex()} {B.hex()}"),
    (m.Request([B]), f"38 00000000000000 10929df8e027b48a 0000000000000000 {B.hex()}"),
    (m.Request([B], unanswered=True), f"38 00000000000000 10929df8e027b48a 0200000000000000 {B.hex()}"),
    (m.ChunkData(A, b"z", compressed=True), f"39 00000000000000 8cbc840a18dd1352 0100000000000000 {A.hex()} 7a"),
    (m.ChunkData(A, b"z", compressed=False), f"39 00000000000000 8cbc840a18dd1352 0000000000000000 {A.hex()} 7a"),
    (m.Missing(B), f"30 00000000000000 6c7b2bc8faf910d0 {B.hex()}"),
    (m.Goodbye(), "10 00000000000000 c386361abf5d20ad"),
    (m.Abort(2, "No"), "1b 00000000000000 52a3fe7e6b13d9e7 0200000000000000 4e6f00"),
    (m.Examined(7), "18 00000000000000 74d0c9526a1f3b8e 0700000000000000"),
]
IDS = [f"{type(message).__name__}{index}" for index, (message, _wire) in enumerate(WIRE)]


def parsed(data: bytes) -> m.Message | None:
    reader = MessageReader()
    assert reader.feed(data)
    return None if reader.kind() is None else reader.message()


def framed(kind: int, body: bytes) -> bytes:
    return struct.pack("<QQ", 16 + len(body), kind) + body


@pytest.mark.parametrize(("message", "wire"), WIRE, ids=IDS)
def test_wire_form(message: m.Message, wire: str) -> None:
    assert b"".join(message.wire_parts()) == bytes.fromhex(wire)
    assert parsed(bytes.fromhex(wire)) == message


def test_every_message_is_in_every_table() -> None:
    kinds = {type(message) for message, _wire in WIRE}
    assert kinds == {bound.kind for bound in m.BOUNDS.values()} == set(m.NAME_OF)
    assert len(m.BOUNDS) == len(kinds)


def test_data_is_not_copied() -> None:
    data = b"content" * 100
    assert m.ChunkData(A, data, compressed=True).wire_parts()[1] is data
    message = parsed(framed(m.CHUNK, bytes(8) + A + data))
    assert isinstance(message, m.ChunkData)
    assert isinstance(message.data, memoryview)
    assert message.data == data
    assert type(message.chunk_id) is ChunkId


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (m.REQUEST, struct.pack("<Q", 4) + A),
        (m.REQUEST, struct.pack("<Q", 1 << 63) + A),
        (m.REQUEST, bytes(8) + A + b"x"),
        (m.REQUEST, bytes(8) + A + A[:31]),
        (m.CHUNK, struct.pack("<Q", 2) + A + b"x"),
        (m.CHUNK, struct.pack("<Q", 1 << 32) + A + b"x"),
        (m.ABORT, struct.pack("<Q", m.ERRNO_MAX) + b"x\0"),
        (m.ABORT, struct.pack("<Q", 0) + b"no end"),
        (m.ABORT, struct.pack("<Q", 0) + b"two\0ends\0"),
        (m.ABORT, struct.pack("<Q", 0) + b"a\nline\0"),
        (m.ABORT, struct.pack("<Q", 0) + b"\x1b[2J\0"),
        (m.ABORT, struct.pack("<Q", 0) + b"\x7f\0"),
    ],
)
def test_bad_bodies(kind: int, body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parsed(framed(kind, body))


@pytest.mark.parametrize("kind", m.BOUNDS)
@pytest.mark.parametrize("size", [0, 15, m.MESSAGE_MAX + 1, 1 << 32, 1 << 63, (1 << 64) - 1])
def test_sizes_that_no_message_has(kind: int, size: int) -> None:
    reader = MessageReader()
    reader.feed(struct.pack("<QQ", size, kind))
    with pytest.raises(ProtocolError, match=r"(?i)This is no message: .* of \d+ bytes"):
        reader.kind()


@pytest.mark.parametrize("kind", m.BOUNDS)
def test_sizes_next_to_the_bounds(kind: int) -> None:
    bound = m.BOUNDS[kind]
    for size in (bound.floor, bound.ceiling):
        reader = MessageReader()
        reader.feed(struct.pack("<QQ", size, kind))
        assert reader.kind() is bound.kind
    for size in (bound.floor - 1, bound.ceiling + 1):
        reader = MessageReader()
        reader.feed(struct.pack("<QQ", size, kind))
        with pytest.raises(ProtocolError, match=bound.name):
            reader.kind()


def test_an_unknown_type() -> None:
    with pytest.raises(ProtocolError, match="Unknown record type 0x000000000000abcd"):
        parsed(framed(0xABCD, b""))


def test_the_largest_messages() -> None:
    data = bytes(m.CHUNK_DATA_MAX)
    message = m.ChunkData(A, data, compressed=False)
    assert parsed(b"".join(message.wire_parts())) == message
    assert len(message.wire_parts()[0]) + len(data) == m.MESSAGE_MAX == 16777216


@pytest.mark.parametrize(
    ("reason", "arrives"),
    [
        ("No such file: /a b/ä", "No such file: /a b/ä"),
        ("a\nb\x1b\x7f\x00c", "a\ufffdb\ufffd\ufffd\ufffdc"),
        ("surrogate \udcff", "surrogate \ufffd"),
        ("turned \u202e round", "turned \ufffd round"),
        ("", ""),
        ("x" * 5000, "x" * m.ABORT_REASON_MAX),
    ],
)
def test_an_aborts_reason_is_one_line(reason: str, arrives: str) -> None:
    head, data = m.Abort(5, reason).wire_parts()
    if reason:
        assert parsed(head + bytes(data)) == m.Abort(5, arrives)
    else:
        assert parsed(head) == m.Abort(5, "")


def test_an_aborts_reason_that_is_no_utf8_is_shown_as_well_as_may_be() -> None:
    assert parsed(framed(m.ABORT, bytes(8) + b"caf\xe9\xc2\x9b\0")) == m.Abort(0, "caf\ufffd\ufffd")
