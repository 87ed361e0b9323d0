"""What the command says of wrong arguments, full disks, read-only targets and files that change while they are read."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py import native
from casync_py.cli import main
from casync_py.testing.castr import store_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("extract", "absent.caidx", "out"), "absent.caidx"),
        (("extract", "text.caidx", "out"), "text.caidx"),
        (("extract", "text.catar", "out"), "text.catar"),
        (("list", "absent.catar"), "absent.catar"),
        (("make", "new.caidx", "absent"), "absent"),
        (("make", "new.caibx", "absent"), "absent"),
        (("make", "nowhere/new.caibx", "text.catar"), "nowhere/new.caibx"),
        (("make", "new.unknown", "text.catar"), "new.unknown"),
        (("make", "--compression=lzo", "new.caibx", "text.catar"), "lzo"),
        (("make", "--digest=md5", "new.caibx", "text.catar"), "md5"),
        (("make", "--chunk-size=9:1:5", "new.caibx", "text.catar"), "9:1:5"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str], arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("text.caidx", "text.catar"):
        Path(name).write_text("This is no archive and no index. " * 5)
    refused(*arguments, says=says)
    left = {path.name for path in tmp_path.iterdir()} - {"text.caidx", "text.catar", "out", "default.castr"}
    assert left == set()


@pytest.fixture
def big_blob(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(random.Random(1).randbytes(1 << 20))
    return path


@pytest.mark.root
def test_full_disk_while_making(small_disk: Path, big_blob: Path, refused: Callable[..., str]) -> None:
    store, index = small_disk / "store.castr", small_disk / "big.caibx"
    refused("make", f"--store={store}", index, big_blob, says="No space left on device")
    assert not index.exists()
    assert store_faults(store) == []
    assert list(small_disk.glob(".#*")) == []


@pytest.mark.root
@pytest.mark.parametrize("kind", ["blob", "tree"])
def test_full_disk_while_extracting(
    small_disk: Path, big_blob: Path, tmp_path: Path, refused: Callable[..., str], kind: str
) -> None:
    source = big_blob
    if kind == "tree":
        source = tmp_path / "tree"
        source.mkdir()
        for number in range(8):
            (source / f"file {number}").write_bytes(random.Random(number).randbytes(100_000))
    index = tmp_path / ("big.caidx" if kind == "tree" else "big.caibx")
    assert main(["make", str(index), str(source)]) == 0
    refused("-lerr", "extract", index, small_disk / "out", says="No space left on device")
    if kind == "blob":
        assert list(small_disk.iterdir()) == [small_disk / ".out.partial"]
        return
    extracted = list((small_disk / "out").iterdir())
    assert 0 < len(extracted) < 8
    for file in extracted:
        assert file.read_bytes() == (source / file.name).read_bytes()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory that cannot be written: by its mode, or for root by its file system."""
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    if os.geteuid() != 0:
        yield folder
        return
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"Cannot mount a read-only tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_read_only_target(big_blob: Path, read_only: Path, refused: Callable[..., str]) -> None:
    folder = big_blob.parent
    tree = folder / "tree"
    tree.mkdir()
    for index, source in (("tree.caidx", tree), ("big.caibx", big_blob)):
        assert main(["make", str(folder / index), str(source)]) == 0
        refused("extract", "--without=privileged", folder / index, read_only / "out", says=str(read_only / "out"))
        refused("make", f"--store={folder / 'default.castr'}", read_only / index, source, says=str(read_only / index))
    refused("make", read_only / "new.catar", tree, says=str(read_only / "new.catar"))
    store = read_only / "store.castr"
    refused("make", f"--store={store}", folder / "new.caibx", big_blob, says=str(store))
    assert not (folder / "new.caibx").exists()
    assert list(read_only.iterdir()) == []


APPEND = "import sys\nwith open(sys.argv[1], 'ab', buffering=0) as file:\n    while file.write(b'x'): pass"
TOGGLE = (
    "import os, sys\nsize = os.stat(sys.argv[1]).st_size\n"
    "while True: os.truncate(sys.argv[1], size // 2); os.truncate(sys.argv[1], size)"
)


@pytest.mark.parametrize("writer", [APPEND, TOGGLE], ids=["append", "shrink"])
@pytest.mark.parametrize("kind", ["blob", "tree", "archive"])
def test_file_that_changes_while_read(tmp_path: Path, refused: Callable[..., str], writer: str, kind: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    file = tree / "growing"
    file.touch()
    # Zeros that take some 100 ms to read, in which the writer gets its turn even on a busy machine.
    os.truncate(file, (64 if native.KERNEL == "native" or kind == "archive" else 4) << 20)
    output = tmp_path / {"blob": "new.caibx", "tree": "new.caidx", "archive": "new.catar"}[kind]
    process = subprocess.Popen([sys.executable, "-S", "-c", writer, file])
    try:
        stamp = file.stat().st_ctime_ns
        while file.stat().st_ctime_ns == stamp:
            assert process.poll() is None
        refused("make", output, file if kind == "blob" else tree, says="growing")
    finally:
        process.kill()
        process.wait()
    left = {path.name for path in tmp_path.iterdir()} - {"tree"}
    assert left <= {"default.castr"}
    assert [fault for store in left for fault in store_faults(tmp_path / store)] == []


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A temporary directory that every user can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_unreadable_file_is_named(public_folder: Path) -> None:
    """As another user, because root reads everything."""
    secret = public_folder / "tree" / "secret"
    secret.parent.mkdir()
    secret.touch(mode=0)
    command = [sys.executable, "-m", "casync_py", "make", "--without=privileged", "new.catar", "tree"]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("setpriv is not installed (Debian's package util-linux)")
        other_user = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
        if subprocess.run([*other_user, sys.executable, "-c", "import casync_py"], capture_output=True).returncode != 0:
            pytest.skip("Another user cannot run this interpreter")
        command = [*other_user, *command]
    done = subprocess.run(command, cwd=public_folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert "tree/secret" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (public_folder / "new.catar").exists()
