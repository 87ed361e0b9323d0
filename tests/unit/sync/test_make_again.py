"""A stream that is read a second time, for chunks that an upload could not keep."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.scan import scan
from casync_py.chunking.params import ChunkParams
from casync_py.digest import SHA512_256
from casync_py.format.flags import F
from casync_py.monitor import Monitor
from casync_py.options import Resources
from casync_py.store.memory import MemoryStore
from casync_py.sync.blob import FileBlob
from casync_py.sync.make import blob_stream, make_index, tree_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from casync_py.ids import ChunkId
    from casync_py.store.chunk import Chunk
    from casync_py.sync.blocks import BlockWriter

PARAMS = ChunkParams.derive(64, 256, 1024)
FEATURES = int(F.SHA512_256 | F.SEC_TIME | F.PERMISSIONS)


class ForgetfulUpload:
    """Takes nothing at first, then everything, then has enough."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.rows: list[tuple[int, bytes]] = []
        self.readings = [self.rows]
        self.committed = False

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        return self.store.recognise(ids)

    def put(self, chunk: Chunk) -> bool | None:
        if len(self.readings) > 1:
            self.store.put(chunk)
        return None

    def append(self, end: int, chunk_id: bytes) -> None:
        self.readings[-1].append((end, chunk_id))

    def wants_again(self) -> bool:
        again = len(self.readings) == 1
        if again:
            self.readings.append([])
        return again

    def commit(self) -> None:
        self.committed = True

    def abort(self) -> None:
        assert self.committed


def read_twice(stream: Callable[[BlockWriter], None], monitor: Monitor) -> ForgetfulUpload:
    upload = ForgetfulUpload()
    resources = Resources(2, 1 << 20)
    made = make_index(stream, upload, PARAMS, SHA512_256, stream_digest=True, resources=resources, monitor=monitor)
    first, second = upload.readings
    assert first == second
    assert made.size == monitor.done == first[-1][0]
    assert set(upload.store.iter_ids()) == {chunk_id for _end, chunk_id in first}
    assert (monitor.chunks_new, monitor.chunks_reused) == (0, 0), "the upload counts"
    return upload


def test_a_blob(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(100_000))
    with FileBlob(str(path)) as blob:
        read_twice(blob_stream(blob), Monitor())


def test_a_tree_is_scanned_again_and_told_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(os.urandom(3000))
    told: list[bytes] = []
    monitor = Monitor(on_entry=lambda _what, path: told.append(path))
    notices: list[str] = []
    monitor.on_notice = notices.append

    def entries() -> object:
        monitor.notice("scanned")
        return scan(str(tmp_path), FEATURES, monitor=monitor)

    read_twice(tree_stream(entries, FEATURES, monitor), monitor)  # type: ignore[arg-type]
    assert monitor.entries == 4
    assert told == [b"", b"a", b"b", b"c"]
    assert notices == monitor.notices == ["scanned"]
    assert monitor.on_notice is not None


def test_trouble_in_the_second_reading(tmp_path: Path) -> None:
    monitor = Monitor(on_entry=print)
    on_entry, calls = monitor.on_entry, [0]

    def write(writer: BlockWriter) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise OSError(5, "Input/output error")
        writer.write(b"x" * 1000)

    upload = ForgetfulUpload()
    upload.committed = True  # it is aborted
    with pytest.raises(OSError, match="Input/output error"):
        make_index(
            write, upload, PARAMS, SHA512_256, stream_digest=False, resources=Resources(1, 1 << 20), monitor=monitor
        )
    assert monitor.on_entry is on_entry
