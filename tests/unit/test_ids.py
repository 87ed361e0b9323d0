"""Chunk ids."""

from __future__ import annotations

import pytest

from casync_py.ids import ChunkId

RAW = bytes(range(32))
TEXT = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_from_any_buffer(kind: type) -> None:
    chunk_id = ChunkId(kind(RAW))
    assert chunk_id == RAW
    assert hash(chunk_id) == hash(RAW)
    assert chunk_id.hex() == str(chunk_id) == TEXT
    assert repr(chunk_id) == f"ChunkId({TEXT})"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_any_other_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"not {length}"):
        ChunkId(bytes(length))


def test_text_form() -> None:
    assert ChunkId.from_hex(TEXT) == RAW
    assert type(ChunkId.from_hex(TEXT)) is ChunkId


@pytest.mark.parametrize(
    "text", ["", TEXT[1:], TEXT + "0", TEXT.upper(), TEXT[:-1] + "g", TEXT[:-1] + " ", "0x" + TEXT[2:]]
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Not a chunk id"):
        ChunkId.from_hex(text)


def test_store_path() -> None:
    assert ChunkId(RAW).store_path() == f"0001/{TEXT}"
    assert ChunkId(RAW).store_path(".cacnk") == f"0001/{TEXT}.cacnk"


def test_ids_are_ordered_as_bytes() -> None:
    assert ChunkId(RAW) < ChunkId(bytes([1]) * 32)
    assert {ChunkId(RAW), ChunkId(RAW)} == {RAW}
