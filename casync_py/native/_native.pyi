"""The C kernels; `_python.py` has their twins, with docstrings."""

from typing_extensions import Buffer

VARIANTS: tuple[str, ...]
"""The forms of the candidate search that this processor can run, best first; `candidates` takes the first."""

def candidates(data: Buffer, discriminator: int, /) -> memoryview: ...
def candidates_of_variant(variant: str, data: Buffer, discriminator: int, /) -> memoryview:
    """As `candidates`, by one of `VARIANTS`.

    Raises:
        ValueError: no such variant here.
    """

def siphash24(key: bytes, data: Buffer, /) -> int: ...
def siphash24_many(key: bytes, names: list[bytes], /) -> list[int]: ...
def syncfs(fd: int, /) -> None: ...
