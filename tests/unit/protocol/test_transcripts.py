"""Sessions of casync with casync: both our ends accept them, and what they say in their place is the same bytes."""

from __future__ import annotations

import struct
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import ProtocolError
from casync_py.protocol.connection import Connection, Role
from casync_py.protocol.messages import Hello, Message, Request
from casync_py.testing.transcripts import TO_CLIENT, TO_SERVER, Piece, read_transcript, split_messages

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).parents[2] / "vectors/transcripts"
NAMES = [
    "pull-blob",
    "pull-tree",
    "pull-archive",
    "pull-digest",
    "pull-store",
    "pull-index",
    "pull-missing",
    "push-blob",
    "push-known",
    "push-tree",
    "push-archive",
]
OTHER = {
    Role.PULL_CLIENT: Role.PULL_SERVER,
    Role.PULL_SERVER: Role.PULL_CLIENT,
    Role.PUSH_CLIENT: Role.PUSH_SERVER,
    Role.PUSH_SERVER: Role.PUSH_CLIENT,
}
SLICES: dict[str, Callable[[bytes], list[bytes]]] = {
    "whole": lambda data: [data],
    "bytes": lambda data: [data[at : at + 1] for at in range(len(data))],
    "41 bytes": lambda data: [data[at : at + 41] for at in range(0, len(data), 41)],
}


def session(name: str) -> list[Piece]:
    """The session as recorded, a piece for each run of whole messages in one direction."""
    messages = []
    waiting = [b"", b""]
    for direction, data in read_transcript(VECTORS / f"{name}.transcript").pieces:
        waiting[direction] += data
        whole = b"".join(split_messages(waiting[direction]))
        waiting[direction] = waiting[direction][len(whole) :]
        messages.append(Piece(direction, whole))
    assert waiting == [b"", b""]
    runs = groupby(messages, key=lambda piece: piece.direction)
    return [Piece(direction, b"".join(piece.data for piece in run)) for direction, run in runs]


def as_its_client_saw_it(name: str) -> list[Piece]:
    """A pull, the client's questions before the answers, which had not reached it yet."""
    pieces = session(name)
    hellos = [Piece(direction, data[:24]) for direction, data in pieces[:2]]
    rest = [Piece(direction, data[24:]) for direction, data in pieces[:2]] + pieces[2:]
    return hellos + sorted(rest, key=lambda piece: piece.direction)


def flags_of(pieces: list[Piece], direction: int) -> int:
    """What that side's HELLO says."""
    data = next(piece.data for piece in pieces if piece.direction == direction)
    _size, _type, flags = struct.unpack_from("<3Q", data)
    return int(flags)


class Replay:
    """An end of ours in the place of casync's, beside a mirror of the other end that turns bytes into messages."""

    def __init__(self, role: Role, pieces: list[Piece]) -> None:
        self.towards = TO_CLIENT if role in {Role.PULL_CLIENT, Role.PUSH_CLIENT} else TO_SERVER
        self.end = Connection(role, flags_of(pieces, 1 - self.towards))
        self.mirror = Connection(OTHER[role], flags_of(pieces, self.towards))
        self.pieces = pieces
        self._said = self.end.send(Hello())  # both say HELLO first, whatever came first in between
        self.mirror.send(Hello())

    def run(self, cut: Callable[[bytes], list[bytes]]) -> None:
        """Go through the session; what our end said has to be what casync's said."""
        for direction, data in self.pieces:
            if direction == self.towards:
                for message in self._decoded(self.end, data, cut):
                    if not isinstance(message, Hello) and not self._asked_late(message):
                        self.mirror.send(message)
            else:
                for message in self._decoded(self.mirror, data, cut):
                    if not isinstance(message, Hello):
                        self._said += self.end.send(message)
        assert self._said == b"".join(data for direction, data in self.pieces if direction != self.towards)

    @staticmethod
    def _decoded(receiver: Connection, data: bytes, cut: Callable[[bytes], list[bytes]]) -> list[Message]:
        return [message for part in cut(data) for message in receiver.receive(part)]

    def _asked_late(self, message: Message) -> bool:
        """Whether a pull client asks for what was answered meanwhile: casync's does, ours may not."""
        return isinstance(message, Request) and any(self.mirror.answered(chunk_id) for chunk_id in message.ids)


def roles(name: str) -> tuple[Role, Role]:
    return (Role.PULL_CLIENT, Role.PULL_SERVER) if name.startswith("pull") else (Role.PUSH_CLIENT, Role.PUSH_SERVER)


@pytest.mark.parametrize("cut", SLICES.values(), ids=SLICES.keys())
@pytest.mark.parametrize("name", NAMES)
def test_the_server_of_a_session(name: str, cut: Callable[[bytes], list[bytes]]) -> None:
    replay = Replay(roles(name)[1], session(name))
    replay.run(cut)
    replay.end.receive_end()
    assert replay.end.done


@pytest.mark.parametrize("cut", SLICES.values(), ids=SLICES.keys())
@pytest.mark.parametrize("name", NAMES)
def test_the_client_of_a_session(name: str, cut: Callable[[bytes], list[bytes]]) -> None:
    replay = Replay(roles(name)[0], as_its_client_saw_it(name) if name.startswith("pull") else session(name))
    replay.run(cut)
    assert replay.end.done == (name.startswith("push"))


def test_a_server_that_leaves_after_its_hello() -> None:
    replay = Replay(Role.PULL_CLIENT, session("pull-no-index"))
    replay.run(SLICES["whole"])
    with pytest.raises(ProtocolError, match="ended"):
        replay.end.receive_end()


def test_a_client_that_leaves_after_its_hello() -> None:
    (piece,) = session("push-store")
    server = Connection(Role.PUSH_SERVER, 0x2)
    server.send(Hello())
    (hello,) = server.receive(piece.data)
    assert hello == Hello(0x200)
