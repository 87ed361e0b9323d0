"""Three formats, both directions, bounded; what is read is told apart by its signature."""

from __future__ import annotations

import gzip
import lzma
import threading
import zlib

import pytest
import zstandard

from casync_py.compression import (
    COMPRESSORS,
    DEFAULT_COMPRESSION,
    NO_COMPRESSION,
    Compression,
    Compressor,
    detect,
    parse_compression,
)
from casync_py.errors import FormatError, UsageError

PLAIN = b"some text that repeats itself, " * 400
KINDS = {"bytes": bytes, "bytearray": bytearray, "memoryview": memoryview}


@pytest.fixture(params=COMPRESSORS)
def compressor(request: pytest.FixtureRequest) -> Compressor:
    return COMPRESSORS[request.param]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plain", [b"x", PLAIN, bytes(3 << 20)], ids=["one byte", "text", "3 MiB"])
def test_there_and_back(compressor: Compressor, plain: bytes, kind: str) -> None:
    stream = compressor.compress(KINDS[kind](plain), None)
    assert stream.startswith(compressor.magic)
    assert detect(KINDS[kind](stream)) is compressor
    assert compressor.decompress(KINDS[kind](stream), len(plain)) == plain


def test_every_level(compressor: Compressor) -> None:
    for level in compressor.levels:
        assert compressor.decompress(compressor.compress(PLAIN, level), len(PLAIN)) == PLAIN


def test_other_tools_read_it() -> None:
    assert zstandard.decompress(COMPRESSORS["zstd"].compress(PLAIN, None)) == PLAIN
    assert lzma.decompress(COMPRESSORS["xz"].compress(PLAIN, None), lzma.FORMAT_XZ) == PLAIN
    stream = COMPRESSORS["gzip"].compress(PLAIN, None)
    assert gzip.decompress(stream) == PLAIN
    assert stream[4:8] == bytes(4)  # no time: the same chunk gives the same file


@pytest.mark.parametrize("size", [100_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20, 20 << 20])
def test_zstd_streams_that_do_not_say_their_size(size: int) -> None:
    """As casync writes them."""
    plain = bytes(range(256)) * (size // 256) + bytes(size % 256)
    stream = zstandard.ZstdCompressor(write_content_size=False).compress(plain)
    assert zstandard.frame_content_size(stream) == -1
    assert COMPRESSORS["zstd"].decompress(stream, 128 << 20) == plain
    assert COMPRESSORS["zstd"].decompress(stream, size) == plain
    with pytest.raises(FormatError):
        COMPRESSORS["zstd"].decompress(stream, size - 1)


def test_one_byte_more_than_the_limit(compressor: Compressor) -> None:
    stream = compressor.compress(PLAIN, None)
    with pytest.raises(FormatError):
        compressor.decompress(stream, len(PLAIN) - 1)
    with pytest.raises(FormatError):
        compressor.decompress(stream, 0)


def test_an_empty_stream_of_content(compressor: Compressor) -> None:
    assert compressor.decompress(compressor.compress(b"", None), 100) == b""


def test_every_truncation_and_trailing_bytes(compressor: Compressor) -> None:
    stream = compressor.compress(PLAIN[:500], None)
    for length in range(len(stream)):
        with pytest.raises(FormatError):
            compressor.decompress(stream[:length], 1 << 20)
    for trailing in (b"\0", b"trailing", stream):
        with pytest.raises(FormatError):
            compressor.decompress(stream + trailing, 1 << 20)


def test_a_flipped_bit_gives_an_error_or_bytes_but_nothing_else(compressor: Compressor) -> None:
    stream = compressor.compress(PLAIN[:500], None)
    for place in range(len(stream)):
        damaged = bytearray(stream)
        damaged[place] ^= 1 << place % 8
        try:
            assert len(compressor.decompress(damaged, 1 << 20)) <= 1 << 20
        except FormatError as error:
            assert str(error)  # noqa: PT017 - either outcome is right


def test_a_zstd_window_beyond_the_largest_chunk_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=False, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = stream.compress(PLAIN) + stream.flush()
    with pytest.raises(FormatError, match="Damaged or too large"):
        COMPRESSORS["zstd"].decompress(data, 1 << 20)


def test_an_xz_stream_that_wants_too_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 256 << 20}]
    encoder = lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC64, filters=filters)
    with pytest.raises(FormatError, match="xz"):
        COMPRESSORS["xz"].decompress(encoder.compress(PLAIN) + encoder.flush(), 1 << 20)


def test_raw_deflate_and_zlib_are_not_gzip() -> None:
    with pytest.raises(FormatError, match="gzip"):
        COMPRESSORS["gzip"].decompress(zlib.compress(PLAIN), 1 << 20)


@pytest.mark.parametrize("stream", [b"", b"\x28\xb5\x2f", b"\xfd7zXZ", b"\x1f", b"plain text", b"\0" * 100])
def test_what_has_no_signature(stream: bytes) -> None:
    assert detect(stream) is None


def test_threads_have_their_own_contexts(compressor: Compressor) -> None:
    stream = compressor.compress(PLAIN, None)
    results: list[bool] = []

    def work() -> None:
        for _ in range(20):
            results.append(compressor.decompress(compressor.compress(PLAIN, 1), 1 << 20) == PLAIN)
            results.append(compressor.decompress(stream, 1 << 20) == PLAIN)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 160


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("default", DEFAULT_COMPRESSION),
        ("none", NO_COMPRESSION),
        ("zstd", Compression(COMPRESSORS["zstd"])),
        ("xz", Compression(COMPRESSORS["xz"])),
        ("gzip:9", Compression(COMPRESSORS["gzip"], 9)),
        ("xz:0", Compression(COMPRESSORS["xz"], 0)),
        ("zstd:22", Compression(COMPRESSORS["zstd"], 22)),
        ("zstd:-7", Compression(COMPRESSORS["zstd"], -7)),
    ],
)
def test_option_values(text: str, expected: Compression) -> None:
    assert parse_compression(text) == expected
    if text != "default":
        assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Unknown compression ''"),
        ("lz4", "Unknown compression 'lz4'; known are zstd, xz, gzip and none"),
        ("ZSTD", "Unknown compression 'ZSTD'"),
        ("none:1", "Unknown compression 'none:1'"),
        ("zstd:23", "zstd has no level '23'; its levels are -7 to 22"),
        ("gzip:0", "gzip has no level '0'; its levels are 1 to 9"),
        ("xz:", "xz has no level ''"),
        ("xz:six", "xz has no level 'six'"),
    ],
)
def test_wrong_option_values(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_compression(text)
