"""Whatever stands where a blob goes: the result is the blob, and just those chunks are fetched that were not there."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casync_py.digest import SHA256
from casync_py.format.index import Index, IndexWriter
from casync_py.ids import ChunkId
from casync_py.monitor import Monitor
from casync_py.options import Resources
from casync_py.store.chunk import Chunk
from casync_py.store.memory import MemoryStore
from casync_py.store.verify import Verified
from casync_py.sync.blob import FileTarget
from casync_py.sync.extract import extract_blob
from casync_py.sync.stream import IndexStream
from casync_py.testing.recording import RecordingStore

# Few different chunks, so that they repeat; long ones, with zeros that may become holes.
CHUNKS = st.one_of(
    st.sampled_from([b"a", b"b" * 300, bytes(8192), bytes(5000), b"x" * 4096]), st.binary(min_size=1, max_size=40)
)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(0, 40_000), st.integers(1, 255)),
        st.tuples(st.just("cut"), st.integers(0, 40_000), st.just(0)),
        st.tuples(st.just("zero"), st.integers(0, 40_000), st.integers(1, 9000)),
        st.tuples(st.just("insert"), st.integers(0, 40_000), st.integers(1, 9000)),
        st.tuples(st.just("grow"), st.integers(1, 9000), st.just(0)),
    ),
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    there = bytearray(data)
    for kind, at, value in edits:
        if kind == "cut":
            del there[at:]
        elif kind == "grow":
            there += bytes(at)
        elif kind == "insert":
            there[at:at] = b"i" * value
        elif kind == "zero":
            there[at : at + value] = bytes(len(there[at : at + value]))
        elif at < len(there):
            there[at] ^= value
    return bytes(there)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    chunks=st.lists(CHUNKS, max_size=12),
    edits=EDITS,
    name=st.sampled_from(["out", ".out.partial"]),
    punch_holes=st.booleans(),
    jobs=st.integers(1, 3),
)
def test_any_target_becomes_the_blob(
    chunks: list[bytes], edits: list[tuple[str, int, int]], name: str, punch_holes: bool, jobs: int
) -> None:
    store = RecordingStore(MemoryStore())
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        folder = Path(scratch)
        ends, lacking, end = [], [], 0
        there = edited(b"".join(chunks), edits)
        for plain in chunks:
            chunk_id = ChunkId(hashlib.sha256(plain).digest())
            store.store.put(Chunk(chunk_id, plain=plain))
            ends.append((end + len(plain), chunk_id))
            if there[end : end + len(plain)] != plain:
                lacking.append(chunk_id)
            end += len(plain)
        with (folder / "x.caibx").open("wb") as file:
            writer = IndexWriter(file.write, 0, (1, 8192, 8192))
            for row in ends:
                writer.append(*row)
            writer.finish()
        (folder / name).write_bytes(there)
        with Index.open(folder / "x.caibx") as index:
            stream = IndexStream(index, Verified(store, [SHA256], jobs=1), 1 << 20, Monitor())
            extract_blob(stream, FileTarget(str(folder / "out"), index.size, punch_holes), Resources(jobs, 1 << 20))
        assert (folder / "out").read_bytes() == b"".join(chunks)
        assert sorted(path.name for path in folder.iterdir()) == ["out", "x.caibx"]
    assert store.gets == lacking
