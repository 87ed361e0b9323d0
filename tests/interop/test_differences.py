"""The differences that docs/differences.md lists, each beside casync: what it does there, and what casync-py does."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import index_ids, store_faults
from casync_py.testing.compare import tree_differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def theirs(casync: str) -> Run:
    """Runs casync with arguments; it must not hang."""

    def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [casync, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)

    return run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    (path / "file").write_text("content")
    os.utime(path / "file", ns=(0, 1_600_000_000_123_456_789))
    os.utime(path, ns=(0, 1_600_000_000_987_654_321))
    return path


def test_microseconds_can_be_read_back(tmp_path: Path, tree: Path, theirs: Run, cli: Run) -> None:
    archive = tmp_path / "a.catar"
    assert theirs("make", "--with=usec-time", archive, tree).returncode == 0
    assert theirs("list", archive).returncode == 1
    assert cli("list", archive).stdout.splitlines()[1].endswith(" file")
    assert cli("extract", archive, tmp_path / "out").returncode == 0
    assert (tmp_path / "out/file").stat().st_mtime_ns == 1_600_000_000_123_456_000


def test_user_names_of_any_form_are_read(tmp_path: Path, theirs: Run, cli: Run) -> None:
    flags = 0xB000000000000106  # permissions, 32-bit uids, user names; the default exclusions and digest
    entry = struct.pack("<8Q", 64, 0x1396FABCEA5BBB51, flags, 0o40755, 0, 1234, 1234, 0)
    user = struct.pack("<QQ", 16 + 11, 0xF453131AAEEACCB3) + b"first.last\0"
    group = struct.pack("<QQ", 16 + 7, 0x25EB6AC969396A52) + b"4wheel\0"
    head = entry + user + group
    tail = struct.pack("<5Q", 40, 0xDFD35C5E8327C403, len(head), 40, 0x57446FA533702943)
    archive = tmp_path / "a.catar"
    archive.write_bytes(head + tail)
    assert theirs("mtree", archive).returncode == 1
    assert "uname=first.last gname=4wheel" in cli("mtree", archive).stdout


@pytest.mark.root
def test_names_without_ids_are_read(tmp_path: Path, tree: Path, theirs: Run, cli: Run) -> None:
    archive = tmp_path / "a.catar"
    assert theirs("make", "--with=user-names", archive, tree).returncode == 0
    assert theirs("list", archive).returncode == 1
    assert cli("list", archive).returncode == 0
    assert cli("extract", archive, tmp_path / "out").returncode == 0
    assert tree_differences(tree, tmp_path / "out", ignore=("mode", "mtime")) == []


def test_read_only_is_restored(tmp_path: Path, tree: Path, theirs: Run, cli: Run) -> None:
    (tree / "file").chmod(0o400)
    archive = tmp_path / "a.catar"
    assert theirs("make", "--with=read-only", archive, tree).returncode == 0
    assert theirs("extract", archive, tmp_path / "theirs").returncode == 0
    assert cli("extract", archive, tmp_path / "ours").returncode == 0
    assert (tmp_path / "theirs/file").stat().st_mode & 0o7777 == 0
    assert (tmp_path / "ours/file").stat().st_mode & 0o7777 == 0o444


def test_trees_deeper_than_64(tmp_path: Path, tree: Path, theirs: Run, cli: Run) -> None:
    deep = tree.joinpath(*["d"] * 100)
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    archive = tmp_path / "a.catar"
    assert theirs("make", archive, tree).returncode == 1
    assert cli("make", "--without=privileged", archive, tree).returncode == 0
    assert cli("extract", "--without=privileged", archive, tmp_path / "out").returncode == 0
    assert tree_differences(tree, tmp_path / "out", ignore=("uid", "gid")) == []


def test_longer_file_is_truncated(tmp_path: Path, theirs: Run, cli: Run) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"short")
    index = tmp_path / "a.caibx"
    assert cli("make", index, blob).returncode == 0
    for name in ("theirs", "ours"):
        (tmp_path / name).write_bytes(b"12345longer than that")
    assert theirs("extract", index, tmp_path / "theirs").returncode == 0
    assert cli("extract", index, tmp_path / "ours").returncode == 0
    assert (tmp_path / "theirs").read_bytes() == b"shortlonger than that"
    assert (tmp_path / "ours").read_bytes() == b"short"


def test_index_on_standard_output_is_an_index(tmp_path: Path, casync: str, cli: Run) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"content" * 1000)
    assert cli("make", tmp_path / "a.caibx", blob).returncode == 0
    wanted = (tmp_path / "a.caibx").read_bytes()
    store = f"--store={tmp_path}/default.castr"
    sizes = []
    for program in ([casync], [sys.executable, "-m", "casync_py"]):
        command = [*program, "make", store, "--what=blob-index", "-", str(blob)]
        done = subprocess.run(command, capture_output=True, check=True)
        assert done.stdout.startswith(wanted)
        sizes.append(len(done.stdout) - len(wanted))
    assert sizes == [65, 0]


def test_list_of_a_directory_that_is_not_recursive(tree: Path, theirs: Run, cli: Run) -> None:
    for name in ("a", "b"):
        (tree / name).mkdir()
        (tree / name / "below").touch()
    assert theirs("list", "--recursive=no", tree).returncode == 1
    done = cli("list", "--recursive=no", tree)
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stdout.splitlines()] == [".", "a", "b", "file"]


def test_exclude_file_can_be_switched_off(tmp_path: Path, tree: Path, theirs: Run, cli: Run) -> None:
    (tree / ".caexclude").write_text("file\n")
    for run, name in ((theirs, "theirs"), (cli, "ours")):
        assert run("make", "--exclude-file=no", tmp_path / f"{name}.catar", tree).returncode == 0
    shown = [cli("list", tmp_path / f"{name}.catar").stdout.count(" file\n") for name in ("theirs", "ours")]
    assert shown == [0, 1]


def test_empty_chunk_file_is_replaced(tmp_path: Path, theirs: Run, cli: Run) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"content" * 1000)
    index, store = tmp_path / "a.caibx", tmp_path / "default.castr"
    assert cli("make", index, blob).returncode == 0
    name = index_ids(index)[0]
    chunk = store / name[:4] / f"{name}.cacnk"
    chunk.chmod(0o644)
    os.truncate(chunk, 0)
    assert theirs("make", index, blob).returncode == 0
    assert store_faults(store) != []
    assert cli("make", index, blob).returncode == 0
    assert store_faults(store) == []


def test_blake3_is_refused_by_casync(tmp_path: Path, tree: Path, theirs: Run, cli: Run) -> None:
    for output, source in (("a.caidx", tree), ("a.caibx", tree / "file")):
        assert cli("make", "--digest=blake3", tmp_path / output, source).returncode == 0
        done = theirs("extract", tmp_path / output, tmp_path / f"{output}.out")
        assert done.returncode == 1
        assert "not supported" in done.stderr
    assert " blake3digest=" in cli("mtree", "--digest=blake3", tmp_path / "a.caidx").stdout


def test_hard_links_are_counted(tmp_path: Path, tree: Path, cli: Run) -> None:
    os.link(tree / "file", tree / "link")
    done = cli("make", tmp_path / "a.catar", tree)
    assert done.returncode == 0
    assert "hard link" in done.stderr.lower()
    assert cli("extract", tmp_path / "a.catar", tmp_path / "out").returncode == 0
    assert (tmp_path / "out/link").stat().st_nlink == 1
