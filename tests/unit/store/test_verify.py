"""What counts as verified."""

from __future__ import annotations

import pytest

from casync_py.compression import COMPRESSORS
from casync_py.digest import BLAKE3, DIGESTS, SHA256, SHA512_256
from casync_py.errors import ChunkInvalid
from casync_py.ids import ChunkId
from casync_py.store.chunk import Chunk
from casync_py.store.memory import MemoryStore
from casync_py.store.verify import Verified, verified

PLAIN = b"some content" * 100


@pytest.mark.parametrize("name", DIGESTS)
def test_the_digest_that_is_given_counts(name: str) -> None:
    digest = DIGESTS[name]
    chunk = Chunk(ChunkId(digest.of(PLAIN)), plain=PLAIN)
    assert verified(chunk, [digest]) is PLAIN
    others = [other for other in DIGESTS.values() if other is not digest]
    assert verified(chunk, [*others, digest]) is PLAIN
    with pytest.raises(ChunkInvalid, match=r"has another .* or .* digest"):
        verified(chunk, others)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_the_stored_form_is_decompressed(name: str) -> None:
    stored = COMPRESSORS[name].compress(PLAIN, None)
    assert verified(Chunk(ChunkId(SHA256.of(PLAIN)), stored=stored), [SHA256]) == PLAIN


def test_what_is_no_stream_is_invalid() -> None:
    with pytest.raises(ChunkInvalid, match="Not a compressed stream"):
        verified(Chunk(ChunkId(SHA256.of(PLAIN)), stored=PLAIN), [SHA256])


@pytest.mark.parametrize("stored", [False, True])
def test_more_than_the_limit_is_invalid(stored: bool) -> None:
    chunk_id = ChunkId(SHA256.of(PLAIN))
    stream = COMPRESSORS["zstd"].compress(PLAIN, None)
    chunk = Chunk(chunk_id, stored=stream) if stored else Chunk(chunk_id, plain=PLAIN)
    with pytest.raises(ChunkInvalid, match="more than 1199"):
        verified(chunk, [SHA256], len(PLAIN) - 1)
    assert verified(chunk, [SHA256], len(PLAIN)) == PLAIN


def test_an_empty_chunk_is_invalid_even_under_its_own_id() -> None:
    with pytest.raises(ChunkInvalid, match="It is empty"):
        verified(Chunk(ChunkId(SHA512_256.of(b"")), plain=b""), [SHA512_256])


def test_the_store_that_holds_a_bad_chunk_is_named() -> None:
    chunk_id = ChunkId(SHA256.of(PLAIN))
    bad = MemoryStore("the bad one")
    bad.put(Chunk(chunk_id, plain=b"x"))
    store = Verified(bad, [SHA256, BLAKE3])
    with pytest.raises(ChunkInvalid) as caught:
        store.get(chunk_id)
    assert caught.value.where == "the bad one"
    assert str(caught.value).startswith(f"Chunk {chunk_id} in the bad one is invalid: ")
    stream = store.get_many([chunk_id])
    with pytest.raises(ChunkInvalid):
        next(stream)


def test_a_verified_chunk_comes_in_plain_form_and_keeps_its_stream() -> None:
    chunk_id = ChunkId(SHA256.of(PLAIN))
    stream = COMPRESSORS["zstd"].compress(PLAIN, None)
    inner = MemoryStore()
    inner.put(Chunk(chunk_id, stored=stream))
    chunk = Verified(inner, [SHA256]).get(chunk_id)
    assert chunk.memory == len(PLAIN) + len(stream)
    assert chunk.plain() == PLAIN
