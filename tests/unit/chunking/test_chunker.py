"""Cuts: casync's own, the rules one by one, and the two stages apart."""

from __future__ import annotations

import hashlib
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from casync_py.chunking.chunker import OVERLAP, Chunker, Cutter, mark
from casync_py.chunking.params import ChunkParams, parse_chunk_size
from casync_py.digest import SHA512_256
from casync_py.errors import UsageError

CUTS: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "vectors/chunking/cuts.json").read_text())
STREAM = b"".join(hashlib.sha256(i.to_bytes(8, "little")).digest() for i in range(65536))
NO_CANDIDATES = memoryview(b"").cast("I")


def cuts(data: bytes | bytearray | memoryview, params: ChunkParams, step: int = 0) -> list[int]:
    chunker = Chunker(params)
    found: list[int] = []
    for start in range(0, len(data), step or len(data) or 1):
        found += chunker.feed(data[start : start + (step or len(data))])
    return found + chunker.finish()


@pytest.mark.parametrize("row", CUTS, ids=lambda row: f"{row['bytes']}-{row['chunk_size']}")
def test_cuts_as_casync(row: dict[str, Any]) -> None:
    params = ChunkParams.derive(*parse_chunk_size(row["chunk_size"]))
    data = STREAM[: row["bytes"]]
    assert cuts(data, params) == row["ends"]
    assert cuts(data, params, 997) == row["ends"]


def test_first_id() -> None:
    end = cuts(STREAM, ChunkParams.derive())[0]
    assert SHA512_256.of(STREAM[:end]).hex() == "0fac270dc01e8432b80e21552476de6483653a3b261f710457abdd5c8f22e860"


def test_zeros_are_cut_at_max() -> None:
    assert cuts(bytes(300_000), ChunkParams.derive()) == [262144, 300000]
    assert cuts(bytes(262144), ChunkParams.derive()) == [262144]


def test_empty_stream_has_no_chunks() -> None:
    chunker = Chunker(ChunkParams.derive())
    assert chunker.feed(b"") == []
    assert chunker.finish() == []


@pytest.mark.parametrize("discriminator", [3075, 4096])
def test_a_candidate_at_min_counts_and_before_it_does_not(discriminator: int) -> None:
    found = mark(STREAM[:65536], ChunkParams(1, 1, 2, discriminator)).tolist()
    first, second = found[0], found[1]
    assert second - first > 1
    assert cuts(STREAM[:65536], ChunkParams(first, 4096, 65536, discriminator))[0] == first
    assert cuts(STREAM[:65536], ChunkParams(first + 1, 4096, 65536, discriminator))[0] == second
    assert cuts(STREAM[:65536], ChunkParams(first - 1, 4096, 65536, discriminator))[0] == first


def test_a_candidate_at_max_and_behind_it() -> None:
    found = mark(STREAM[:65536], ChunkParams.derive(avg=4096)).tolist()
    first = found[0]
    for longest in (first, first + 1):
        assert cuts(STREAM[:65536], ChunkParams(48, 48, longest, 3075))[0] == first
    assert cuts(STREAM[:65536], ChunkParams(48, 48, first - 1, 3075))[0] == first - 1


def test_the_window_restarts_at_a_cut() -> None:
    """With discriminator 1 every position is a candidate, but none with less than 48 bytes in the chunk."""
    assert cuts(bytes(200), ChunkParams(1, 2, 100, 1)) == [48, 96, 144, 192, 200]
    assert cuts(bytes(200), ChunkParams(47, 48, 100, 1)) == [48, 96, 144, 192, 200]
    assert cuts(bytes(200), ChunkParams(49, 60, 100, 1)) == [49, 98, 147, 196, 200]


@pytest.mark.parametrize("step", [1, 2, 46, 47, 48, 49, 94, 95, 96, 1000, 65536])
@pytest.mark.parametrize("text", ["1K", "100:200:300", "12", "64:64:64", "5:5:5"])
def test_slicing_makes_no_difference(step: int, text: str) -> None:
    params = ChunkParams.derive(*parse_chunk_size(text))
    data = STREAM[:20_000]
    assert cuts(data, params, step) == cuts(data, params)


def test_any_buffer() -> None:
    params = ChunkParams.derive(avg=1024)
    data = STREAM[:20_000]
    expected = cuts(data, params)
    assert cuts(bytearray(data), params, 333) == expected
    assert cuts(memoryview(data), params, 333) == expected


@pytest.mark.parametrize("text", ["1", "10:20:40", "40:40:47"])
def test_max_below_the_window(text: str) -> None:
    params = ChunkParams.derive(*parse_chunk_size(text))
    assert cuts(bytes(params.max), params) == [params.max]
    assert cuts(bytes(params.max), params, 1) == [params.max]
    for step in (0, 1):
        with pytest.raises(UsageError, match=f"at most {params.max} bytes"):
            cuts(bytes(params.max + 1), params, step)


def test_fixed_sizes_hash_nothing() -> None:
    params = ChunkParams.derive(100, 100, 100)
    assert len(mark(STREAM, params)) == 0
    assert cuts(STREAM[:250], params) == [100, 200, 250]
    assert cuts(STREAM[:200], params, 3) == [100, 200]


@pytest.mark.parametrize("size", [48, 1000, 5000])
def test_stages_apart(size: int) -> None:
    """Buffers that overlap by 47 bytes, marked in any order, report each position once."""
    params = ChunkParams.derive(avg=256)
    data = STREAM[:50_000]
    starts = list(range(0, len(data), size))
    marked = {}
    for start in random.Random(1).sample(starts, len(starts)):
        base = max(0, start - OVERLAP)
        marked[start] = base, mark(data[base : start + size], params)
    positions = [base + p for start in starts for base, found in [marked[start]] for p in found]
    assert positions == mark(data, params).tolist()
    cutter = Cutter(params)
    found: list[int] = []
    for start in starts:
        base, candidates = marked[start]
        found += cutter.advance(candidates, base, min(start + size, len(data)))
    assert found + cutter.finish() == cuts(data, params)


def test_offsets_beyond_32_bits() -> None:
    params = ChunkParams.derive(avg=32 << 20)
    cutter = Cutter(params)
    found = []
    for end in range(0, 6 << 30, 1 << 30):
        found += cutter.advance(NO_CANDIDATES, end, end + (1 << 30))
    assert found == list(range(128 << 20, (6 << 30) + 1, 128 << 20))
    assert cutter.finish() == []


def test_an_insertion_disturbs_few_chunks() -> None:
    params = ChunkParams.derive(avg=8192)

    def chunks(data: bytes) -> set[bytes]:
        ends = cuts(data, params)
        return {data[start:end] for start, end in pairwise([0, *ends])}

    before = chunks(STREAM)
    after = chunks(STREAM[:1_000_000] + b"inserted" + STREAM[1_000_000:])
    assert len(before) > 200
    assert 1 <= len(after - before) <= 4
