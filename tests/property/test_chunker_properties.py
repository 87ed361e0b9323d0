"""The chunker against a byte-by-byte loop, over any data, parameters and slicing."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from casync_py.chunking.chunker import Chunker
from casync_py.chunking.params import ChunkParams, parse_size
from casync_py.errors import UsageError
from casync_py.native import _python
from casync_py.native._table import BUZHASH_TABLE

try:
    from casync_py.native import _native
except ImportError:
    _native = None  # type: ignore[assignment]

VARIANTS = {} if _native is None else {name: partial(_native.candidates_of_variant, name) for name in _native.VARIANTS}


def rotate(value: int, count: int) -> int:
    return (value << count | value >> 32 - count) & 0xFFFFFFFF


def byte_loop(data: bytes, params: ChunkParams) -> list[int]:
    """One byte after the other, the window forgotten at each cut, as casync does it."""
    cuts = []
    start = value = 0
    for end, byte in enumerate(data, 1):
        length = end - start
        value = rotate(value, 1) ^ BUZHASH_TABLE[byte]
        if length > 48:
            value ^= rotate(BUZHASH_TABLE[data[end - 49]], 16)
        if params.fixed:
            cut = length == params.max
        else:
            hit = length >= params.max or value % params.discriminator == params.discriminator - 1
            cut = length >= max(params.min, 48) and hit
        if cut:
            cuts.append(end)
            start, value = end, 0
    return cuts + [len(data)] * (start < len(data))


@st.composite
def some_params(draw: st.DrawFn) -> ChunkParams:
    low = draw(st.integers(1, 200))
    avg = low + draw(st.integers(0, 200))
    high = avg + draw(st.integers(0, 1000))
    assume(low == high or high >= 48)
    # any discriminator, so that hits are not as rare as they are with what `derive` makes of large sizes
    return ChunkParams(low, avg, high, draw(st.integers(1, 300) | st.sampled_from([64, 128, 1 << 27])))


# runs of few different bytes make windows repeat; random ones make hits
some_data = st.lists(
    st.binary(max_size=300)
    | st.builds(lambda byte, count: bytes([byte]) * count, st.integers(0, 255), st.integers(1, 2000))
    | st.builds(lambda seed, count: seed.randbytes(count), st.randoms(use_true_random=False), st.integers(1, 5000)),
    max_size=6,
).map(b"".join)


@given(data=some_data, params=some_params(), steps=st.lists(st.integers(0, 400), max_size=40))
@settings(deadline=None)
def test_cuts_are_those_of_the_byte_loop(data: bytes, params: ChunkParams, steps: list[int]) -> None:
    chunker = Chunker(params)
    found: list[int] = []
    position = 0
    for step in steps:
        found += chunker.feed(data[position : position + step])
        position += step
    found += chunker.feed(data[position:])
    found += chunker.finish()

    assert found == byte_loop(data, params)
    lengths = [end - start for start, end in pairwise([0, *found])]
    assert all(max(params.min, 1 if params.fixed else 48) <= length <= params.max for length in lengths[:-1])
    assert sum(lengths) == len(data)


@pytest.mark.native
@given(data=some_data, discriminator=st.integers(1, 300) | st.integers(1, (1 << 32) - 1) | st.sampled_from([1 << 27]))
@settings(deadline=None)
def test_all_forms_of_the_kernel_agree(data: bytes, discriminator: int) -> None:
    expected = _python.candidates(data, discriminator).tolist()
    for candidates in VARIANTS.values():
        assert candidates(data, discriminator).tolist() == expected


@given(st.text(alphabet="0123456789.+- \t\nKMGB:", max_size=12) | st.text(max_size=6))
def test_sizes_are_read_or_refused(text: str) -> None:
    try:
        size = parse_size(text)
    except UsageError:
        return
    assert 0 <= size < 1 << 64


@given(st.integers(0, (1 << 64) - 1))
def test_sizes_in_terms(size: int) -> None:
    terms = [(size >> shift & 1023, suffix) for shift, suffix in zip(range(50, -1, -10), "PTGMKB", strict=True)]
    assert parse_size(f"{size >> 60}E" + "".join(f"{count}{suffix}" for count, suffix in terms)) == size
