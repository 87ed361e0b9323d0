"""A chunk's two forms."""

from __future__ import annotations

import pytest

from casync_py.compression import COMPRESSORS, DEFAULT_COMPRESSION, NO_COMPRESSION, Compression
from casync_py.errors import ChunkInvalid
from casync_py.store.chunk import Chunk
from casync_py.testing.store_contract import absent

PLAIN = b"a plain chunk " * 50
STREAM = COMPRESSORS["gzip"].compress(PLAIN, None)


def test_a_chunk_needs_content() -> None:
    with pytest.raises(ValueError, match="plain or its stored form"):
        Chunk(absent())


def test_nothing_is_compressed_twice() -> None:
    calls = []

    def compress(plain: bytes | bytearray | memoryview, level: int | None) -> bytes:
        calls.append(level)
        return zstd.compress(plain, level)

    zstd = COMPRESSORS["zstd"]
    counting = Compression(type(zstd)(zstd.name, zstd.magic, compress, zstd.decompress), 7)
    chunk = Chunk(absent(), plain=PLAIN)
    stored = chunk.stored(counting)
    assert stored is not None
    assert zstd.decompress(stored, len(PLAIN)) == PLAIN
    assert chunk.stored(counting) is stored
    assert calls == [7]


def test_the_stream_it_came_with_is_kept_whatever_is_asked_for() -> None:
    chunk = Chunk(absent(), stored=STREAM)
    assert chunk.stored(DEFAULT_COMPRESSION) is STREAM
    assert chunk.stored(NO_COMPRESSION) is STREAM
    assert chunk.plain() == PLAIN


def test_without_compression_there_is_no_stored_form() -> None:
    assert Chunk(absent(), plain=PLAIN).stored(NO_COMPRESSION) is None


def test_the_limit_holds_for_each_call() -> None:
    chunk = Chunk(absent(), stored=STREAM)
    assert chunk.plain() == PLAIN
    with pytest.raises(ChunkInvalid):
        chunk.plain(len(PLAIN) - 1)


def test_sizes() -> None:
    chunk = Chunk(absent(), stored=STREAM)
    assert chunk.memory == chunk.stored_size == len(STREAM)
    chunk.plain()
    assert chunk.memory == len(STREAM) + len(PLAIN)
    assert chunk.stored_size == len(STREAM)
    assert Chunk(absent(), plain=PLAIN).memory == Chunk(absent(), plain=PLAIN).stored_size == len(PLAIN)


def test_an_owned_chunk_shares_no_buffer() -> None:
    buffer = bytearray(PLAIN)
    owned = Chunk(absent(), plain=memoryview(buffer)).owned()
    buffer[:] = bytes(len(buffer))
    assert owned.plain() == PLAIN
    assert owned.chunk_id == absent()
