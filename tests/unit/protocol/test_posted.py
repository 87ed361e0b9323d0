"""Casync's messages in POST bodies: every message in every state of every body, and whole bodies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from casync_py.errors import PeerError, ProtocolError
from casync_py.ids import ChunkId
from casync_py.protocol import flags as f
from casync_py.protocol.messages import (
    NAME_OF,
    Abort,
    ArchiveData,
    ArchiveEnd,
    ChunkData,
    Examined,
    Goodbye,
    Hello,
    IndexData,
    IndexEnd,
    Message,
    Missing,
    Request,
)
from casync_py.protocol.posted import FAREWELL, HELLO_FLAGS, BodyReader, Exchange, Side, body, greeting, joined

ID = ChunkId(bytes(range(32)))
CHUNK = ChunkData(ID, b"content", compressed=False)

BODIES = [(exchange, side) for exchange in Exchange for side in Side]
# What may follow HELLO in each body, beside what ends it; after INDEX_EOF only an end may follow.
MEANT: dict[tuple[Exchange, Side], set[type[Message]]] = {
    (Exchange.PULL, Side.CLIENT): {Request},
    (Exchange.PULL, Side.SERVER): {ChunkData, Missing},
    (Exchange.ASK, Side.CLIENT): {IndexData, IndexEnd},
    (Exchange.ASK, Side.SERVER): {Request},
    (Exchange.SEND, Side.CLIENT): {ChunkData},
    (Exchange.SEND, Side.SERVER): set(),
}


def samples(exchange: Exchange, side: Side) -> list[Message]:
    """One of each type."""
    return [
        Hello(HELLO_FLAGS[exchange, side]),
        IndexData(b"x" * 100),
        IndexEnd(),
        ArchiveData(b"x"),
        ArchiveEnd(),
        Request([ID]),
        CHUNK,
        Missing(ID),
        Goodbye(),
        Abort(5, "Disk on fire"),
        Examined(1),
    ]


def expected(exchange: Exchange, side: Side, before: list[Message]) -> set[type[Message]]:
    """The types that may follow some messages."""
    if not before:
        return {Hello}
    if isinstance(before[-1], Goodbye):
        return set()
    if isinstance(before[-1], IndexEnd):
        return {Goodbye, Abort}
    # An index that was begun has to be ended.
    ends: set[type[Message]] = {Abort} if (exchange, side) == (Exchange.ASK, Side.CLIENT) else {Goodbye, Abort}
    return MEANT[exchange, side] | ends


def states(exchange: Exchange, side: Side) -> list[list[Message]]:
    """Messages that lead into each state."""
    hello: list[Message] = [Hello(HELLO_FLAGS[exchange, side])]
    if (exchange, side) == (Exchange.ASK, Side.CLIENT):
        index = [*hello, IndexData(b"x"), IndexEnd()]
        return [[], hello, [*hello, IndexData(b"x")], index, [*index, Goodbye()]]
    return [[], hello, [*hello, Goodbye()]]


@pytest.mark.parametrize(("exchange", "side"), BODIES)
def test_every_message_in_every_state(exchange: Exchange, side: Side) -> None:
    for before in states(exchange, side):
        for message in samples(exchange, side):
            reader = BodyReader(exchange, side)
            reader.feed(joined(before))
            data = joined([message])
            if type(message) not in expected(exchange, side, before):
                with pytest.raises(ProtocolError, match=rf"Unexpected {NAME_OF[type(message)]} "):
                    reader.feed(data)
            elif isinstance(message, Abort):
                with pytest.raises(PeerError, match="Disk on fire"):
                    reader.feed(data)
            else:
                got = reader.feed(data)
                assert got == ([] if isinstance(message, Hello | Goodbye) else [message])
                assert reader.done == isinstance(message, Goodbye)


@pytest.mark.parametrize(("exchange", "side"), BODIES)
def test_a_whole_body_is_read_back(exchange: Exchange, side: Side) -> None:
    messages = [message for message in samples(exchange, side) if type(message) in MEANT[exchange, side]]
    reader = BodyReader(exchange, side)
    assert reader.feed(body(exchange, side, messages)) == messages
    reader.finish()


@pytest.mark.parametrize(("exchange", "side"), BODIES)
def test_an_empty_body_but_for_its_ends(exchange: Exchange, side: Side) -> None:
    reader = BodyReader(exchange, side)
    if (exchange, side) == (Exchange.ASK, Side.CLIENT):
        with pytest.raises(ProtocolError, match="Unexpected GOODBYE after HELLO"):
            reader.feed(body(exchange, side, []))
    else:
        assert reader.feed(body(exchange, side, [])) == []
        reader.finish()


@pytest.mark.parametrize(("exchange", "side"), BODIES)
@pytest.mark.parametrize("flags", [0, f.PULL_INDEX, (1 << 63) | f.PULL_CHUNKS, (1 << 64) - 1])
def test_hello_says_what_the_exchange_is(exchange: Exchange, side: Side, flags: int) -> None:
    with pytest.raises(ProtocolError, match=f"HELLO with flags {flags:#x}"):
        BodyReader(exchange, side).feed(joined([Hello(flags)]))


def test_no_two_bodies_begin_alike() -> None:
    greetings = {greeting(exchange, side) for exchange, side in BODIES}
    assert len(greetings) == len(BODIES)


@pytest.mark.parametrize("ending", [b"", FAREWELL[:-1], b"\0"])
def test_a_body_that_ends_early(ending: bytes) -> None:
    reader = BodyReader(Exchange.PULL, Side.SERVER)
    assert reader.feed(greeting(Exchange.PULL, Side.SERVER) + joined([CHUNK]) + ending) == [CHUNK]
    with pytest.raises(ProtocolError, match="ended early"):
        reader.finish()


@pytest.mark.parametrize("trailing", [b"\0", b"x" * 15])
def test_something_after_goodbye(trailing: bytes) -> None:
    reader = BodyReader(Exchange.SEND, Side.SERVER)
    reader.feed(body(Exchange.SEND, Side.SERVER, []) + trailing)
    with pytest.raises(ProtocolError, match="Something follows GOODBYE"):
        reader.finish()


def test_no_message_at_all() -> None:
    with pytest.raises(ProtocolError, match=r"no message.*<html>"):
        BodyReader(Exchange.PULL, Side.SERVER).feed(b"<html><title>Welcome</title></html>")


def test_an_abort_without_words() -> None:
    reader = BodyReader(Exchange.SEND, Side.SERVER)
    with pytest.raises(PeerError, match="gave up with error 28"):
        reader.feed(greeting(Exchange.SEND, Side.SERVER) + joined([Abort(28, "")]))


def test_the_flags_stand_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs/http.md").read_text()
    rows = re.findall(r"^ *\| `(\w+)` \| [A-Z_, ]+`(0x\w+)` \| [A-Z_, ]+`(0x\w+)` \|$", text, re.MULTILINE)
    assert len(rows) == len(Exchange)
    for name, client, server in rows:
        assert int(client, 16) == HELLO_FLAGS[Exchange(name), Side.CLIENT]
        assert int(server, 16) == HELLO_FLAGS[Exchange(name), Side.SERVER]
