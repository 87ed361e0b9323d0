"""Chunk sizes: what casync fills in, the discriminator, and the text forms with their refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casync_py.chunking.params import ChunkParams, parse_chunk_size, parse_size
from casync_py.errors import UsageError

CUTS = json.loads((Path(__file__).parents[2] / "vectors/chunking/cuts.json").read_text())
MIB = 1 << 20


def sizes(params: ChunkParams) -> tuple[int, int, int]:
    return params.min, params.avg, params.max


def test_defaults() -> None:
    assert ChunkParams.derive() == ChunkParams(16384, 65536, 262144, 49535)


@pytest.mark.parametrize("row", CUTS, ids=lambda row: row["chunk_size"])
def test_sizes_in_casyncs_header(row: dict[str, object]) -> None:
    assert list(sizes(ChunkParams.derive(*parse_chunk_size(str(row["chunk_size"]))))) == row["sizes"]


@pytest.mark.parametrize(
    ("avg", "discriminator"),
    [
        (4096, 3075),
        (65536, 49535),
        (MIB, 886711),
        (4 * MIB, 5721670),
        (6 * MIB, 14516637),
        (9324555, 4 * 9324555),  # the last average with a positive, and then huge, quotient
        (9324556, 4 * 9324556),  # negative: as unsigned 64 bits it is huge too
        (10 * MIB, 40 * MIB),
        (128 * MIB, 128 * MIB),
        (1, 1),
    ],
)
def test_discriminator(avg: int, discriminator: int) -> None:
    assert ChunkParams.derive(avg=avg).discriminator == discriminator


def test_discriminator_stays_within_the_bounds() -> None:
    assert ChunkParams.derive(4096, 4096, 8192).discriminator == 4096
    assert ChunkParams.derive(1, 6 * MIB, 7 * MIB).discriminator == 7 * MIB


def test_discriminator_where_the_quotient_grows_steeply() -> None:
    """Near the pole of the quotient the last digits of its two constants show."""
    assert ChunkParams.derive(1, 8 * MIB, 128 * MIB).discriminator == 62724856


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ((0, 1, 0), (1, 1, 4)),
        ((0, 7, 0), (1, 7, 28)),
        ((1000, 0, 0), (1000, 4000, 16000)),
        ((0, 0, 1000), (62, 250, 1000)),
        ((0, 0, 3), (1, 1, 3)),  # 3 / 4, but at least 1
        ((1024, 0, 16384), (1024, 4096, 16384)),
        ((1, 0, 2), (1, 1, 2)),  # the square root of 2
        ((10, 0, 1000), (10, 100, 1000)),
        ((0, 0, 128 * MIB), (8 * MIB, 32 * MIB, 128 * MIB)),
        ((0, 100 * MIB, 0), (25 * MIB, 100 * MIB, 128 * MIB)),
    ],
)
def test_what_is_not_given(given: tuple[int, int, int], filled: tuple[int, int, int]) -> None:
    assert sizes(ChunkParams.derive(*given)) == filled


@pytest.mark.parametrize(
    "given", [(2, 1, 3), (1, 3, 2), (0, 128 * MIB + 1, 0), (0, 0, 128 * MIB + 4), (1, 2, 128 * MIB + 1), (-1, 5, 6)]
)
def test_sizes_out_of_order(given: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="do not ascend"):
        ChunkParams.derive(*given)


def test_fixed() -> None:
    assert ChunkParams.derive(5, 5, 5).fixed
    assert not ChunkParams.derive(5, 5, 6).fixed
    assert not ChunkParams.derive().fixed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1", 1),
        ("5B", 5),
        ("1K", 1024),
        ("1K512", 1536),
        ("1K512B", 1536),
        ("1K 512", 1536),
        ("1.5K", 1536),
        ("1.K", 1024),
        ("1.5", 1),
        ("1.1K", 1126),
        ("1.001M", 1049624),
        ("1.18446744073709551615K", 1212),
        ("1 K", 1024),
        ("1\t K", 1024),
        (" \n64K", 65536),
        ("64 ", 64),
        ("10B5", 15),
        ("1K5 ", 1029),
        ("+64K", 65536),
        ("1K+512", 1536),
        ("1M1.5K", 1050112),
        ("1M0K0", MIB),
        ("000064K", 65536),
        ("1T1G", (1 << 40) + (1 << 30)),
        ("1E1P", (1 << 60) + (1 << 50)),
        ("15E1023P1023T1023G1023M1023K1023", (1 << 64) - 1),
        ("18446744073709551615", (1 << 64) - 1),
        ("0" * 5000 + "7", 7),
    ],
)
def test_size(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            " ",
            "K",
            ".5K",
            "-1",
            "-0",
            "1k",
            "1KB",
            "1KiB",
            "0x10",
            "1e3",
            "1_0",
            "1,5K",
            "1K1K",
            "1K1M",
            "1 1",
            "1..5K",
            "1.5.5K",
            "1. 5K",
            "1.+5K",
            "1 .5K",
            "1\nK",
        ],
        *[
            "64K ",
            "64K\n",
            "1K,",
            "1K.5",
            "1K B",
            "1K-5",
            "+ 64K",
            "++1",
            chr(0x661),
            "16E",
            "15.5E",
            "15E1024P",
            "18446744073709551616",
        ],
        *("99999999999999999999", "1.99999999999999999999K", "9" * 5000),
    ],
)
def test_no_size(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_size(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", (0, 0, 0)),
        ("64K", (0, 65536, 0)),
        ("128M", (0, 128 * MIB, 0)),
        ("1", (0, 1, 0)),
        ("16K:64K:256K", (16384, 65536, 262144)),
        ("1:1:1", (1, 1, 1)),
        ("1K: 2K:\t3K", (1024, 2048, 3072)),
    ],
)
def test_chunk_size(text: str, expected: tuple[int, int, int]) -> None:
    assert parse_chunk_size(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "AUTO",
            "0",
            "0.5",
            "129M",
            "128M1",
            "16K:64K",
            "1:2:3:4",
            ":64K:256K",
            "16K::256K",
            "16K:64K:",
            "0:1:2",
            "auto:64K:auto",
        ],
        *["64K:16K:256K", "16K:64K:32K", "16K:64K:129M", "1K:2K:3K ", "x:2:3", "1:x:3", "1:2:x"],
    ],
)
def test_no_chunk_size(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_chunk_size(text)
    assert any(repr(part) in str(error.value) for part in (text, *text.split(":")))
