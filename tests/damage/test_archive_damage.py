"""Archives cut, flipped and mixed up: an error at the same place however the bytes come in, or a valid archive."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casync_py.archive.nodes import Leave
from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format.records import RECORDS
from casync_py.testing.memory_archives import Plain, alike_files, decode_in_runs, decode_plain, encode_plain

VECTORS = Path(__file__).parents[1] / "vectors/archive"
DEFAULT = (VECTORS / "default.catar").read_bytes()
ALIKE = encode_plain(*alike_files(3))
SMALL = [*((VECTORS / name).read_bytes() for name in ("names.catar", "excludes.catar", "empty.catar")), ALIKE]
MAGICS = [pack("<Q", record_type) for record_type in RECORDS]

Decoding = Callable[[bytes, list[int]], list[Plain | Leave]]
Outcome = list[Plain | Leave] | tuple[str, int | None]


def outcome(data: bytes, step: int = 1 << 20, decoded: Decoding = decode_plain) -> Outcome:
    try:
        return decoded(data, [step])
    except FormatError as error:
        return error.reason, error.offset


def survives(data: bytes, *steps: int) -> bool:
    """Whether the archive is still one; if so it has exactly the bytes that it is encoded to."""
    result = outcome(data)
    assert outcome(data, decoded=decode_in_runs) == result
    for step in steps:
        assert outcome(data, step) == result
    if isinstance(result, tuple):
        assert result[1] is not None
        assert 0 <= result[1] <= len(data)
        return False
    assert encode_plain(result, int.from_bytes(data[16:24], "little")) == data
    return True


def record_offsets(data: bytes) -> list[int]:
    """Where the records of an archive stand, found by their sizes alone."""
    offsets = [0]
    while offsets[-1] < len(data):
        offsets.append(offsets[-1] + int.from_bytes(data[offsets[-1] : offsets[-1] + 8], "little"))
    assert offsets.pop() == len(data)
    return offsets


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@pytest.mark.parametrize("data", SMALL)
def test_every_truncation(data: bytes) -> None:
    for size in range(len(data)):
        assert outcome(data[:size]) == ("Archive ends early", size)
        assert outcome(data[:size], 37) == ("Archive ends early", size)


def test_every_bit_of_every_header() -> None:
    data = SMALL[0]
    for offset in record_offsets(data):
        for at in range(offset, offset + 16):
            for bit in range(8):
                assert not survives(flipped(data, at, bit))


def test_a_bit_of_every_byte() -> None:
    survivors = sum(survives(flipped(DEFAULT, at, at % 8)) for at in range(len(DEFAULT)))
    assert 100 < survivors < len(DEFAULT) // 2  # content, values, times and such; names are in the GOODBYE tables


@pytest.mark.parametrize("data", SMALL[1:])
def test_a_bit_of_every_byte_in_slices(data: bytes) -> None:
    for at in range(len(data)):
        survives(flipped(data, at, 7 - at % 8), 61)


def test_every_record_left_out_doubled_or_replaced() -> None:
    offsets = [*record_offsets(DEFAULT), len(DEFAULT)]
    records = [DEFAULT[start:end] for start, end in pairwise(offsets)]
    for position, record in enumerate(records):
        before, after = b"".join(records[:position]), b"".join(records[position + 1 :])
        assert not survives(before + record + record + after, 50)
        assert not survives(before + after, 50)
        for other in records[:: len(records) // 7]:
            if survives(before + other + after):
                assert other[8:16] == record[8:16]


def test_sizes_at_the_edges() -> None:
    sizes = (0, 1, 15, 16, 17, 40, 64, 1 << 16, 1 << 31, 1 << 32, c.OFFSET_MAX, 1 << 63, c.U64_MAX)
    for offset in record_offsets(DEFAULT):
        for size in sizes:
            data = DEFAULT[:offset] + pack("<Q", size) + DEFAULT[offset + 8 :]
            assert data == DEFAULT or not survives(data)


def test_junk() -> None:
    generator = random.Random(1)
    for size in (1, 15, 16, 64, 1000, 100_000):
        assert not survives(generator.randbytes(size), 7 if size < 2000 else 5000)
    assert not survives(bytes(1000))
    assert not survives(b"\xff" * 1000)
    assert outcome(b"") == ("Archive ends early", 0)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([DEFAULT, *SMALL]),
    st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            st.integers(0, 20),
            st.one_of(st.binary(max_size=20), st.sampled_from(MAGICS)),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_pieces_replaced(data: bytes, changes: list[tuple[float, int, bytes]]) -> None:
    for where, taken, put in changes:
        at = int(where * len(data))
        data = data[:at] + put + data[at + taken :]
    survives(data, 1, 97)
