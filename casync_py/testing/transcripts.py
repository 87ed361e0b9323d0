"""Recorded sessions of the wire protocol: what went each way, in the order in which it was seen in between.

A transcript is a line of JSON, the words of the remote command, and then for each piece that was read its direction
(1 byte: 0 to the server, 1 to the client), its length (4 bytes, little-endian) and its bytes. Pieces are what one read
returned; they end anywhere in a message. `tests/bench/relay.py --record` writes them. Nothing here is shared with the
protocol's own code.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from casync_py.ids import ID_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

TO_SERVER, TO_CLIENT = 0, 1

_FRAME = struct.Struct("<BI")
_HEADER = struct.Struct("<QQ")

# casync caprotocol.h
TYPES = {
    0x3C71D0948CA5FBEE: "HELLO",
    0xB32A91DD2B3E27F8: "INDEX",
    0x4F0932F1043718F5: "INDEX_EOF",
    0x95D6428A69EDDCC5: "ARCHIVE",
    0x450BEF663F24CBAD: "ARCHIVE_EOF",
    0x8AB427E0F89D9210: "REQUEST",
    0x5213DD180A84BC8C: "CHUNK",
    0xD010F9FAC82B7B6C: "MISSING",
    0xAD205DBF1A3686C3: "GOODBYE",
    0xE7D9136B7EFEA352: "ABORT",
}
NUMBERS = {name: number for number, name in TYPES.items()}


class Piece(NamedTuple):
    """What one read returned, TO_SERVER or TO_CLIENT."""

    direction: int
    data: bytes


class Transcript(NamedTuple):
    """A session: the remote command and what went over its pipes."""

    command: list[str]
    pieces: list[Piece]

    def sent(self, direction: int) -> bytes:
        """Everything that went one way."""
        return b"".join(piece.data for piece in self.pieces if piece.direction == direction)


def read_transcript(path: Path | str) -> Transcript:
    """Read a transcript; one that was cut off while it was written ends with its last whole piece.

    Raises:
        ValueError: the file is none.
    """
    head, _, data = Path(path).read_bytes().partition(b"\n")
    pieces, position = [], 0
    while position + _FRAME.size <= len(data):
        direction, size = _FRAME.unpack_from(data, position)
        position += _FRAME.size
        if direction not in {TO_SERVER, TO_CLIENT}:
            raise ValueError(f"{path} is no transcript")
        if position + size <= len(data):
            pieces.append(Piece(direction, data[position : position + size]))
        position += size
    return Transcript(json.loads(head), pieces)


def build_message(name: str, body: bytes = b"", size: int | None = None) -> bytes:
    """A message of one of TYPES with any body; `size` lies about its size."""
    return _HEADER.pack(_HEADER.size + len(body) if size is None else size, NUMBERS[name]) + body


def split_messages(data: bytes) -> list[bytes]:
    """The messages in a stream, each with its header; what follows the last whole one is left out."""
    messages, position = [], 0
    while position + _HEADER.size <= len(data):
        size, _type = _HEADER.unpack_from(data, position)
        if size < _HEADER.size or position + size > len(data):
            break
        messages.append(data[position : position + size])
        position += size
    return messages


def type_name(message: bytes) -> str:
    """A message's type, in casync's word for it; its number in hex where casync has none."""
    _size, number = _HEADER.unpack_from(message)
    return TYPES.get(number, f"{number:#018x}")


def requested_ids(stream: bytes) -> Iterator[bytes]:
    """The ids of all REQUESTs in a stream, in order, duplicates included."""
    for message in split_messages(stream):
        if type_name(message) == "REQUEST":
            for start in range(_HEADER.size + 8, len(message), ID_SIZE):
                yield message[start : start + ID_SIZE]


def chunk_ids(stream: bytes) -> Iterator[bytes]:
    """The ids of all CHUNKs in a stream, in order."""
    for message in split_messages(stream):
        if type_name(message) == "CHUNK":
            start = _HEADER.size + 8
            yield message[start : start + ID_SIZE]
