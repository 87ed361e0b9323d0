"""Throughput of the candidate search on one core, as one JSON line: `python tests/bench/kernel.py [MIB]`.

GB/s of each form of the kernel that this processor can run, the best of several runs, over random bytes and over
programs and libraries of this system, with the default discriminator.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from casync_py import native
from casync_py.chunking.params import ChunkParams
from casync_py.native import _python

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_MIB = 64
RUNS = 10
TWIN_BYTES = 1 << 20  # the twin is slow
DISCRIMINATOR = ChunkParams.derive().discriminator


def real_data(size: int) -> bytes:
    data = bytearray()
    for folder in ("/usr/bin", "/usr/lib"):
        for path in sorted(Path(folder).rglob("*")):
            if len(data) >= size:
                return bytes(data[:size])
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                data += path.read_bytes()
    return bytes(data)


def throughput(search: Callable[[bytes, int], memoryview], data: bytes) -> float:
    """Bytes per nanosecond, that is GB/s."""
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter_ns()
        search(data, DISCRIMINATOR)
        best = min(best, time.perf_counter_ns() - start)
    return len(data) / best


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else DEFAULT_MIB) << 20
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    inputs = {"random": os.urandom(size), "real": real_data(size)}
    result: dict[str, object] = {"kernel": native.KERNEL, "discriminator": DISCRIMINATOR, "mib": size >> 20}
    for name, data in inputs.items():
        speeds = {"python": throughput(_python.candidates, data[:TWIN_BYTES])}
        if native.KERNEL == "native":
            from casync_py.native import _native

            for variant in _native.VARIANTS:
                speeds[variant] = throughput(partial(_native.candidates_of_variant, variant), data)
        result[name] = {form: float(f"{speed:.3g}") for form, speed in speeds.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
