"""The strong hashes: name, feature-flag bit, constructor. A new digest is a row of `DIGESTS`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from casync_py.errors import FormatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    Buffer = bytes | bytearray | memoryview

SHA512_256_FLAG = 1 << 61  # casync caformat.h, CA_FORMAT_SHA512_256; clear means SHA-256
BLAKE3_FLAG = 1 << 59  # ours: unknown to casync, which refuses it ("Protocol not supported")
DIGEST_FLAGS = SHA512_256_FLAG | BLAKE3_FLAG


class Hasher(Protocol):
    """The part of hashlib's objects that is used here; `update` releases the GIL for buffers over 2 KiB."""

    def update(self, data: Buffer, /) -> object: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Digest:
    """One strong hash of 32 bytes.

    Attributes:
        name: as in `--digest=`.
        flag: the bit that says so in feature flags; 0 for SHA-256.
        label: the key that mtree prints.
        new: makes a fresh hasher.
    """

    name: str
    flag: int
    label: str
    new: Callable[[], Hasher]

    def of(self, data: Buffer) -> bytes:
        """Digest of one buffer, 32 bytes."""
        hasher = self.new()
        hasher.update(data)
        return hasher.digest()


def _new_blake3() -> Hasher:
    from blake3 import blake3  # here, because not every run needs it

    return blake3()  # one thread; update() releases the GIL


# A copy of a fresh hasher costs a third of what hashlib.new() takes to find the algorithm by its name.
SHA512_256 = Digest(
    "sha512-256", SHA512_256_FLAG, "sha512256digest", hashlib.new("sha512_256", usedforsecurity=False).copy
)
SHA256 = Digest("sha256", 0, "sha256digest", hashlib.sha256(usedforsecurity=False).copy)
BLAKE3 = Digest("blake3", BLAKE3_FLAG, "blake3digest", _new_blake3)

DIGESTS = {digest.name: digest for digest in (SHA512_256, SHA256, BLAKE3)}
DEFAULT_DIGEST = SHA512_256


def digest_by_name(name: str) -> Digest:
    """Look up `--digest=NAME`; `default` is SHA-512/256.

    Raises:
        UsageError: no such digest.
    """
    if name == "default":
        return DEFAULT_DIGEST
    try:
        return DIGESTS[name]
    except KeyError:
        raise UsageError(f"Unknown digest {name!r}; known are {', '.join(DIGESTS)}") from None


def digest_of_flags(feature_flags: int) -> Digest:
    """The digest that an index's or archive's feature flags announce.

    Raises:
        FormatError: both SHA-512/256 and BLAKE3 are announced.
    """
    flag = feature_flags & DIGEST_FLAGS
    for digest in DIGESTS.values():
        if digest.flag == flag:
            return digest
    raise FormatError(f"Feature flags {feature_flags:#x} announce two digests")
