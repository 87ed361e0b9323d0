"""A body of an exchange says the same however it is cut, and garbage in it is an error of the protocol."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from casync_py.errors import PeerError
from casync_py.ids import ChunkId
from casync_py.protocol.messages import ChunkData, IndexData, IndexEnd, Message, Missing, Request
from casync_py.protocol.posted import BodyReader, Exchange, Side, body

IDS = st.binary(min_size=32, max_size=32).map(ChunkId)
REQUESTS = st.lists(IDS, min_size=1, max_size=20).map(Request)
CHUNKS = st.builds(ChunkData, IDS, st.binary(min_size=1, max_size=6000), st.booleans())
INDEXES = st.binary(min_size=1, max_size=6000).map(IndexData)

CONTENTS: dict[tuple[Exchange, Side], st.SearchStrategy[list[Message]]] = {
    (Exchange.PULL, Side.CLIENT): st.lists(REQUESTS, max_size=5),
    (Exchange.PULL, Side.SERVER): st.lists(CHUNKS | IDS.map(Missing), max_size=10),
    (Exchange.ASK, Side.CLIENT): st.lists(INDEXES, max_size=5).map(lambda pieces: [*pieces, IndexEnd()]),
    (Exchange.ASK, Side.SERVER): st.lists(REQUESTS, max_size=5),
    (Exchange.SEND, Side.CLIENT): st.lists(CHUNKS, max_size=10),
    (Exchange.SEND, Side.SERVER): st.just([]),
}
BODIES = st.sampled_from(sorted(CONTENTS, key=str)).flatmap(lambda key: st.tuples(st.just(key), CONTENTS[key]))


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def plain(message: Message) -> Message:
    """With data of its own, to be compared."""
    if isinstance(message, ChunkData):
        return ChunkData(message.chunk_id, bytes(message.data), message.compressed)
    return IndexData(bytes(message.data)) if isinstance(message, IndexData) else message


@given(BODIES, st.lists(st.integers(0, 1 << 20), max_size=20))
def test_cut_anywhere(made: tuple[tuple[Exchange, Side], list[Message]], cuts: list[int]) -> None:
    (exchange, side), messages = made
    reader = BodyReader(exchange, side)
    got: list[Message] = []
    for piece in pieces_of(body(exchange, side, messages), cuts):
        got += map(plain, reader.feed(piece))
    reader.finish()
    assert got == messages


@given(BODIES)
def test_byte_by_byte(made: tuple[tuple[Exchange, Side], list[Message]]) -> None:
    (exchange, side), messages = made
    reader = BodyReader(exchange, side)
    got: list[Message] = []
    for value in body(exchange, side, messages)[:20000]:
        got += map(plain, reader.feed(bytes([value])))
    assert got == messages[: len(got)]
    assert len(got) == len(messages) or not reader.done


@given(BODIES, st.integers(0, 1 << 20), st.binary(min_size=1, max_size=16))
def test_damage_is_an_error_of_the_peer_or_goes_unnoticed(
    made: tuple[tuple[Exchange, Side], list[Message]], place: int, damage: bytes
) -> None:
    (exchange, side), messages = made
    data = bytearray(body(exchange, side, messages))
    place %= len(data)
    data[place : place + len(damage)] = damage
    reader = BodyReader(exchange, side)
    with suppress(PeerError):
        reader.feed(bytes(data))
        reader.finish()
