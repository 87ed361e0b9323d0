"""Files that share their metadata are taken in one step, where that may be done: nothing of the result may tell."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from casync_py.archive.decoder import decode
from casync_py.archive.encoder import encode
from casync_py.archive.restore import RestoreStats, restore
from casync_py.archive.scan import scan
from casync_py.archive.stream import StreamPayload
from casync_py.digest import SHA512_256
from casync_py.format.flags import Feature
from casync_py.monitor import Monitor
from casync_py.sync.select import select
from casync_py.testing.compare import tree_differences
from casync_py.testing.memory_archives import Collector, PieceSource

if TYPE_CHECKING:
    from pathlib import Path

    from casync_py.archive.nodes import Node

PLAIN = int(Feature.PERMISSIONS | Feature.NSEC_TIME | Feature.SYMLINKS) | SHA512_256.flag
T = 1_234_567_890_123_456_789


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for folder in (top, top / "m", top / "n"):
        folder.mkdir()
        for number in range(40):
            file = folder / f"{number:02}"
            file.write_bytes(b"%d" % number * number)
            file.chmod(0o755 if number % 13 == 0 else 0o644)
            os.utime(file, ns=(T, T + number))
    return top


@pytest.fixture
def archive(tree: Path) -> bytes:
    sink = Collector()
    with closing(scan(str(tree), PLAIN)) as nodes:
        encode(nodes, sink, PLAIN)
    return bytes(sink.data)


@pytest.fixture
def in_runs(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Names of the files that were taken in one step with the one before."""
    names: list[bytes] = []
    original = StreamPayload.following_files

    def counted(self: StreamPayload, node: Node, latest_ns: int, largest: int) -> Any:
        found = original(self, node, latest_ns, largest)
        names.extend(found[0])
        return found

    monkeypatch.setattr(StreamPayload, "following_files", counted)
    return names


def restored(archive: bytes, target: Path, step: int = 1 << 20, **options: Any) -> RestoreStats:
    return restore(decode(PieceSource(archive, [step])), target, PLAIN, **options)


@pytest.mark.parametrize("step", [1 << 20, 700, 65])
def test_a_tree(tree: Path, archive: bytes, tmp_path: Path, in_runs: list[bytes], step: int) -> None:
    monitor = Monitor()
    stats = restored(archive, tmp_path / "out", step, monitor=monitor)
    assert tree_differences(tree, tmp_path / "out") == []
    assert (stats.files, stats.directories, stats.bytes) == (120, 3, 3 * sum(len(b"%d" % n) * n for n in range(40)))
    assert monitor.entries == 123
    assert len(in_runs) > {1 << 20: 90, 700: 20, 65: -1}[step]


def test_over_what_is_there_nothing_of_a_run_is_removed(
    tree: Path, archive: bytes, tmp_path: Path, in_runs: list[bytes]
) -> None:
    out = tmp_path / "out"
    restored(archive, out)
    (out / "m/05x").write_text("not in the archive")
    (out / "n/06").write_text("other content")
    in_runs.clear()
    stats = restored(archive, out)
    assert len(in_runs) > 90
    assert stats.removed == 1
    assert tree_differences(tree, out) == []


def test_not_where_each_entry_is_shown(tree: Path, archive: bytes, tmp_path: Path, in_runs: list[bytes]) -> None:
    seen: list[bytes] = []
    restored(archive, tmp_path / "out", monitor=Monitor(on_entry=lambda _, path: seen.append(path)))
    assert len(seen) == 123
    assert in_runs == []
    assert tree_differences(tree, tmp_path / "out") == []


def test_not_where_entries_were_selected(archive: bytes, tmp_path: Path, in_runs: list[bytes]) -> None:
    for path in (b"m", b"n/04"):
        restore(select(decode(PieceSource(archive)), path), tmp_path, PLAIN, inside=True)
    assert len(list((tmp_path / "m").iterdir())) == 40
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"04"}
    assert in_runs == []


def test_a_time_that_a_file_system_may_not_have_is_looked_at(
    archive: bytes, tmp_path: Path, in_runs: list[bytes]
) -> None:
    far = (T + 9) * 2  # after 2038
    restored(archive.replace((T + 9).to_bytes(8, "little"), far.to_bytes(8, "little")), tmp_path / "out")
    assert (tmp_path / "out/m/09").stat().st_mtime_ns == far
    assert b"08" in in_runs
    assert b"09" not in in_runs
