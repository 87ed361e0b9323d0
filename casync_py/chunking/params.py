"""Chunk sizes: what the user asks for, what casync makes of it, and the text forms of `--chunk-size=`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

from casync_py.errors import UsageError

MAX_CHUNK_SIZE = 128 << 20  # casync cachunk.h, CA_CHUNK_SIZE_LIMIT_MAX
DEFAULT_AVG = 64 << 10

_SUFFIXES = ("E", "P", "T", "G", "M", "K", "B", "")
_FACTORS = (1 << 60, 1 << 50, 1 << 40, 1 << 30, 1 << 20, 1 << 10, 1, 1)
_TERM = re.compile(r"\s*\+?([0-9]+)(?:\.([0-9]*))?[ \t]*([EPTGMKB]?)", re.ASCII)
_TOO_LARGE = 1 << 64


@dataclass(frozen=True, slots=True)
class ChunkParams:
    """Bounds of a chunk's length, in bytes, and what the rolling hash is divided by; made by `derive`."""

    min: int
    avg: int
    max: int
    discriminator: int

    @property
    def fixed(self) -> bool:
        """Whether all chunks but the last have one length, so that nothing is hashed."""
        return self.min == self.max

    @classmethod
    def derive(cls, min: int = 0, avg: int = 0, max: int = 0) -> Self:  # noqa: A002
        """Fill in what is 0 as casync does; nothing given means 16, 64 and 256 KiB.

        Raises:
            UsageError: not 1 <= min <= avg <= max <= 128 MiB.
        """
        low, middle, high = _fill(min, avg, max)
        if not 1 <= low <= middle <= high <= MAX_CHUNK_SIZE:
            raise UsageError(
                f"Chunk sizes {low}:{middle}:{high} do not ascend from 1 to {MAX_CHUNK_SIZE} bytes at most"
            )
        return cls(low, middle, high, _discriminator(low, middle, high))


def _fill(low: int, avg: int, high: int) -> tuple[int, int, int]:
    avg = avg or _average(low, high)
    return low or max(1, avg // 4), avg, high or min(4 * avg, MAX_CHUNK_SIZE)


def _average(low: int, high: int) -> int:
    if low and high:
        avg = round(math.exp2((math.log2(low) + math.log2(high)) / 2))
    elif low:
        avg = 4 * low
    elif high:
        avg = high // 4
    else:
        avg = DEFAULT_AVG
    return max(1, min(avg, MAX_CHUNK_SIZE))


def _discriminator(low: int, avg: int, high: int) -> int:
    # casync cachunker.h, CA_CHUNKER_DISCRIMINATOR_FROM_AVG: a fit in doubles. Where it turns negative, the conversion
    # to size_t gives a huge number, which the clamp then takes to the maximum.
    quotient = int(avg / (-1.42888852e-7 * avg + 1.33237515))
    return max(low, min(quotient % (1 << 64), high))


def parse_chunk_size(text: str) -> tuple[int, int, int]:
    """Read `--chunk-size=`: `auto`, `AVG` or `MIN:AVG:MAX`.

    Returns:
        (min, avg, max) as `ChunkParams.derive` takes them, 0 where not given.

    Raises:
        UsageError: no such form, or sizes out of order or out of range.
    """
    if text == "auto":
        return 0, 0, 0
    fields = text.split(":")
    if len(fields) not in {1, 3}:
        raise UsageError(f"Chunk size {text!r} is neither AVG nor MIN:AVG:MAX")
    sizes = [parse_size(field) for field in fields]
    if sizes[0] < 1 or sizes[-1] > MAX_CHUNK_SIZE:
        raise UsageError(f"Chunk size {text!r} is not within 1 and {MAX_CHUNK_SIZE} bytes")
    if sizes != sorted(sizes):
        raise UsageError(f"Chunk size {text!r} does not ascend from MIN to AVG to MAX")
    return (0, sizes[0], 0) if len(sizes) == 1 else (sizes[0], sizes[1], sizes[2])


def parse_size(text: str) -> int:
    """Read a size as casync writes them: terms like `1M`, `1.5K`, `1K512`, in descending order of their suffixes.

    Suffixes are powers of 1024, in upper case only; `B` and none are bytes.

    Returns:
        Bytes, below 2^64.

    Raises:
        UsageError: no such size.
    """
    total = position = rank = 0
    while position < len(text) or not position:
        term = _TERM.match(text, position)
        if not term or term[3] not in _SUFFIXES[rank:]:
            raise UsageError(f"Not a size: {text!r}")
        rank = _SUFFIXES.index(term[3]) + 1
        total += _term_size(term[1], term[2] or "", _FACTORS[rank - 1])
        position = term.end()
    if total >= _TOO_LARGE:
        raise UsageError(f"Size {text!r} is 2^64 bytes or more")
    return total


def _term_size(whole: str, digits: str, factor: int) -> int:
    """Size of one term, or `_TOO_LARGE`."""
    integer, numerator = _number(whole), _number(digits)
    if numerator == _TOO_LARGE or integer + (numerator > 0) > (_TOO_LARGE - 1) // factor:
        return _TOO_LARGE
    fraction = float(numerator)
    for _ in digits:  # digit by digit, as casync does it: the rounding decides about the last byte
        fraction /= 10
    return integer * factor + int(fraction * factor)


def _number(digits: str) -> int:
    """The number, cut off at `_TOO_LARGE`; Python refuses to convert thousands of digits."""
    digits = digits.lstrip("0")
    return min(int(digits or "0"), _TOO_LARGE) if len(digits) <= 20 else _TOO_LARGE
