"""Damaged and hostile archives, indexes and chunks on the command line: one clear line, status 1, nothing half done.

Commands run inside this process, so that every truncation can be tried.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import zstandard

from casync_py.cli import main
from casync_py.testing.castr import index_ids
from casync_py.testing.peak import wait_and_measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENTRY, FILENAME, PAYLOAD = 0x1396FABCEA5BBB51, 0x6DBB6EBCB3161F0B, 0x8B9E1D93D6DCFFC9  # casync caformat.h
SYMLINK, GOODBYE = 0x664A6FB6830E0D6C, 0xDFD35C5E8327C403
FLAGS = 0xB000000000000300  # permissions, symlinks, and the default exclusions and digest
PEAK_MAX = 200 << 20


class Made:
    """A small tree and a blob in all forms, in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree, self.catar, self.caidx = folder / "tree", folder / "tree.catar", folder / "tree.caidx"
        self.blob, self.caibx = folder / "blob", folder / "blob.caibx"
        self.store, self.out = folder / "default.castr", folder / "out"

    def chunk(self, index: Path, number: int) -> Path:
        """The file of one chunk of an index."""
        name = index_ids(index)[number]
        return self.store / name[:4] / f"{name}.cacnk"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = Made(tmp_path_factory.mktemp("damage"))
    rng = random.Random(5)
    (made.tree / "sub").mkdir(parents=True)
    (made.tree / "a file").write_bytes(rng.randbytes(700))
    (made.tree / "empty").touch()
    (made.tree / "sub" / "link").symlink_to("../a file")
    (made.tree / "sub" / "x").write_text("x" * 100)
    made.blob.write_bytes(rng.randbytes(40_000))
    small = ["--chunk-size=256:1024:4096", "--without=privileged"]
    for output, source in ((made.catar, made.tree), (made.caidx, made.tree), (made.caibx, made.blob)):
        assert main(["make", *small, str(output), str(source)]) == 0
    return made


@pytest.fixture
def made(original: Made, tmp_path: Path) -> Made:
    shutil.copytree(original.folder, tmp_path / "made", symlinks=True)
    return Made(tmp_path / "made")


def assert_nothing_half_done(out: Path, tree: Path, *, except_for: str = "") -> None:
    """Each file of a failed extraction is complete, and no temporary one is left."""
    for path in out.rglob("*") if out.exists() else ():
        assert not path.name.startswith(".#"), path
        if path.is_file() and not path.is_symlink() and path.name != except_for:
            assert path.read_bytes() == (tree / path.relative_to(out)).read_bytes(), path


def records(archive: bytes) -> Iterator[tuple[int, int, int]]:
    """(offset, size, type) of each record."""
    offset = 0
    while offset < len(archive):
        size, kind = struct.unpack_from("<QQ", archive, offset)
        yield offset, size, kind
        offset += size


# Archives


def test_flipped_bit_in_every_record_header(made: Made, refused: Callable[..., str]) -> None:
    archive = made.catar.read_bytes()
    name = ""
    for offset, size, kind in records(archive):
        if kind == FILENAME:
            name = archive[offset + 16 : offset + size - 1].decode()
        for position in (offset, offset + 8):  # the record's size, and its type
            damaged = bytearray(archive)
            damaged[position] ^= 1
            made.catar.write_bytes(damaged)
            refused("list", made.catar, says="tree.catar")
            refused("extract", "--without=privileged", made.catar, made.out)
            # How long a file is, only its payload's header says: the damage shows behind it.
            assert_nothing_half_done(made.out, made.tree, except_for=name if kind == PAYLOAD else "")
            shutil.rmtree(made.out, ignore_errors=True)


def test_every_truncation_of_an_archive(made: Made, refused: Callable[..., str]) -> None:
    archive = made.catar.read_bytes()
    for length in range(len(archive)):
        os.truncate(made.catar, length)
        made.catar.write_bytes(archive[:length])
        refused("list", made.catar, says="tree.catar")
        if length % 10 == 0:
            refused("extract", "--without=privileged", made.catar, made.out)
            assert_nothing_half_done(made.out, made.tree)
            shutil.rmtree(made.out, ignore_errors=True)


def record(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("<QQ", 16 + len(body), kind) + body


def entry(mode: int) -> bytes:
    return record(ENTRY, struct.pack("<6Q", FLAGS, mode, 0, 0, 0, 0))


def filename(name: bytes) -> bytes:
    return record(FILENAME, name + b"\0")


EVIL = entry(0o100644) + record(PAYLOAD, b"evil")


@pytest.mark.parametrize("name", [b"..", b".", b"", b"/etc", b"../escaped", b"a/b", b"a\0b"])
def test_names_that_lead_out_of_the_target(tmp_path: Path, refused: Callable[..., str], name: bytes) -> None:
    archive = tmp_path / "evil.catar"
    archive.write_bytes(entry(0o40755) + filename(name) + EVIL + record(GOODBYE, bytes(24)))
    refused("list", archive, says="evil.catar")
    refused("extract", archive, tmp_path / "target", says="evil.catar")
    assert sorted(path.name for path in tmp_path.rglob("*")) in (["evil.catar"], ["evil.catar", "target"])


def test_symlink_and_directory_of_one_name(tmp_path: Path, refused: Callable[..., str]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = entry(0o120777) + record(SYMLINK, bytes(outside) + b"\0")
    folder = entry(0o40755) + filename(b"evil") + EVIL + record(GOODBYE, bytes(24))
    archive = tmp_path / "evil.catar"
    archive.write_bytes(entry(0o40755) + filename(b"d") + link + filename(b"d") + folder)
    refused("extract", archive, tmp_path / "target", says="evil.catar")
    assert list(outside.iterdir()) == []


def test_symlink_in_place_of_a_directory_is_replaced(made: Made) -> None:
    outside = made.folder / "outside"
    outside.mkdir()
    made.out.mkdir()
    (made.out / "sub").symlink_to(outside)
    assert main(["extract", "--without=privileged", str(made.catar), str(made.out)]) == 0
    assert list(outside.iterdir()) == []
    assert not (made.out / "sub").is_symlink()
    assert (made.out / "sub/x").read_text() == "x" * 100


# Indexes


@pytest.mark.parametrize("index", ["caidx", "caibx"])
def test_every_truncation_of_an_index(made: Made, refused: Callable[..., str], index: str) -> None:
    path: Path = getattr(made, index)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        refused("extract", "--without=privileged", path, made.out, says=path.name)
        assert not made.out.exists() or not any(made.out.iterdir())


FIELDS = {
    "size": (0, 1),
    "type": (8, 1),
    "unknown feature": (20, 0x10),
    "other digest": (23, 0x20),
    "min above avg": (26, 0x10),
    "avg above max": (34, 0x10),
    "max below avg": (41, 0x10),
    "table's size": (48, 1),
    "table's type": (56, 1),
    "end offset": (64, 1),
    "chunk id": (72, 1),
    "tail": (-40, 1),
    "tail's index offset": (-24, 1),
    "tail's size": (-16, 1),
    "tail's marker": (-8, 1),
}


@pytest.mark.parametrize("field", FIELDS)
def test_flipped_bit_in_an_index(made: Made, refused: Callable[..., str], field: str) -> None:
    offset, bit = FIELDS[field]
    data = bytearray(made.caibx.read_bytes())
    data[offset] ^= bit
    made.caibx.write_bytes(data)
    refused("extract", made.caibx, made.out)
    assert not made.out.exists()


def test_bytes_after_an_index(made: Made, refused: Callable[..., str]) -> None:
    with made.caibx.open("ab") as index:
        index.write(b"more")
    refused("extract", made.caibx, made.out, says="blob.caibx")
    assert not made.out.exists()


# Chunks


def _remove(chunk: Path, other: Path) -> None:
    chunk.unlink()


def _empty(chunk: Path, other: Path) -> None:
    _replace(chunk, b"")


def _other_content(chunk: Path, other: Path) -> None:
    _replace(chunk, other.read_bytes())


def _flip(chunk: Path, other: Path) -> None:
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    _replace(chunk, bytes(data))


def _cut(chunk: Path, other: Path) -> None:
    _replace(chunk, chunk.read_bytes()[:-3])


def _trailing(chunk: Path, other: Path) -> None:
    _replace(chunk, chunk.read_bytes() + b"more")


def _junk(chunk: Path, other: Path) -> None:
    _replace(chunk, b"no compressed stream")


def _link(chunk: Path, other: Path) -> None:
    moved = chunk.with_name("moved")
    chunk.rename(moved)
    chunk.symlink_to(moved)


def _folder(chunk: Path, other: Path) -> None:
    chunk.unlink()
    chunk.mkdir()


def _bomb(chunk: Path, other: Path) -> None:
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    zeros = bytes(1 << 20)
    pieces = [compressor.compress(zeros) for _ in range(1024)]
    _replace(chunk, b"".join(pieces) + compressor.flush())


def _boastful(chunk: Path, other: Path) -> None:
    """A zstd frame whose header promises 2^60 bytes."""
    _replace(chunk, b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 60) + b"\x01\0\0")


def _replace(chunk: Path, data: bytes) -> None:
    chunk.unlink()  # chunk files are read-only
    chunk.write_bytes(data)


DAMAGES = [_remove, _empty, _other_content, _flip, _cut, _trailing, _junk, _link, _folder, _boastful]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("index", ["caidx", "caibx"])
def test_damaged_chunk(made: Made, refused: Callable[..., str], index: str, damage: object) -> None:
    path: Path = getattr(made, index)
    number = 1
    chunk = made.chunk(path, number)
    assert callable(damage)
    damage(chunk, made.chunk(path, 0))
    message = refused(
        "-lerr", "extract", "--without=privileged", path, made.out, says=chunk.name.removesuffix(".cacnk")
    )
    missing = damage in (_remove, _empty)
    assert ("missing" in message) == missing
    assert_nothing_half_done(made.out, made.tree)
    assert index == "caidx" or not made.out.exists()
    assert made.out.with_name(".out.partial").exists() == (index == "caibx")


def test_bomb_takes_no_memory(made: Made) -> None:
    _bomb(made.chunk(made.caibx, 1), made.chunk(made.caibx, 0))
    command = [sys.executable, "-m", "casync_py", "-lerr", "extract", str(made.caibx), str(made.out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    _, peak = wait_and_measure(process, 60)
    message = process.stderr.read().strip()
    process.stderr.close()
    assert process.returncode == 1
    assert index_ids(made.caibx)[1] in message
    assert "\n" not in message
    assert 0 < peak < PEAK_MAX
    assert not made.out.exists()
