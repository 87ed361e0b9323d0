"""Chunk ids: the 32-byte digest of a chunk's plain content."""

from __future__ import annotations

from typing import Self

ID_SIZE = 32


class ChunkId(bytes):
    """A chunk id; equal, ordered and hashed as the 32 bytes that it is. `hex()` is its text form."""

    __slots__ = ()

    def __new__(cls, raw: bytes | bytearray | memoryview) -> Self:
        if len(raw) != ID_SIZE:
            raise ValueError(f"A chunk id has {ID_SIZE} bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Parse 64 lowercase hex digits, the only text form that casync accepts.

        Raises:
            ValueError: anything else, upper case included.
        """
        if len(text) != 2 * ID_SIZE or not set(text) <= set("0123456789abcdef"):
            raise ValueError(f"Not a chunk id: {text!r}")
        return cls(bytes.fromhex(text))

    def store_path(self, suffix: str = "") -> str:
        """Path below a store's root: four digits, a slash, all 64 digits, the suffix."""
        digits = self.hex()
        return f"{digits[:4]}/{digits}{suffix}"

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"ChunkId({self.hex()})"
