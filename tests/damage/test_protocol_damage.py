"""Recorded sessions of casync, cut off and with flipped bits: an error of the other end or a legal message, no more."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from casync_py.errors import PeerError, ProtocolError
from casync_py.ids import ChunkId
from casync_py.protocol.connection import Connection, Role
from casync_py.protocol.messages import MESSAGE_MAX, OUTSTANDING_MAX, ChunkData, Hello, IndexData, IndexEnd, Request
from casync_py.protocol.state import DEAF
from casync_py.testing.connections import OTHER
from casync_py.testing.transcripts import (
    TO_CLIENT,
    TO_SERVER,
    read_transcript,
    requested_ids,
    split_messages,
    type_name,
)

VECTORS = Path(__file__).parents[1] / "vectors/transcripts"
ENDS = [
    ("pull-tree", Role.PULL_CLIENT),
    ("pull-tree", Role.PULL_SERVER),
    ("pull-index", Role.PULL_CLIENT),
    ("pull-missing", Role.PULL_CLIENT),
    ("push-tree", Role.PUSH_CLIENT),
    ("push-tree", Role.PUSH_SERVER),
    ("push-known", Role.PUSH_SERVER),
]
SESSION = pytest.mark.parametrize(("name", "role"), ENDS, ids=[f"{name}-{role.name}" for name, role in ENDS])


class Session:
    """A recorded session, from the place of one of its ends."""

    def __init__(self, name: str, role: Role) -> None:
        transcript = read_transcript(VECTORS / f"{name}.transcript")
        direction = TO_CLIENT if role in {Role.PULL_CLIENT, Role.PUSH_CLIENT} else TO_SERVER
        self.role = role
        self.incoming = transcript.sent(direction)
        outgoing = transcript.sent(1 - direction)
        (self.flags,) = struct.unpack_from("<Q", outgoing, 16)
        self.asked = list(dict.fromkeys(map(ChunkId, requested_ids(outgoing))))
        self.index = [part[16:] for part in split_messages(outgoing) if type_name(part) == "INDEX"]

    def feed(self, data: bytes, *, step: int = 0) -> tuple[Connection, int, str]:
        """How far an end gets with the data and then the end of input: messages, and the error's text.

        It says HELLO, then all that it can, and a push client answers what it is asked.
        """
        end = Connection(self.role, self.flags)
        end.send(Hello())
        step = step or (64 if self.role is Role.PUSH_CLIENT else MESSAGE_MAX)  # before GOODBYE all is answered
        count, error = 0, ""
        try:
            for part in (data[:24], *(data[at : at + step] for at in range(24, len(data), step))):
                for message in end.receive(part):
                    count += 1
                    if isinstance(message, Hello):
                        self._say_all(end)
                    elif isinstance(message, Request) and self.role is Role.PUSH_CLIENT:
                        for chunk_id in message.ids:
                            end.send(ChunkData(chunk_id, b"data", compressed=False))
            end.receive_end()
        except PeerError as caught:
            error = str(caught)
        return end, count, error

    def _say_all(self, end: Connection) -> None:
        if self.asked:
            end.send(Request(self.asked))
        if self.role is Role.PUSH_CLIENT:
            for piece in self.index:
                end.send(IndexData(piece))
            end.send(IndexEnd())


@SESSION
def test_the_session_itself(name: str, role: Role) -> None:
    session = Session(name, role)
    for step in (0, 24, 63):
        end, count, error = session.feed(session.incoming, step=step)
        assert count == len(split_messages(session.incoming))
        if role is Role.PUSH_SERVER:
            assert "ended early" in error  # we have said no GOODBYE
        else:
            assert not error
            assert end.done


@SESSION
def test_every_truncation(name: str, role: Role) -> None:
    session = Session(name, role)
    whole = split_messages(session.incoming)
    ends, total = {0}, 0
    for message in whole:
        total += len(message)
        ends.add(total)
    for size in range(len(session.incoming)):
        end, count, error = session.feed(session.incoming[:size])
        assert count <= sum(1 for at in ends if 0 < at <= size)
        if size not in ends:
            assert "ended early" in error or end.state in DEAF, size
        if error:
            assert not end.done


@SESSION
def test_a_flipped_bit_in_every_byte(name: str, role: Role) -> None:
    session = Session(name, role)
    damaged = bytearray(session.incoming)
    refused = 0
    for at in range(len(damaged)):
        for bit in range(8) if len(damaged) < 3000 else ((at * 5 + at // 8) % 8,):
            damaged[at] ^= 1 << bit
            end, _count, error = session.feed(bytes(damaged))
            damaged[at] ^= 1 << bit
            refused += error != ""
            if at < 16:
                assert error
                assert not end.done
    assert refused > 30


@SESSION
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, MESSAGE_MAX, MESSAGE_MAX + 1, 1 << 63, (1 << 64) - 1])
def test_another_size_in_every_header(name: str, role: Role, size: int) -> None:
    session = Session(name, role)
    at = 0
    for message in split_messages(session.incoming)[:60]:
        if len(message) != size:
            damaged = session.incoming[:at] + size.to_bytes(8, "little") + session.incoming[at + 8 :]
            end, _count, error = session.feed(damaged)
            assert error or end.role is Role.PULL_CLIENT or end.state in DEAF
            if size < 16 or size > MESSAGE_MAX:
                assert f"of {size} bytes" in error
        at += len(message)


@SESSION
def test_every_message_twice_or_not_at_all(name: str, role: Role) -> None:
    session = Session(name, role)
    messages = split_messages(session.incoming)
    for number in range(min(len(messages), 60)):
        for times in (0, 2):
            changed = [*messages[:number], *[messages[number]] * times, *messages[number + 1 :]]
            end, _count, error = session.feed(b"".join(changed))
            name_of = type_name(messages[number])
            if name_of == "HELLO" or (name_of in {"CHUNK", "INDEX_EOF", "MISSING"} and times == 2):
                assert "Unexpected" in error or "without being requested" in error, (number, times)
            assert not (error and end.done)


@SESSION
def test_the_other_ends_words(name: str, role: Role) -> None:
    """What this end would say itself, it does not take."""
    session, mirrored = Session(name, role), Session(name, OTHER[role])
    assert session.feed(session.incoming[:24] + mirrored.incoming[24:])[2]
    assert session.feed(mirrored.incoming)[2]


def test_a_flood_of_requests_in_large_messages() -> None:
    """Each as large as may be, with ids that nobody has."""
    server = Connection(Role.PULL_SERVER, 0x1)
    server.send(Hello())
    server.receive(b"".join(Hello(0x40).wire_parts()))
    raw = bytearray(b"".join(Request([ChunkId(bytes(32))] * OUTSTANDING_MAX).wire_parts()))
    for number in range(OUTSTANDING_MAX):
        raw[24 + 32 * number : 28 + 32 * number] = struct.pack("<I", number)
    assert len(server.receive(bytes(raw))) == 1
    raw[30] = 1
    with pytest.raises(ProtocolError, match="More than 65536"):
        server.receive(bytes(raw))
    assert server.outstanding <= 2 * OUTSTANDING_MAX
