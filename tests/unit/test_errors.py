"""One line for each error, naming the object and the cause; all of them survive a trip between processes."""

from __future__ import annotations

import pickle

import pytest

from casync_py.errors import (
    CasyncError,
    ChunkInvalid,
    ChunkMissing,
    FormatError,
    PeerError,
    ProtocolError,
    SourceChanged,
    UsageError,
)
from casync_py.ids import ChunkId

ID = ChunkId(bytes([0xAB]) * 32)
TEXT = "ab" * 32


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UsageError("No such option"), "No such option"),
        (FormatError("Bad tail"), "Bad tail"),
        (FormatError("Bad tail", 0), "Bad tail at offset 0"),
        (FormatError("Bad tail", 48, "x.caidx"), "x.caidx: Bad tail at offset 48"),
        (FormatError("Bad tail", name="x.caidx"), "x.caidx: Bad tail"),
        (ChunkMissing(ID), f"Chunk {TEXT} is missing"),
        (ChunkMissing(ID, "a, b"), f"Chunk {TEXT} is missing from a, b"),
        (ChunkInvalid(ID, "It is empty"), f"Chunk {TEXT} is invalid: It is empty"),
        (ChunkInvalid(ID, "It is empty", "a"), f"Chunk {TEXT} in a is invalid: It is empty"),
        (SourceChanged("x changed"), "x changed"),
        (PeerError("It is gone"), "It is gone"),
        (PeerError("It is gone", "far"), "far: It is gone"),
        (ProtocolError("Unexpected HELLO"), "Unexpected HELLO"),
        (ProtocolError("Unexpected HELLO", "far"), "far: Unexpected HELLO"),
    ],
)
def test_messages(error: CasyncError, message: str) -> None:
    assert str(error) == message
    assert isinstance(error, CasyncError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == message


def test_a_name_can_be_added_later() -> None:
    error = FormatError("Bad tail", 48)
    error.name = "x.caidx"
    assert str(error) == "x.caidx: Bad tail at offset 48"
    gone = PeerError("It is gone")
    gone.name = "far"
    assert str(gone) == "far: It is gone"


def test_a_broken_protocol_is_trouble_with_the_other_end() -> None:
    assert issubclass(ProtocolError, PeerError)
