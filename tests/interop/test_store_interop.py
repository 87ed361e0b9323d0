"""Stores shared with Debian's casync: its chunks are read here, ours are read there."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import COMPRESSORS, detect, parse_compression
from casync_py.digest import DIGESTS
from casync_py.ids import ChunkId
from casync_py.options import StoreOptions
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.store.verify import Verified
from casync_py.testing.castr import index_ids, store_faults

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.peer("casync")


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Content that compresses, content that does not, and a run of zeros."""
    some = random.Random(5)
    words = [some.randbytes(6).hex() for _ in range(300)]
    text = " ".join(some.choices(words, k=60_000)).encode()
    path = tmp_path_factory.mktemp("blob") / "blob"
    path.write_bytes(text + some.randbytes(500_000) + bytes(700_000) + text[:1000])
    return path


def casync_make(casync: str, folder: Path, blob: Path, *options: str) -> list[ChunkId]:
    command = [casync, "make", *options, f"--store={folder}/s.castr", f"{folder}/i.caibx", str(blob)]
    subprocess.run(command, check=True, capture_output=True)
    return [ChunkId.from_hex(text) for text in index_ids(folder / "i.caibx")]


@pytest.mark.parametrize("compression", ["zstd", "xz", "gzip"])
@pytest.mark.parametrize("digest", ["sha512-256", "sha256"])
def test_a_store_of_casync_is_read_whole(
    casync: str, tmp_path: Path, blob: Path, compression: str, digest: str
) -> None:
    ids = casync_make(casync, tmp_path, blob, f"--compression={compression}", f"--digest={digest}")
    with LocalStore(tmp_path / "s.castr") as store:
        assert sorted(store.iter_ids()) == sorted(set(ids))
        assert all(store.has_many(ids))
        stored = store.get(ids[0]).stored(StoreOptions().compression)
        assert stored is not None
        assert detect(stored) is COMPRESSORS[compression]
        found = Verified(store, [DIGESTS[digest]], 1 << 18).get_many(ids)
        content = b"".join(chunk.plain() for _, chunk in found if isinstance(chunk, Chunk))
    assert content == blob.read_bytes()


@pytest.mark.parametrize("compression", ["none", "zstd", "zstd:19", "xz", "gzip", "mixed"])
def test_chunks_put_here_are_read_by_casync(casync: str, tmp_path: Path, blob: Path, compression: str) -> None:
    ids = casync_make(casync, tmp_path, blob)
    with LocalStore(tmp_path / "s.castr") as store:
        plain = {chunk_id: bytes(store.get(chunk_id).plain()) for chunk_id in ids}
    shutil.rmtree(tmp_path / "s.castr")
    formats = ["none", "zstd", "xz", "gzip"] if compression == "mixed" else [compression]
    for number, text in enumerate(formats):
        options = StoreOptions(compression=parse_compression(text))
        with LocalStore(tmp_path / "s.castr", options, create=True) as store:
            for chunk_id in sorted(plain)[number :: len(formats)]:
                assert store.put(Chunk(chunk_id, plain=plain[chunk_id])) is True
            store.flush()
    assert store_faults(tmp_path / "s.castr") == []
    output = tmp_path / "out"
    command = [casync, "extract", f"--store={tmp_path}/s.castr", f"{tmp_path}/i.caibx", str(output)]
    subprocess.run(command, check=True, capture_output=True)
    assert output.read_bytes() == blob.read_bytes()


def test_another_suffix(casync: str, tmp_path: Path, blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASYNC_COMPRESSED_CHUNK_SUFFIX", ".xz")
    ids = casync_make(casync, tmp_path, blob)
    with LocalStore(tmp_path / "s.castr", StoreOptions(compressed_suffix=".xz")) as store:
        assert all(store.has_many(ids))
    with LocalStore(tmp_path / "s.castr") as store:
        assert not any(store.has_many(ids))


def test_casync_finds_our_chunks_and_gc_accepts_the_store(casync: str, tmp_path: Path, blob: Path) -> None:
    """Nothing foreign stands in the root, and chunks put here are not stored a second time."""
    ids = casync_make(casync, tmp_path, blob)
    before = {file: file.stat().st_ino for file in (tmp_path / "s.castr").glob("*/*")}
    with LocalStore(tmp_path / "s.castr") as store:
        extra = Chunk(ChunkId(DIGESTS["sha512-256"].of(b"extra")), plain=b"extra")
        store.put(extra)
        store.flush()
        assert store.recognise(ids) == [True] * len(ids)
    casync_make(casync, tmp_path, blob)
    after = {file: file.stat().st_ino for file in (tmp_path / "s.castr").glob("*/*")}
    assert {file: after[file] for file in before} == before
    subprocess.run([casync, "gc", f"--store={tmp_path}/s.castr", f"{tmp_path}/i.caibx"], check=True)
    with LocalStore(tmp_path / "s.castr") as store:
        assert store.has_many([extra.chunk_id]) == [False]
        assert sorted(store.iter_ids()) == sorted(set(ids))
    assert os.listdir(tmp_path / "s.castr")
