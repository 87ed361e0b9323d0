"""Chunk sizes: what the user asks for, what casync makes of it, and the text forms of `--chunk-size=`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from casync_py.errors import UsageError

MAX_CHUNK_SIZE = 128 << 20  # casync cachunk.h, CA_CHUNK_SIZE_LIMIT_MAX
DEFAULT_AVG = 64 << 10


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
    # casync cachunker.c, CA_CHUNKER_DISCRIMINATOR_FROM_AVG: a fit in doubles. Where it turns negative, the conversion
    # to uint64_t gives a huge number, which the clamp then takes to the maximum.
    quotient = int(avg / (-1.42888852e-7 * avg + 1.33237515))
    return max(low, min(quotient % (1 << 64), high))
