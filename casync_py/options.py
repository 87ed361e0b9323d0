"""The choices of one run as frozen values, handed down as arguments and never kept in globals."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from casync_py.compression import DEFAULT_COMPRESSION, Compression

DEFAULT_MEMORY = 96 << 20


def _processors() -> int:
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Resources:
    """How much of the machine an operation may take.

    Attributes:
        jobs: threads that digest and compress; all processors of the process by default.
        memory: bytes for buffers in flight; the whole process needs about 60 MiB more.
    """

    jobs: int = field(default_factory=_processors)
    memory: int = DEFAULT_MEMORY


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a store is written.

    Attributes:
        compression: what new chunks are compressed with.
        compressed_suffix: file suffix of compressed chunks ($CASYNC_COMPRESSED_CHUNK_SUFFIX).
    """

    compression: Compression = DEFAULT_COMPRESSION
    compressed_suffix: str = ".cacnk"
