"""Compression of chunks: name, signature, both directions. A new compressor is a row of `COMPRESSORS`.

What is read is told apart by its signature, never by a file's suffix. Decompression is bounded: a stream that would
give more than the caller allows is an error before the memory is taken.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casync_py.errors import FormatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import zstandard

    Buffer = bytes | bytearray | memoryview

MAX_CHUNK_SIZE = 128 << 20  # casync cachunk.h, CA_CHUNK_SIZE_LIMIT_MAX
_XZ_MEMORY_LIMIT = 128 << 20  # xz -9 needs 65 MiB; a header may claim up to 4 GiB
_FIRST_TRY = 1 << 20  # output buffer for zstd streams that do not say their size (casync's own)


@dataclass(frozen=True, slots=True)
class Compressor:
    """One compression format.

    Attributes:
        name: as in `--compression=`.
        magic: the bytes that a stream begins with.
        compress: (plain, level or None) -> one complete stream.
        decompress: (stream, limit) -> plain bytes; raises FormatError for damage, trailing bytes, or more than `limit`.
        levels: levels that `--compression=NAME:LEVEL` accepts; empty where none can be chosen.
    """

    name: str
    magic: bytes
    compress: Callable[[Buffer, int | None], bytes]
    decompress: Callable[[Buffer, int], bytes]
    levels: range = range(0)


@dataclass(frozen=True, slots=True)
class Compression:
    """How new chunks are stored: a compressor (None: as they are) and its level."""

    compressor: Compressor | None
    level: int | None = None

    def __str__(self) -> str:
        name = self.compressor.name if self.compressor else "none"
        return name if self.level is None else f"{name}:{self.level}"


def stored_limit(limit: int) -> int:
    """Most bytes that a chunk of at most `limit` plain ones takes as stored: what cannot be compressed grows a bit."""
    return limit + (limit >> 4) + 4096


def _too_large(limit: int) -> FormatError:
    return FormatError(f"Decompresses to more than {limit} bytes")


class _ZstdContexts(threading.local):
    """zstd contexts are costly to make and not thread-safe: one decompressor and one compressor a level, per thread."""

    def __init__(self) -> None:
        import zstandard

        self.error = zstandard.ZstdError
        self.content_size = zstandard.frame_content_size
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_CHUNK_SIZE)
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}

    def compressor(self, level: int) -> zstandard.ZstdCompressor:
        import zstandard

        if level not in self.compressors:
            self.compressors[level] = zstandard.ZstdCompressor(level=level)
        return self.compressors[level]


_zstd: _ZstdContexts | None = None


def _zstd_contexts() -> _ZstdContexts:
    global _zstd  # noqa: PLW0603 - made late, because importing zstandard is a noticeable part of start-up
    if _zstd is None:
        _zstd = _ZstdContexts()
    return _zstd


def _compress_zstd(plain: Buffer, level: int | None) -> bytes:
    return _zstd_contexts().compressor(3 if level is None else level).compress(plain)  # 3: casync's level


def _decompress_zstd(stream: Buffer, limit: int) -> bytes:
    zstd = _zstd_contexts()
    try:
        size = zstd.content_size(stream)  # -1: the frame does not say
        if size > limit:
            raise _too_large(limit)
        room = size if size > 0 else min(limit, _FIRST_TRY)
        while True:
            try:
                return zstd.decompressor.decompress(stream, max_output_size=room, allow_extra_data=False)
            except zstd.error:
                if size >= 0 or room >= limit:
                    raise
                room = min(limit, 8 * room)
    except zstd.error as error:
        raise FormatError(f"Damaged or too large zstd stream ({error})") from error


def _compress_xz(plain: Buffer, level: int | None) -> bytes:
    import lzma  # here, because few runs need it

    return lzma.compress(plain, lzma.FORMAT_XZ, lzma.CHECK_CRC64, level)


def _decompress_xz(stream: Buffer, limit: int) -> bytes:
    import lzma

    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_LIMIT)
    try:
        plain = decompressor.decompress(stream, limit + 1)
    except lzma.LZMAError as error:
        raise FormatError(f"Damaged xz stream ({error})") from error
    return _complete(plain, limit, decompressor.eof, decompressor.unused_data, "xz")


def _compress_gzip(plain: Buffer, level: int | None) -> bytes:
    compressor = zlib.compressobj(-1 if level is None else level, zlib.DEFLATED, 31)  # 31: gzip framing, 32 KiB window
    return compressor.compress(plain) + compressor.flush()


def _decompress_gzip(stream: Buffer, limit: int) -> bytes:
    decompressor = zlib.decompressobj(31)
    try:
        plain = decompressor.decompress(stream, limit + 1)
    except zlib.error as error:
        raise FormatError(f"Damaged gzip stream ({error})") from error
    return _complete(plain, limit, decompressor.eof, decompressor.unused_data, "gzip")


def _complete(plain: bytes, limit: int, ended: bool, trailing: bytes, name: str) -> bytes:
    if len(plain) > limit:
        raise _too_large(limit)
    if not ended:
        raise FormatError(f"Truncated {name} stream")
    if trailing:
        raise FormatError(f"{len(trailing)} bytes follow the {name} stream")
    return plain


COMPRESSORS = {
    compressor.name: compressor
    for compressor in (
        Compressor("zstd", b"\x28\xb5\x2f\xfd", _compress_zstd, _decompress_zstd, range(-7, 23)),
        Compressor("xz", b"\xfd7zXZ\x00", _compress_xz, _decompress_xz, range(10)),
        Compressor("gzip", b"\x1f\x8b", _compress_gzip, _decompress_gzip, range(1, 10)),
    )
}
NO_COMPRESSION = Compression(None)
DEFAULT_COMPRESSION = Compression(COMPRESSORS["zstd"])


def parse_compression(text: str) -> Compression:
    """Parse `--compression=`: `default`, `none`, `zstd`, `xz`, `gzip`, or one of these with `:LEVEL`.

    Raises:
        UsageError: anything else.
    """
    if text == "default":
        return DEFAULT_COMPRESSION
    if text == "none":
        return NO_COMPRESSION
    name, colon, level_text = text.partition(":")
    compressor = COMPRESSORS.get(name)
    if compressor is None:
        raise UsageError(f"Unknown compression {text!r}; known are {', '.join(COMPRESSORS)} and none")
    if not colon:
        return Compression(compressor)
    try:
        level = int(level_text)
    except ValueError:
        level = compressor.levels.stop
    if level not in compressor.levels:
        levels = compressor.levels
        raise UsageError(f"{name} has no level {level_text!r}; its levels are {levels.start} to {levels.stop - 1}")
    return Compression(compressor, level)


def detect(stream: Buffer) -> Compressor | None:
    """The format whose signature a stream begins with; None where none does."""
    head = bytes(stream[:6])
    return next((c for c in COMPRESSORS.values() if head.startswith(c.magic)), None)
