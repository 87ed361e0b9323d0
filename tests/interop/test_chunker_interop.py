"""Cuts and sizes beside Debian's casync, over parameters and data that are made up here."""

from __future__ import annotations

import random
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.chunking.chunker import Chunker, mark
from casync_py.chunking.params import ChunkParams, parse_chunk_size
from casync_py.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.peer("casync")


def casync_index(casync: str, data: bytes, chunk_size: str, where: Path) -> bytes | None:
    """The index, or None where casync refuses."""
    (where / "blob").write_bytes(data)
    options = [f"--store={where}/store.castr", f"--chunk-size={chunk_size}"]
    command = [casync, "make", *options, f"{where}/blob.caibx", f"{where}/blob"]
    status = subprocess.run(command, capture_output=True).returncode
    return (where / "blob.caibx").read_bytes() if status == 0 else None


def ends(index: bytes) -> list[int]:
    rows = index[64:-40]
    return [struct.unpack_from("<Q", rows, at)[0] for at in range(0, len(rows), 40)]


def our_ends(data: bytes, params: ChunkParams) -> list[int]:
    chunker = Chunker(params)
    return [*chunker.feed(data), *chunker.finish()]


def mixed_data(size: int) -> bytes:
    """Random bytes with runs of zeros and repetitions, as real images have them."""
    source = random.Random(size)
    parts: list[bytes] = []
    while sum(len(part) for part in parts) < size:
        block = source.randbytes(source.randrange(1, 60_000))
        parts += [block, bytes(source.randrange(0, 90_000)), block[: source.randrange(len(block))]]
    return b"".join(parts)[:size]


@pytest.mark.parametrize(
    "chunk_size",
    [
        "auto",
        "1K",
        "4096:4096:8192",
        "1:50000:60000",
        "48:64K:64K1",
        "64:1023:40000",
        "1M",
        "20K:9324555:12M",
        "3K:3K:3K",
        "1:3:50",
        "16K:10M:20M",
    ],
)
def test_same_cuts(casync: str, chunk_size: str, tmp_path: Path) -> None:
    data = mixed_data(100_000 if chunk_size in {"1K", "1:3:50", "64:1023:40000"} else 1_500_000)
    params = ChunkParams.derive(*parse_chunk_size(chunk_size))
    index = casync_index(casync, data, chunk_size, tmp_path)
    assert index is not None
    assert struct.unpack_from("<QQQ", index, 24) == (params.min, params.avg, params.max)
    assert our_ends(data, params) == ends(index)


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_cut_exactly_at_min(casync: str, beyond: int, tmp_path: Path) -> None:
    data = mixed_data(100_000)
    first = mark(data, ChunkParams.derive(avg=2000))[0]
    chunk_size = f"{first + beyond}:{max(2000, first + beyond)}:90000"
    params = ChunkParams.derive(*parse_chunk_size(chunk_size))
    index = casync_index(casync, data, chunk_size, tmp_path)
    assert index is not None
    assert our_ends(data, params) == ends(index)


@pytest.mark.parametrize("size", [40, 41, 47, 48, 49])
def test_max_below_the_window(casync: str, size: int, tmp_path: Path) -> None:
    index = casync_index(casync, bytes(size), "10:20:40", tmp_path)
    if index is None:
        with pytest.raises(UsageError):
            our_ends(bytes(size), ChunkParams.derive(10, 20, 40))
    else:
        assert our_ends(bytes(size), ChunkParams.derive(10, 20, 40)) == ends(index)
    assert (index is None) == (size > 40)


@pytest.mark.parametrize(
    "text",
    [
        "1.5K",
        "1K512",
        "1K 512",
        "1\tK",
        "1\nK",
        " 64K",
        "64K ",
        "64 ",
        "1K 5 ",
        "\n64K",
        "+64K",
        "-64K",
        "1.K",
        ".5K",
        "1k",
        "1KB",
        "1K1K",
        "1K1M",
        "10B5",
        "10 5",
        "1.1K",
        "1.001M",
        "1.18446744073709551615K",
        "0.99999K",
        "16E",
        "129M",
        "1.99999999999999999999K",
        "15.5E",
        "0",
        "",
        "AUTO",
        "16K:64K",
        "0:1:2",
        "64K:16K:256K",
        "16K:64K:32K",
        "1:2:3:4",
    ],
)
def test_same_sizes_and_refusals(casync: str, text: str, tmp_path: Path) -> None:
    index = casync_index(casync, b"", text, tmp_path)
    try:
        params = ChunkParams.derive(*parse_chunk_size(text))
    except UsageError:
        assert index is None
    else:
        assert index is not None
        assert struct.unpack_from("<QQQ", index, 24) == (params.min, params.avg, params.max)
