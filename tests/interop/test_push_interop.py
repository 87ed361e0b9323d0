"""Pushing to Debian's casync over pipes: as much as it wants, however much of it could be kept."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from casync_py.chunking.params import ChunkParams
from casync_py.compression import DEFAULT_COMPRESSION
from casync_py.digest import SHA512_256
from casync_py.errors import PeerError
from casync_py.format.flags import F
from casync_py.monitor import Monitor
from casync_py.options import Resources
from casync_py.peer import pusher
from casync_py.peer.pusher import Pusher, push_connection
from casync_py.store.local import LocalStore
from casync_py.sync.blob import FileBlob
from casync_py.sync.make import blob_stream, make_index
from casync_py.sync.upload import Upload, UploadPlan, local_upload
from casync_py.testing.castr import index_faults, store_faults
from casync_py.transport.pipe import ChildStream

if TYPE_CHECKING:
    from pathlib import Path

PLAN = UploadPlan(int(F.SHA512_256 | F.EXCLUDE_NODUMP | F.EXCLUDE_FILE), ChunkParams.derive(1 << 12, 1 << 14, 1 << 16))


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    rng = random.Random(1)
    path.write_bytes(rng.randbytes(1 << 20) + rng.randbytes(1 << 20).hex().encode() + bytes(1 << 20))
    return path


def start(casync: str, folder: Path) -> ChildStream:
    return ChildStream([casync, "push", "-", "-", str(folder / "x.caibx"), str(folder / "x.castr")], None, "casync")


def push(stream: ChildStream, memory: int, monitor: Monitor) -> Pusher:
    return Pusher(
        stream,
        push_connection(ours=False),
        PLAN,
        compression=DEFAULT_COMPRESSION,
        resources=Resources(2, memory),
        monitor=monitor,
        timeout=60,
    )


def make(blob: Path, upload: Upload, monitor: Monitor) -> None:
    with FileBlob(str(blob)) as source:
        make_index(
            blob_stream(source),
            upload,
            PLAN.params,
            SHA512_256,
            stream_digest=False,
            resources=Resources(2, 8 << 20),
            monitor=monitor,
        )


def checked(blob: Path, folder: Path, monitor: Monitor) -> None:
    """What came out is what making it locally gives, also in the counters."""
    local = Monitor()
    with LocalStore(folder / "local.castr", create=True) as store:
        make(blob, local_upload(str(folder / "local.caibx"), store, PLAN), local)
    assert (folder / "x.caibx").read_bytes() == (folder / "local.caibx").read_bytes()
    assert index_faults(folder / "x.caibx", folder / "x.castr") == []
    assert store_faults(folder / "x.castr") == []
    assert monitor.chunks_new + monitor.chunks_reused == local.chunks_new + local.chunks_reused
    assert monitor.bytes_new + monitor.bytes_reused == blob.stat().st_size


@pytest.mark.parametrize("memory", [96 << 20, 400_000], ids=["plenty", "little"])
def test_nothing_known_then_all_known(casync: str, blob: Path, tmp_path: Path, memory: int) -> None:
    for known in (False, True):
        monitor = Monitor()
        make(blob, push(start(casync, tmp_path), memory, monitor), monitor)
        checked(blob, tmp_path, monitor)
        assert (monitor.chunks_new == 0) == known


def test_a_casync_that_wakes_up_late(casync: str, blob: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for everything when little of it is left: the source is read again."""
    monkeypatch.setattr(pusher, "_PATIENCE_S", (0.01, 0.01))
    stream, monitor, passes = start(casync, tmp_path), Monitor(), []
    upload = push(stream, 400_000, monitor)
    upload._session.await_hello()
    os.kill(stream.pid, signal.SIGSTOP)
    wants_again = upload.wants_again

    def all_sent() -> bool:
        os.kill(stream.pid, signal.SIGCONT)
        passes.append(wants_again())
        return passes[-1]

    upload.wants_again = all_sent  # type: ignore[method-assign]
    make(blob, upload, monitor)
    assert passes[0] is True
    checked(blob, tmp_path, monitor)
    assert monitor.chunks_new > 0


def test_a_casync_that_is_killed(casync: str, blob: Path, tmp_path: Path) -> None:
    stream, monitor = start(casync, tmp_path), Monitor()
    upload = push(stream, 400_000, monitor)
    upload._session.await_hello()
    os.kill(stream.pid, signal.SIGKILL)
    with pytest.raises(PeerError, match=r"casync: .*\(killed by SIGKILL\)"):
        make(blob, upload, monitor)
    assert not (tmp_path / "x.caibx").exists()


def test_a_casync_that_cannot_install_the_index(casync: str, blob: Path, tmp_path: Path) -> None:
    """It says GOODBYE before it renames the index; its exit status tells."""
    (tmp_path / "x.caibx").mkdir()
    monitor = Monitor()
    with pytest.raises(PeerError, match=r"casync: .*\(exit status 1\)"):
        make(blob, push(start(casync, tmp_path), 96 << 20, monitor), monitor)
