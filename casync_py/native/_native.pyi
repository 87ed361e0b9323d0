"""The C kernels; `_python.py` has their twins, with docstrings."""

from collections.abc import Sequence

from typing_extensions import Buffer

VARIANTS: tuple[str, ...]
"""The forms of the candidate search that this processor can run, best first; `candidates` takes the first."""

def candidates(data: Buffer, discriminator: int, /) -> memoryview: ...
def candidates_of_variant(variant: str, data: Buffer, discriminator: int, /) -> memoryview:
    """As `candidates`, by one of `VARIANTS`.

    Raises:
        ValueError: no such variant here.
    """

def create_files(
    directory: int, files: Sequence[tuple[bytes, bytes, Buffer, int, int]], atime_ns: int, sparse: bool, /
) -> tuple[int, int, int]: ...
def open_and_examine(
    directory: int, name: bytes, want_flags: bool, want_xattrs: bool, /
) -> tuple[int, int, int, tuple[int, int, int, int, int, int, int, int, int]]: ...
def plain_run(
    view: memoryview,
    position: int,
    last: bytes,
    head: bytes,
    owner: bytes,
    granularity: int,
    latest: int,
    largest: int,
    /,
) -> tuple[int, list[bytes], list[int], list[int], list[memoryview]]: ...
def read_rest(fd: int, view: Buffer, size: int, mtime_ns: int, ctime_ns: int, /) -> int: ...
def read_whole(directory: int, name: str | bytes, limit: int, /) -> bytes | tuple[int, int]: ...
def siphash24(key: bytes, data: Buffer, /) -> int: ...
def siphash24_many(key: bytes, names: list[bytes], /) -> list[int]: ...
def syncfs(fd: int, /) -> None: ...
