"""An index appears when its chunks are durable, and not before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from casync_py.chunking.params import ChunkParams
from casync_py.digest import SHA512_256
from casync_py.format.flags import F
from casync_py.format.index import Index
from casync_py.ids import ChunkId
from casync_py.store.chunk import Chunk
from casync_py.store.memory import MemoryStore
from casync_py.sync.upload import UploadPlan, local_upload

if TYPE_CHECKING:
    from pathlib import Path

PLAN = UploadPlan(int(F.SHA512_256), ChunkParams.derive(), 0o640)
PLAIN = b"plain content"
ID = ChunkId(SHA512_256.of(PLAIN))


class OrderedStore(MemoryStore):
    """Notes whether the index existed when the chunks became durable."""

    index: Path
    index_at_flush: bool | None = None

    def flush(self) -> None:
        self.index_at_flush = self.index.exists()
        super().flush()


def test_chunks_first_then_the_index(tmp_path: Path) -> None:
    store = OrderedStore()
    store.index = tmp_path / "x.caibx"
    upload = local_upload(str(store.index), store, PLAN)
    assert upload.recognise([ID]) == [False]
    assert upload.put(Chunk(ID, plain=PLAIN))
    upload.append(len(PLAIN), ID)
    assert not store.index.exists()
    upload.commit()
    upload.abort()
    assert store.index_at_flush is False
    with Index.open(store.index) as index:
        assert [(row.end, row.chunk_id) for row in index] == [(len(PLAIN), ID)]
    assert store.index.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["x.caibx"]


def test_given_up(tmp_path: Path) -> None:
    upload = local_upload(str(tmp_path / "x.caibx"), MemoryStore(), PLAN)
    upload.append(1, ID)
    upload.abort()
    upload.abort()
    assert os.listdir(tmp_path) == []


def test_an_old_index_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.caibx"
    path.write_bytes(b"old")
    upload = local_upload(str(path), MemoryStore(), PLAN)
    upload.append(1, ID)
    assert path.read_bytes() == b"old"
    upload.abort()
    assert path.read_bytes() == b"old"


def test_no_directory_for_the_index(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent/x\.caibx"):
        local_upload(str(tmp_path / "absent/x.caibx"), MemoryStore(), PLAN)
